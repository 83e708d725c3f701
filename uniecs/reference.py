"""The published encoder as it was released, so that every correction can be measured.

After the public code of qzp2018/UniECS, faults and all: tokens of unit length,
an absent side as zero tokens, a presence flag guessed from values for the whole
batch at once, no mask anywhere after the text encoder, attention over a sequence
of one. Only the towers and the blocks' own details are ours. Not for use.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .config import ModelConfig
from .fusion import Fused, Pool, Tokens, only_present
from .towers import Attention, Block


class ReferenceCross(nn.Module):
    """Gated cross-attention with the flag of the whole batch."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_image, self.norm_text = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.image_asks, self.text_asks = Attention(config), Attention(config)
        self.image_gate = nn.Linear(2 * config.width + 1, config.width)
        self.text_gate = nn.Linear(2 * config.width + 1, config.width)

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Image (B, Li, D) and text (B, Lt, D), both updated from the same inputs."""
        image_normed, text_normed = self.norm_image(image), self.norm_text(text)
        from_text = self.image_asks(image_normed, text_normed, _all(text))
        from_image = self.text_asks(text_normed, image_normed, _all(image))
        gate_image = torch.sigmoid(self.image_gate(_with_flag(image, from_text, text_normed)))
        gate_text = torch.sigmoid(self.text_gate(_with_flag(text, from_image, image_normed)))
        return (
            gate_image * from_text + (1 - gate_image) * image,
            gate_text * from_image + (1 - gate_text) * text,
        )


class ReferenceFusion(nn.Module):
    """F(V, T) of the released code; a view of one side is F with the other's tokens zeroed."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.project_image = nn.Linear(config.width, config.width)
        self.project_text = nn.Linear(config.width, config.width)
        self.cross = nn.ModuleList(ReferenceCross(config) for _ in range(config.cross_layers))
        self.image_blocks = nn.ModuleList(Block(config) for _ in range(config.self_blocks))
        self.text_blocks = nn.ModuleList(Block(config) for _ in range(config.self_blocks))
        self.pool_image, self.pool_text = Pool(config), Pool(config)
        self.join = nn.Linear(2 * config.width, config.width)
        self.fuse_blocks = nn.ModuleList(Block(config) for _ in range(config.fuse_blocks))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, image: Tokens, text: Tokens, *, meet: bool = True) -> Fused:
        """Fuse; `meet` is read by the corrected fusion alone, here the sides always meet."""
        v = self.project_image(normalize(only_present(image), dim=-1))  # (B, Li, D)
        t = self.project_text(normalize(only_present(text), dim=-1))  # (B, Lt, D)
        for layer in self.cross:
            v, t = layer(v, t)
        for block in self.image_blocks:
            v = block(v, _all(v))
        for block in self.text_blocks:
            t = block(t, _all(t))
        pooled_image = self.pool_image(image._replace(values=v, mask=_all(v)))
        pooled_text = self.pool_text(text._replace(values=t, mask=_all(t)))
        fused = self.join(torch.cat([pooled_image, pooled_text], dim=-1))[:, None]  # (B, 1, D)
        for block in self.fuse_blocks:
            fused = block(fused, _all(fused))
        return Fused(
            vector=normalize(self.norm(fused[:, 0]), dim=-1),
            image_aligned=normalize(pooled_image, dim=-1),
            text_aligned=normalize(pooled_text, dim=-1),
        )


def _all(values: Tensor) -> Tensor:
    """No mask: padding is looked at like any word."""
    return torch.ones_like(values[:, :, 0], dtype=torch.bool)


def _with_flag(own: Tensor, attended: Tensor, other_normed: Tensor) -> Tensor:
    exists = (other_normed.abs().sum() > 1e-6).to(own.dtype)  # one number for the batch
    return torch.cat([own, attended, exists.expand(*own.shape[:2], 1)], dim=-1)
