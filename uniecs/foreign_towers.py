"""Pretrained towers of Hugging Face in the place of the built-in ones.

A text tower reads the tokens of its own tokenizer, a vision tower pictures
normalised by its own statistics; both give all their tokens, of which a linear
layer makes the model's width where theirs differs. Of a model with both (CLIP,
SigLIP, Chinese-CLIP) each tower takes its half. Pictures are still padded to a
square, not cropped: a product's edge is a part of it.
"""

import json
from typing import Any

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .errors import InvalidConfig
from .foreign_files import file_of, is_folder

# Of CLIP, for towers that were saved without their image processor.
_CLIP_MEAN, _CLIP_STD = (0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)


class ForeignText(nn.Module):
    """A pretrained text model; ids are its own plus 1, so that 0 is padding here as everywhere."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tower = _half(config.text_tower, "text_model")
        shape = self.tower.config
        longest = getattr(shape, "max_position_embeddings", config.max_tokens)
        if config.max_tokens > longest:
            raise InvalidConfig(
                f"max_tokens is {config.max_tokens}, {config.text_tower!r} reads at most {longest}; lower it"
            )
        same = shape.hidden_size == config.width
        self.widen = nn.Identity() if same else nn.Linear(shape.hidden_size, config.width)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, L, 1) int64, 0 is padding -> tokens (B, L, D), mask (B, L)."""
        mask = ids[:, :, 0] != 0  # (B, L)
        own = (ids[:, :, 0] - 1).clamp(min=0)
        # A text of padding alone would be a softmax over nothing: its first place is read and masked after.
        read = mask | (torch.arange(mask.shape[1], device=ids.device) == 0)[None]
        seen = self.tower(input_ids=own, attention_mask=read.long()).last_hidden_state  # (B, L, H)
        return self.widen(seen), mask


class ForeignImage(nn.Module):
    """A pretrained vision model, all its tokens; the class token among them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tower = _half(config.image_tower, "vision_model")
        shape = self.tower.config
        if config.side_px != shape.image_size:
            raise InvalidConfig(
                f"side_px is {config.side_px}, {config.image_tower!r} sees {shape.image_size}; set it to that"
            )
        mean, std = _statistics(config.image_tower)
        self.register_buffer("mean", torch.tensor(mean) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std) * 255, persistent=False)
        same = shape.hidden_size == config.width
        self.widen = nn.Identity() if same else nn.Linear(shape.hidden_size, config.width)
        with torch.no_grad():
            one = torch.zeros(1, config.side_px, config.side_px, 3, dtype=torch.uint8)
            self.tokens = int(self.forward(one).shape[1])

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, S, S, 3) uint8 -> tokens (B, N, D)."""
        colours = ((pixels.to(self.mean.dtype) - self.mean) / self.std).permute(0, 3, 1, 2)  # (B, 3, S, S)
        seen = self.tower(pixel_values=colours).last_hidden_state  # (B, N, H)
        # CLIP's last norm is for its class token alone; as published, every token gets it.
        norm = getattr(self.tower, "post_layernorm", None) if _pools_itself(self.tower) else None
        return self.widen(norm(seen) if norm is not None else seen)


def _half(name: str, part: str) -> Any:
    """Load a model by folder or hub name and return one of its halves, without what only pools."""
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise InvalidConfig(f"tower {name!r} needs transformers; install 'uniecs-online[towers]'") from error
    try:
        # Eager attention is what the ONNX exporter can follow.
        model = AutoModel.from_pretrained(
            name, local_files_only=is_folder(name), attn_implementation="eager", dtype=torch.float32
        )
    except Exception as error:  # transformers raises many kinds, by what is missing
        raise InvalidConfig(
            f"tower {name!r} cannot be loaded ({error}); give the folder of a saved model, or a hub name"
        ) from error
    half = getattr(model, part, model)
    for pooler in ("pooler", "head"):
        if isinstance(getattr(half, pooler, None), nn.Module):
            setattr(half, pooler, None)
    if hasattr(half, "use_head"):  # SigLIP
        half.use_head = False
    return half


def _pools_itself(tower: Any) -> bool:
    """Whether the model norms its tokens only when it pools (CLIP), not before it returns them (SigLIP)."""
    return "clip" in tower.config.model_type


def _statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    file = file_of(name, "preprocessor_config.json") or file_of(name, "processor_config.json")
    if file is None:
        return _CLIP_MEAN, _CLIP_STD
    said = json.loads(file.read_text(encoding="utf-8"))
    said = said.get("image_processor", said)
    return tuple(said.get("image_mean", _CLIP_MEAN)), tuple(said.get("image_std", _CLIP_STD))
