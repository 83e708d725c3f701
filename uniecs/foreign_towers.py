"""Pretrained towers of Hugging Face in the place of the built-in ones.

A text tower reads the tokens of its own tokenizer, a vision tower pictures
normalised by its own statistics; both give all their tokens, of which a linear
layer makes the model's width where theirs differs. Of a model with both (CLIP,
SigLIP, Chinese-CLIP) each tower takes its half. A convolutional one (EfficientNet,
ConvNeXt, ResNet) gives the places of its last map as tokens. Several layers may be
read together: what a tower was taught to ignore (colour, print) is still in its early
ones. Pictures are still padded to a square, not cropped: a product's edge is a part of it.
"""

import json
from typing import Any, Self

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
        return self.widen(self.seen(ids)), ids[:, :, 0] != 0

    def seen(self, ids: Tensor) -> Tensor:
        """Return what the pretrained model itself gives: (B, L, H)."""
        mask = ids[:, :, 0] != 0  # (B, L)
        own = (ids[:, :, 0] - 1).clamp(min=0)
        # A text of padding alone would be a softmax over nothing: its first place is read and masked after.
        read = mask | (torch.arange(mask.shape[1], device=ids.device) == 0)[None]
        given: Tensor = self.tower(input_ids=own, attention_mask=read.long()).last_hidden_state
        return given


class ForeignImage(nn.Module):
    """A pretrained vision model, all its tokens; the class token, where it has one, among them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tower = _half(config.image_tower, "vision_model")
        self.layers = config.image_layers
        mean, std = _statistics(config.image_tower)
        self.register_buffer("mean", torch.tensor(mean) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std) * 255, persistent=False)
        self.tokens, hidden = self._tried(config)
        same = hidden == config.width
        self.widen = nn.Identity() if same else nn.Linear(hidden, config.width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, S, S, 3) uint8 -> tokens (B, N, D)."""
        return self.widen(self.seen(pixels))

    def train(self, mode: bool = True) -> Self:
        """Keep the statistics that batch norms came with: a batch of one shop has others."""
        super().train(mode)
        for each in self.tower.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.eval()
        return self

    def seen(self, pixels: Tensor) -> Tensor:
        """Return what the pretrained model itself gives: (B, N, H)."""
        colours = ((pixels.to(self.mean.dtype) - self.mean) / self.std).permute(0, 3, 1, 2)  # (B, 3, S, S)
        if self.layers:
            return _joined(self._maps(colours))
        seen: Tensor = self.tower(pixel_values=colours).last_hidden_state
        if seen.ndim == 4:
            return _places(seen)
        # CLIP's last norm is for its class token alone; as published, every token gets it.
        norm = getattr(self.tower, "post_layernorm", None) if _pools_itself(self.tower) else None
        return seen if norm is None else norm(seen)  # (B, N, H)

    def _maps(self, colours: Tensor) -> list[Tensor]:
        seen = self.tower(pixel_values=colours, output_hidden_states=True).hidden_states
        if max(self.layers) >= len(seen):
            raise InvalidConfig(
                f"image_layers is {self.layers}, but the last layer of the tower is {len(seen) - 1}; "
                "0 is what enters the first"
            )
        return [seen[layer] for layer in self.layers]

    def _tried(self, config: ModelConfig) -> tuple[int, int]:
        """Return how many tokens a picture of this side has, and how wide they are."""
        one = torch.zeros(1, config.side_px, config.side_px, 3, dtype=torch.uint8)
        self.eval()
        try:
            with torch.no_grad():
                _, tokens, hidden = self.seen(one).shape
        except (ValueError, RuntimeError) as error:  # as its embeddings of places put it
            wanted = getattr(self.tower.config, "image_size", "pictures of another side")
            raise InvalidConfig(
                f"side_px is {config.side_px}, {config.image_tower!r} sees {wanted}; set it to that ({error})"
            ) from error
        except TypeError as error:  # Siglip2's patches of any shape
            raise InvalidConfig(
                f"{config.image_tower!r} reads more than a square of pixels ({error}); "
                "take a tower whose pictures have one size"
            ) from error
        self.train()
        return tokens, hidden


def _places(seen: Tensor) -> Tensor:
    """A map (B, H, h, w) to its places as tokens (B, h * w, H)."""
    return seen.flatten(2).transpose(1, 2)


def _joined(maps: list[Tensor]) -> Tensor:
    """Layers side by side, each normed, the finer ones averaged to the grid of the coarsest."""
    if maps[0].ndim == 4:
        grid = min((tuple(each.shape[2:]) for each in maps), key=lambda shape: shape[0])
        maps = [_places(nn.functional.adaptive_avg_pool2d(each, grid)) for each in maps]
    return torch.cat([nn.functional.layer_norm(each, each.shape[-1:]) for each in maps], dim=2)


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
        pools = getattr(half, pooler, None)
        if isinstance(pools, nn.Module) and any(True for _ in pools.parameters()):
            setattr(half, pooler, nn.Identity())
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
