"""Fusions of two pooled vectors: cheaper than tokens that meet, and the baselines.

late_attention     Beyond Text as its authors sketched it: a residual on the text
modality_experts   one expert a modality and one for their product, weighed by a gate
blend              a text channel and an image channel, of which each query says how much it counts
concat             both pooled vectors through two linear layers
lifted_mean        the mean of the sides, each through a layer of its own
mean               the mean of the real tokens, and of the sides; learns nothing

In every one of them an absent side has weight 0, so a row of one side is that
side's own vector, whatever lies in the place of the other.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .config import ModelConfig
from .fusion import Fused, Pool, Tokens, only_present
from .towers import Attention


class LateFusion(nn.Module):
    """Pools each side and says how the two unit vectors become one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pool_image, self.pool_text = Pool(config), Pool(config)
        self.lift_image = nn.Linear(config.width, config.width)
        self.lift_text = nn.Linear(config.width, config.width)

    def forward(self, image: Tokens, text: Tokens, *, meet: bool = True) -> Fused:
        """Fuse the two sides; one of them may be absent in any sample.

        `meet=False`: no sample has both, so nothing need be joined.
        """
        image = image._replace(values=only_present(image))
        text = text._replace(values=only_present(text))
        v = normalize(self.lift_image(self.pool_image(image)), dim=-1)  # (B, D)
        t = normalize(self.lift_text(self.pool_text(text)), dim=-1)
        alone = torch.where(text.present[:, None], t, v)
        both = (image.present & text.present)[:, None]
        joined = torch.where(both, self.join(v, t, image, text), alone) if meet else alone
        return Fused(vector=normalize(joined, dim=-1), image_aligned=v, text_aligned=t)

    def join(self, v: Tensor, t: Tensor, image: Tokens, text: Tokens) -> Tensor:
        """Return one vector (B, D), of any length, for samples that have both sides."""
        raise NotImplementedError


class LateAttention(LateFusion):
    """Each pooled side asks the other's tokens; a gate mixes the answers onto the text."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.text_asks, self.image_asks = Attention(config), Attention(config)
        self.gate = nn.Sequential(
            nn.Linear(5 * config.width, config.width), nn.GELU(), nn.Linear(config.width, config.width)
        )
        self.out = nn.Linear(2 * config.width, config.width)

    def join(self, v: Tensor, t: Tensor, image: Tokens, text: Tokens) -> Tensor:
        """Residual on the text: what the picture adds is learned."""
        from_image = self.text_asks(t[:, None], image.values, image.mask & image.present[:, None])[:, 0]
        from_text = self.image_asks(v[:, None], text.values, text.mask & text.present[:, None])[:, 0]
        gate = torch.sigmoid(self.gate(torch.cat([t, v, from_image, from_text, t * v], dim=-1)))
        return t + self.out(torch.cat([gate * from_image, (1 - gate) * from_text], dim=-1))


class ModalityExperts(LateFusion):
    """A sum of experts on the text, the picture and their product."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.experts = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(3))
        self.gate = nn.Sequential(nn.Linear(2 * config.width, config.width), nn.GELU())
        self.weigh = nn.Linear(config.width, 3)

    def join(self, v: Tensor, t: Tensor, image: Tokens, text: Tokens) -> Tensor:
        """Weights that sum to 1, drawn from both vectors."""
        weights = self.weigh(self.gate(torch.cat([t, v], dim=-1))).softmax(-1)  # (B, 3)
        # Scaled to unit length's typical size: the product of two unit vectors is tiny.
        seen = (t, v, t * v * t.shape[-1] ** 0.5)
        return torch.stack(
            [
                weights[:, at : at + 1] * (one + expert(one))
                for at, (expert, one) in enumerate(zip(self.experts, seen, strict=True))
            ]
        ).sum(0)


class Blend(LateFusion):
    """Two channels over one index: a score is linear in the query, so the query's own share blends both."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.gate = nn.Sequential(
            nn.Linear(2 * config.width, config.width), nn.GELU(), nn.Linear(config.width, 1)
        )

    def join(self, v: Tensor, t: Tensor, image: Tokens, text: Tokens) -> Tensor:
        """One learned share a row; see `LateFusion.join`."""
        share = torch.sigmoid(self.gate(torch.cat([t, v], dim=-1)))  # (B, 1)
        return share * t + (1 - share) * v


class Concat(LateFusion):
    """The plainest learned fusion."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        wide = config.width * config.widening
        self.mix = nn.Sequential(nn.Linear(2 * config.width, wide), nn.GELU(), nn.Linear(wide, config.width))

    def join(self, v: Tensor, t: Tensor, image: Tokens, text: Tokens) -> Tensor:
        """Two linear layers over the two vectors."""
        return self.mix(torch.cat([v, t], dim=-1))


class LiftedMean(LateFusion):
    """Both sides count alike, whatever they say."""

    def join(self, v: Tensor, t: Tensor, image: Tokens, text: Tokens) -> Tensor:
        """See `LateFusion.join`."""
        return v + t


class Mean(nn.Module):
    """Means and nothing else: a pretrained text tower keeps the space it came with."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

    def forward(self, image: Tokens, text: Tokens, *, meet: bool = True) -> Fused:
        """See `LateFusion.forward`."""
        v, t = (normalize(_mean(side), dim=-1) for side in (image, text))
        joined = v * image.present[:, None] + t * text.present[:, None]
        return Fused(vector=normalize(joined, dim=-1), image_aligned=v, text_aligned=t)


def _mean(tokens: Tokens) -> Tensor:
    weights = (tokens.mask & tokens.present[:, None]).unsqueeze(-1).to(tokens.values.dtype)  # (B, L, 1)
    # Selected, not multiplied: whatever lies where the side is absent may be NaN.
    return (only_present(tokens) * weights).sum(1) / weights.sum(1).clamp(min=1.0)


LATE_FUSIONS: dict[str, type[nn.Module]] = {
    "late_attention": LateAttention,
    "modality_experts": ModalityExperts,
    "blend": Blend,
    "concat": Concat,
    "lifted_mean": LiftedMean,
    "mean": Mean,
}
