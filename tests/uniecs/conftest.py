"""Small pictures, a tiny model, and the committed one."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from uniecs.config import ModelConfig
from uniecs.runtime import Runtime

DEMO_MODEL = Path(__file__).parents[2] / "demo" / "model"

Paint = Callable[..., bytes]


def paint_picture(
    colour: tuple[int, ...] | str | int = "red",
    *,
    size: tuple[int, int] = (40, 30),
    mode: str = "RGB",
    kind: str = "PNG",
) -> bytes:
    """An encoded picture of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def paint() -> Paint:
    return paint_picture


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    """Every part of the architecture, as narrow as it goes."""
    return ModelConfig(
        width=16,
        heads=2,
        side_px=32,
        channels=(4, 6, 8),
        hash_rows=256,
        gram_width=8,
        max_tokens=12,
        dropout=0.0,
    )


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The weights that the demo serves."""
    return DEMO_MODEL


@pytest.fixture(scope="session")
def runtime(demo_model: Path) -> Runtime:
    return Runtime(demo_model, threads=2)
