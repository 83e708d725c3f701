"""The two towers: a picture to tokens, a text to tokens; each token is D wide.

Notable: a word's vector is the mean of its hashed n-grams, so no vocabulary;
tokens are not scaled to unit length (their size is what the gates read);
attention never looks at padding. Fusing the two is `fusion`'s work.
"""

import torch
from torch import Tensor, nn

from .config import ModelConfig


class Attention(nn.Module):
    """Multi-head attention; a query whose keys are all masked gets 0 from them, never NaN."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        # No biases: a key's bias cancels in the softmax and would never learn.
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        """Queries (B, L, D), keys (B, M, D), key_mask (B, M) -> (B, L, D)."""
        q, k, v = (self._split(part) for part in (self.query(queries), self.key(keys), self.value(keys)))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5  # (B, H, L, M)
        allowed = key_mask[:, None, None, :]  # (B, 1, 1, M)
        # exp(-1e4 - max) is exactly 0, so padding adds exactly nothing; the
        # product turns the all-masked row (uniform after softmax) into zeros.
        weights = scores.masked_fill(~allowed, -1e4).softmax(-1) * allowed.to(scores.dtype)
        mixed = (weights @ v).transpose(1, 2).flatten(2)  # (B, L, D)
        return self.out(mixed)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, D/H)


class Block(nn.Module):
    """A pre-norm transformer block with masked self-attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide = config.width * config.widening
        self.norm_attention = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.norm_feed = nn.LayerNorm(config.width)
        self.feed = nn.Sequential(nn.Linear(config.width, wide), nn.GELU(), nn.Linear(wide, config.width))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, L, D), mask (B, L) -> (B, L, D)."""
        normed = self.norm_attention(tokens)
        tokens = tokens + self.drop(self.attention(normed, normed, mask))
        return tokens + self.drop(self.feed(self.norm_feed(tokens)))


class ImageTower(nn.Module):
    """A convolutional stem (64 -> 4 pixels a side), then transformer blocks on its cells."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stem = _residual_stem(config) if config.stem == "residual" else _plain_stem(config)
        self.tokens = config.image_tokens
        self.place = nn.Parameter(torch.randn(self.tokens, config.width) * 0.02)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.image_blocks))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, S, S, 3) uint8 -> tokens (B, (S/16)^2, D)."""
        colours = pixels.permute(0, 3, 1, 2).to(self.place.dtype) / 127.5 - 1.0  # (B, 3, S, S)
        cells = self.stem(colours).flatten(2).transpose(1, 2)  # (B, 16, D)
        tokens = cells + self.place
        mask = torch.ones_like(tokens[:, :, 0], dtype=torch.bool)  # (B, 16): a picture has no padding
        for block in self.blocks:
            tokens = block(tokens, mask)
        return self.norm(tokens)


class TextTower(nn.Module):
    """Hashed n-grams averaged into words, then transformer blocks on the words."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.entity = config.hash_rows if config.entity_gate else 0  # the mark of a word that names something
        self.grams = nn.Embedding(config.hash_rows + config.entity_gate, config.gram_width)
        nn.init.normal_(self.grams.weight, std=config.gram_width**-0.5)
        self.widen = nn.Linear(config.gram_width, config.width)
        self.place = nn.Parameter(torch.randn(config.max_tokens, config.width) * 0.02)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.text_blocks))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, L, G) int64, 0 is padding -> tokens (B, L, D), mask (B, L)."""
        real = (ids != 0).unsqueeze(-1).to(self.place.dtype)  # (B, L, G, 1)
        if self.training:  # the same sum without the n-grams' own vectors in memory: half a step's time
            bags = nn.functional.embedding_bag(
                ids.flatten(0, 1), self.grams.weight, mode="sum", padding_idx=0
            )
            summed = bags.unflatten(0, ids.shape[:2])
        else:  # as the exported graph has it
            summed = (self.grams(ids) * real).sum(2)  # (B, L, W)
        words = summed / real.sum(2).clamp(min=1.0)  # (B, L, W)
        mask = (ids != 0).any(2)  # (B, L)
        tokens = self.widen(words) + self.place[: ids.shape[1]]  # (B, L, D)
        for block in self.blocks:
            tokens = block(tokens, mask)
        tokens = self.norm(tokens)
        return _entity_first(tokens, mask, (ids == self.entity).any(2)) if self.entity else (tokens, mask)


class DrawnText(nn.Module):
    """Looks at a drawn text as at a picture, with the image tower's own weights."""

    def __init__(self, look: nn.Module) -> None:
        super().__init__()
        self.look = look

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, S, S) int64, a grey pixel plus 1 -> tokens (B, (S/16)^2, D), mask."""
        grey = (ids - 1).clamp(min=0).to(torch.uint8).unsqueeze(-1)
        tokens = self.look(grey.expand(-1, -1, -1, 3))
        return tokens, torch.ones_like(tokens[:, :, 0], dtype=torch.bool)


def _entity_first(tokens: Tensor, mask: Tensor, named: Tensor) -> tuple[Tensor, Tensor]:
    """Put the mean of the words that name something before all words; masked where there is none."""
    weights = named.unsqueeze(-1).to(tokens.dtype)  # (B, L, 1)
    entity = (tokens * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1.0)
    return torch.cat([entity, tokens], dim=1), torch.cat([named.any(1, keepdim=True), mask], dim=1)


def _plain_stem(config: ModelConfig) -> nn.Sequential:
    first, second, third = config.channels
    return nn.Sequential(
        *_halve(3, first),
        *_halve(first, second),
        *_halve(second, third),
        _Residual(third),
        *_halve(third, config.width),
    )


def _residual_stem(config: ModelConfig) -> nn.Sequential:
    """Three times the work of the plain stem: two convolutions and a shortcut at every scale."""
    first, second, third = config.channels
    return nn.Sequential(
        *_halve(3, first), _Halving(first, second), _Halving(second, third), _Halving(third, config.width)
    )


def _halve(before: int, after: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, cells: Tensor) -> Tensor:
        return torch.relu(cells + self.norm(self.conv(cells)))


class _Halving(nn.Module):
    """Halves the picture by two convolutions, around which the old one passes averaged."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.norm_first = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm_second = nn.BatchNorm2d(after)
        self.short = nn.Conv2d(before, after, 1, bias=False)
        self.norm_short = nn.BatchNorm2d(after)

    def forward(self, cells: Tensor) -> Tensor:
        seen = self.norm_second(self.second(torch.relu(self.norm_first(self.first(cells)))))
        return torch.relu(seen + self.norm_short(self.short(nn.functional.avg_pool2d(cells, 2))))
