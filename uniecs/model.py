"""UniECS, small: text, a picture, or both to one unit vector.

Read `towers` (picture and words to tokens) and `fusion` (tokens to a vector)
with it; this file only joins them. A vector of one modality is the same fusion
with the other side absent, so all nine query x candidate scenarios share one
space. Follows the published architecture with its faults corrected: presence
per sample, masks everywhere, alignment heads that learn.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .fusion import Fused, GatedFusion, Tokens
from .late_fusion import LATE_FUSIONS
from .reference import ReferenceFusion
from .towers import DrawnText, ImageTower, TextTower


class UniECS(nn.Module):
    """Two towers and a gated fusion."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.image_tower = _image_tower(config)
        self.text_tower = DrawnText(self.image_tower) if config.reads == "pixels" else _text_tower(config)
        self.fusion = _fusion(config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def image(self, pixels: Tensor, present: Tensor) -> Tokens:
        """Pixels (B, S, S, 3) uint8, present (B,); the tower runs on present samples only."""
        return self._looked_at(self.image_tower, pixels, present)

    def text(self, ids: Tensor, present: Tensor) -> Tokens:
        """Ids (B, L, G) int64, present (B,)."""
        if self.config.reads == "pixels":
            return self._looked_at(lambda drawn: self.text_tower(drawn)[0], ids, present)
        if self.config.mode == "reference":  # as released: always of full length, padding never masked
            ids = torch.nn.functional.pad(ids, (0, 0, 0, self.config.max_tokens - ids.shape[1]))
        values, mask = self.text_tower(ids)
        return Tokens(values, mask, present)

    def _looked_at(self, tower: Callable[[Tensor], Tensor], seen: Tensor, present: Tensor) -> Tokens:
        count = self.image_tower.tokens
        values = self.absent(len(present), tokens=count).values
        if present.any():
            # Absent pictures must not reach the batch statistics of training.
            values = values.index_put((present.nonzero()[:, 0],), tower(seen[present]))
        mask = torch.ones(len(present), count, dtype=torch.bool, device=values.device)
        return Tokens(values, mask, present)

    def absent(self, rows: int, *, tokens: int = 1) -> Tokens:
        """Return a side that no sample has."""
        device = self.device
        return Tokens(
            torch.zeros(rows, tokens, self.config.width, device=device),
            torch.zeros(rows, tokens, dtype=torch.bool, device=device),
            torch.zeros(rows, dtype=torch.bool, device=device),
        )

    def fuse(self, image: Tokens, text: Tokens, *, meet: bool = True) -> Fused:
        """Fuse two sides into unit vectors (B, D); see `GatedFusion.forward`."""
        return self.fusion(*self.seen(image, text), meet=meet)

    def seen(self, image: Tokens, text: Tokens) -> tuple[Tokens, Tokens]:
        """Return the sides as the model sees them: a baseline is blind to one."""
        if self.config.sees != "both":
            image = image._replace(present=image.present & (self.config.sees == "image"))
            text = text._replace(present=text.present & (self.config.sees == "text"))
        return image, text


def _image_tower(config: ModelConfig) -> nn.Module:
    if not config.image_tower:
        return ImageTower(config)
    from .foreign_towers import ForeignImage  # transformers: only for those who ask for it

    return ForeignImage(config)


def _text_tower(config: ModelConfig) -> nn.Module:
    if not config.text_tower:
        return TextTower(config)
    from .foreign_towers import ForeignText

    return ForeignText(config)


def _fusion(config: ModelConfig) -> nn.Module:
    if config.mode == "reference":
        return ReferenceFusion(config)
    return LATE_FUSIONS[config.fusion](config) if config.fusion in LATE_FUSIONS else GatedFusion(config)
