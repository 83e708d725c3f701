"""Image tokens and text tokens to one unit vector, with either side absent.

The published gated encoder, corrected: presence is said by the caller, per
sample, and never guessed from values. Where a side is absent,

- its tokens are keys of nothing, so nothing of them leaks;
- the other side's gates are exactly 0, so it passes unchanged;
- a learned vector of that side's absence is added to the read-out token. (Put
  in the place of the tokens, behind the mask, it could never learn.)
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .config import ModelConfig
from .towers import Attention, Block


class Tokens(NamedTuple):
    """One modality of a batch: its tokens, which of them are real, which samples have it."""

    values: Tensor  # (B, L, D)
    mask: Tensor  # (B, L) bool; False is padding
    present: Tensor  # (B,) bool


class Fused(NamedTuple):
    """What fusion gives: the unit vector, and each side's aligned reading of it."""

    vector: Tensor  # (B, D) unit
    image_aligned: Tensor  # (B, D) unit; meaningless where the image is absent
    text_aligned: Tensor  # (B, D) unit; meaningless where the text is absent


class GatedCross(nn.Module):
    """Each side attends to the other and lets in, per channel, what its gate allows."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_image, self.norm_text = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.image_asks, self.text_asks = Attention(config), Attention(config)
        self.entities = config.entity_gate
        wide = (3 if self.entities else 2) * config.width + 1
        self.image_gate, self.text_gate = nn.Linear(wide, config.width), nn.Linear(wide, config.width)

    def forward(self, image: Tokens, text: Tokens) -> tuple[Tokens, Tokens]:
        """Both directions read the same inputs: neither goes first."""
        image_normed, text_normed = self.norm_image(image.values), self.norm_text(text.values)
        from_text = self.image_asks(image_normed, text_normed, text.mask & text.present[:, None])
        from_image = self.text_asks(text_normed, image_normed, image.mask & image.present[:, None])
        # The first token is what names the product, where the tower says so.
        named = [text.values[:, :1] * text.mask[:, :1, None]] if self.entities else []
        let_text_in = _gate(self.image_gate, image.values, from_text, text.present, *named)  # (B, Li, D)
        let_image_in = _gate(self.text_gate, text.values, from_image, image.present, *named)  # (B, Lt, D)
        return (
            image._replace(values=let_text_in * from_text + (1 - let_text_in) * image.values),
            text._replace(values=let_image_in * from_image + (1 - let_image_in) * text.values),
        )


def _gate(gate: nn.Linear, own: Tensor, attended: Tensor, other_present: Tensor, *more: Tensor) -> Tensor:
    """Return the gate (B, L, D): in (0, 1) where the other side is present, exactly 0 where not."""
    flag = other_present[:, None, None].to(own.dtype).expand(-1, own.shape[1], 1)  # (B, L, 1)
    known = [each.expand(-1, own.shape[1], -1) for each in more]
    return flag * torch.sigmoid(gate(torch.cat([own, attended * flag, flag, *known], dim=-1)))


class Pool(nn.Module):
    """The mean of a side's real tokens, or several learned views of them; then a small head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.views = config.pool_views
        if self.views > 1:
            # Each view weighs the tokens by its own code; one vector is made of all.
            self.codes = nn.Parameter(torch.randn(self.views, config.width) * config.width**-0.5)
            self.gather = nn.Linear(self.views * config.width, config.width)
        self.head = nn.Sequential(
            nn.LayerNorm(config.width), nn.Linear(config.width, config.width), nn.Tanh()
        )

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens (B, L, D) -> (B, D)."""
        if self.views > 1:
            scores = tokens.values @ self.codes.T  # (B, L, M)
            shares = scores.masked_fill(~tokens.mask.unsqueeze(-1), -1e4).softmax(1)
            return self.head(self.gather((shares.transpose(1, 2) @ tokens.values).flatten(1)))
        weights = tokens.mask.unsqueeze(-1).to(tokens.values.dtype)  # (B, L, 1)
        mean = (tokens.values * weights).sum(1) / weights.sum(1).clamp(min=1.0)
        return self.head(mean)


class GatedFusion(nn.Module):
    """Cross-attention, each side's own blocks, pooling, and a read-out token over the two."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cross = nn.ModuleList(GatedCross(config) for _ in range(config.cross_layers))
        self.image_blocks = nn.ModuleList(Block(config) for _ in range(config.self_blocks))
        self.text_blocks = nn.ModuleList(Block(config) for _ in range(config.self_blocks))
        self.pool_image, self.pool_text = Pool(config), Pool(config)
        # Rows: the read-out token, the type of the image side, the type of the text side.
        self.types = nn.Parameter(torch.randn(3, config.width) * 0.02)
        # Rows: added to the read-out where the image, or the text, is absent.
        self.absent = nn.Parameter(torch.randn(2, config.width) * 0.02)
        self.fuse_blocks = nn.ModuleList(Block(config) for _ in range(config.fuse_blocks))
        self.norm = nn.LayerNorm(config.width)
        self.align_image = nn.Linear(config.width, config.width)
        self.align_text = nn.Linear(config.width, config.width)
        self.shortcut = config.shortcut

    def forward(self, image: Tokens, text: Tokens, *, meet: bool = True) -> Fused:
        """Fuse the two sides; one of them may be absent in any sample.

        Where no sample has both, every gate is 0 and the sides do not meet:
        `meet=False` saves training the work, and changes nothing.
        """
        image = image._replace(values=only_present(image))
        text = text._replace(values=only_present(text))
        if meet:
            image, text = self.meet(image, text)
        for block in self.image_blocks:
            image = image._replace(values=block(image.values, image.mask & image.present[:, None]))
        for block in self.text_blocks:
            text = text._replace(values=block(text.values, text.mask & text.present[:, None]))
        pooled_image, pooled_text = self.pool_image(image), self.pool_text(text)  # (B, D) each

        both = torch.stack([image.present, text.present], dim=1)  # (B, 2)
        read_out = (~both).to(pooled_text.dtype) @ self.absent  # (B, D)
        if self.shortcut:  # a straight way for the gradient into the towers
            there = both.to(pooled_text.dtype)  # (B, 2)
            mean = pooled_image * there[:, :1] + pooled_text * there[:, 1:]
            read_out = read_out + mean / there.sum(1, keepdim=True).clamp(min=1.0)
        sequence = torch.stack([read_out, pooled_image, pooled_text], dim=1) + self.types  # (B, 3, D)
        mask = torch.cat([torch.ones_like(both[:, :1]), both], dim=1)  # (B, 3)
        for block in self.fuse_blocks:
            sequence = block(sequence, mask)
        return Fused(
            vector=normalize(self.norm(sequence[:, 0]), dim=-1),
            image_aligned=normalize(self.align_image(pooled_image), dim=-1),
            text_aligned=normalize(self.align_text(pooled_text), dim=-1),
        )

    def meet(self, image: Tokens, text: Tokens) -> tuple[Tokens, Tokens]:
        """Let the sides see each other; absent ones must be zeros."""
        for layer in self.cross:
            image, text = layer(image, text)
        return image, text


def only_present(tokens: Tokens) -> Tensor:
    """Zero the tokens of samples without this side, whatever the caller left there."""
    return tokens.values.masked_fill(~tokens.present[:, None, None], 0.0)
