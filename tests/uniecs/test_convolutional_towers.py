"""A convolutional tower of Hugging Face: its map's places are tokens, several layers side by side."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed (uniecs-online[towers])"
)

from uniecs.config import ModelConfig, Recipe  # noqa: E402 - after the skips
from uniecs.errors import InvalidConfig  # noqa: E402
from uniecs.export import export_model, parity  # noqa: E402
from uniecs.learner import Learner  # noqa: E402
from uniecs.model import UniECS  # noqa: E402
from uniecs.runtime import Row, Runtime  # noqa: E402

from .conftest import paint_picture  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An EfficientNet of two stages, its statistics far from any batch's."""
    torch.manual_seed(1)
    shape = transformers.EfficientNetConfig(
        image_size=32, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, kernel_sizes=[3, 3],
        in_channels=[32, 8], out_channels=[8, 16], strides=[1, 2], num_block_repeats=[1, 1],
        expand_ratios=[1, 2],
    )  # fmt: skip
    tower = transformers.EfficientNetModel(shape)
    for each in tower.modules():
        if isinstance(each, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(each.running_mean)
    folder = tmp_path_factory.mktemp("efficientnet")
    tower.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def config(folder: Path) -> ModelConfig:
    return ModelConfig(
        width=16, heads=2, side_px=32, hash_rows=64, gram_width=8, max_tokens=8, dropout=0.0,
        image_tower=str(folder),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pixels() -> "torch.Tensor":
    chance = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=chance)


@pytest.mark.parametrize(("layers", "tokens", "wide"), [((), 64, 1280), ((0, 1, 2), 64, 32 + 8 + 16)])
def test_a_place_of_the_coarsest_map_is_a_token(  # type: ignore[no-untyped-def]
    config: ModelConfig, pixels, layers: tuple[int, ...], tokens: int, wide: int
) -> None:
    """The stem's layer has 16 places a side, the last one 8; a finer layer is averaged to them."""
    tower = UniECS(replace(config, image_layers=layers)).image_tower

    assert (3, tokens, wide) == tuple(tower.seen(pixels).shape)
    assert (3, tokens, 16) == tuple(tower(pixels).shape)


def test_batchmates_do_not_matter_in_training_either(config: ModelConfig, pixels) -> None:  # type: ignore[no-untyped-def]
    """A pretrained batch norm keeps the statistics it came with."""
    model = UniECS(config).train()
    before = {name: each.clone() for name, each in model.named_buffers()}
    together, alone = model.image_tower(pixels), [model.image_tower(one[None]) for one in pixels]

    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
    assert all(torch.equal(each, before[name]) for name, each in model.named_buffers())


@pytest.mark.parametrize(
    ("layers", "says"),
    [((1, 3), r"image_layers is \(1, 3\), but the last layer of the tower is 2"), ((-1,), "from 0")],
)
def test_a_layer_that_the_tower_has_not(config: ModelConfig, layers: tuple[int, ...], says: str) -> None:
    """One sentence: the value, the rule."""
    with pytest.raises(InvalidConfig, match=says):
        UniECS(replace(config, image_layers=layers))


def test_layers_are_of_a_pretrained_tower(config: ModelConfig) -> None:
    """The built-in one has no such thing."""
    with pytest.raises(InvalidConfig, match="name the tower"):
        replace(config, image_tower="", image_layers=(1,))


@pytest.mark.parametrize("reads", ["words", "pixels"])
def test_a_tower_that_stays_as_it_came_is_still_widened_by_learning(
    config: ModelConfig, tmp_path: Path, reads: Literal["words", "pixels"]
) -> None:
    """At a tower rate of 0 the pretrained weights get no gradient; the layer that was added does."""
    learner = Learner(Recipe(pairs=tmp_path, tower_rate=0.0, model=replace(config, reads=reads)))
    tower = learner.model.image_tower

    assert not any(weight.requires_grad for weight in tower.tower.parameters())
    assert all(weight.requires_grad for weight in tower.widen.parameters())
    learned = {id(weight) for group in learner.optimizer.param_groups for weight in group["params"]}
    everything = [*learner.model.parameters(), *learner.criterion.parameters()]
    assert {id(weight) for weight in everything} == learned


def test_what_is_exported_agrees_with_torch(config: ModelConfig, tmp_path: Path) -> None:
    """Three graphs, several layers, no transformers needed to serve them."""
    model = UniECS(replace(config, image_layers=(0, 2))).eval()
    export_model(model, tmp_path / "served")
    runtime = Runtime(tmp_path / "served")

    assert parity(model, runtime) >= 0.9999
    rows = [Row(text="striped red mug", picture=paint_picture("red")), Row(picture=paint_picture("blue"))]
    np.testing.assert_allclose(np.linalg.norm(runtime.embed(rows), axis=1), 1, atol=1e-5)
