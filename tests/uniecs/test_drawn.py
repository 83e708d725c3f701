"""Text as a picture: a band of title on a photo, and a model that looks at all it reads."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uniecs.config import ModelConfig
from uniecs.drawn import BAND_SHARE, drawn_ids, with_title_band
from uniecs.errors import InvalidRows, UnreadablePicture
from uniecs.readers import reader_of
from uniecs.rows import Item
from uniecs.runtime import Row, Runtime

from .conftest import Paint


def pixels_of(picture: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.asarray(Image.open(io.BytesIO(picture)))


def test_a_title_is_written_below_the_picture_and_nowhere_else(paint: Paint) -> None:
    """Two titles differ in the band alone; the band is the bottom of the same square."""
    photo = paint("red", size=(100, 60), kind="JPEG")
    one, other = (pixels_of(with_title_band(photo, title)) for title in ("Striped mug", "Wool scarf"))
    edge = 100 - round(100 * BAND_SHARE)

    assert (100, 100, 3) == one.shape
    np.testing.assert_array_equal(one[:edge], other[:edge])
    assert (one[edge:] != other[edge:]).any()
    assert one[edge:].min() < 100  # dark letters


def test_a_broken_picture_has_no_band() -> None:
    """It is refused as everywhere."""
    with pytest.raises(UnreadablePicture, match="4 bytes cannot be decoded"):
        with_title_band(b"junk", "mug")


def test_rows_are_embedded_with_their_titles_on_their_pictures(
    runtime: Runtime, tmp_path: Path, paint: Paint
) -> None:
    """Where a row has both; a picture that cannot be read is named with its row."""
    photo = tmp_path / "red.png"
    photo.write_bytes(paint("red"))
    items = [("row 1", Item("Mug\nKitchen", photo)), ("row 2", Item(None, photo))]
    (vectors,) = runtime.embed_items(items, title_band=True)
    banded = Row(text="Mug\nKitchen", picture=with_title_band(paint("red"), "Mug"))

    assert runtime.embed([banded, Row(picture=paint("red"))]).tobytes() == vectors.tobytes()
    photo.write_bytes(b"junk")
    with pytest.raises(InvalidRows, match="row 1: picture of 4 bytes"):
        list(runtime.embed_items(items[:1], title_band=True))


@pytest.mark.parametrize("text", ["mug", "x" * 10_000, "红色马克杯", "🎁", "\ud800", "\x00", " "])
def test_any_text_is_a_picture(text: str) -> None:
    """Of the model's side, over 0 everywhere: 0 is padding."""
    ids = drawn_ids(text, side_px=32)

    assert ((32, 32), np.int64) == (ids.shape, ids.dtype)
    assert ids.min() >= 1
    assert ids.max() <= 256


@pytest.mark.torch
def test_one_tower_looks_at_pictures_and_at_texts(tiny: ModelConfig) -> None:
    """A drawn text gives the tokens of that picture; a row without text stays out of the batch statistics."""
    torch = pytest.importorskip("torch")
    from uniecs.model import UniECS

    config = replace(tiny, reads="pixels")
    model, reader = UniECS(config).eval(), reader_of(config, None)
    ids = torch.from_numpy(np.stack([reader.ids(text) for text in ("red mug", "scarf")]))
    pixels = (ids - 1).to(torch.uint8)[..., None].expand(-1, -1, -1, 3)
    there = torch.tensor([True, True])
    with torch.no_grad():
        read, seen = model.text(ids, there), model.image(pixels, there)
        nothing = model.text(torch.zeros(2, 1, 1, dtype=torch.int64), ~there)

    torch.testing.assert_close(seen.values, read.values)
    assert not nothing.present.any()
    assert (nothing.values == 0).all()
    before = model.train().image_tower.stem[1].running_mean.clone()
    model.text(torch.zeros(2, 32, 32, dtype=torch.int64), ~there)
    assert torch.equal(before, model.image_tower.stem[1].running_mean)


@pytest.mark.torch
@pytest.mark.parametrize("option", [{"reads": "pixels", "fusion": "mean"}, {"entity_gate": True}], ids=str)
def test_what_reads_otherwise_is_exported_and_served(
    option: dict[str, object], tiny: ModelConfig, tmp_path: Path, paint: Paint
) -> None:
    """The folder says how its texts are read; parity with torch is checked by the export."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx", reason="onnx is not installed (uniecs-online[uniecs-train])")
    from uniecs.export import export_model
    from uniecs.model import UniECS

    torch.manual_seed(3)
    export_model(UniECS(replace(tiny, **option)), tmp_path)  # type: ignore[arg-type]
    rows = [Row(text="mug\nWrenfold"), Row(picture=paint("red")), Row(text="a cup", picture=paint("blue"))]
    alone = Runtime(tmp_path, threads=1).embed(rows)

    np.testing.assert_allclose(alone, Runtime(tmp_path, rows_a_run=3).embed(rows), rtol=0, atol=1e-5)
    assert pytest.approx(np.ones(3), abs=1e-5) == np.linalg.norm(alone, axis=1)
