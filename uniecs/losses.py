"""What a good space is: three losses over the nine query x candidate scenarios.

CMAL  cross-modal alignment: query and candidate meet whatever form each takes,
      and each side's pooled reading agrees with its fused vector
CLAL  cohesive local alignment: near a query, the image-only and text-only views
      rank candidates as the fused view does
IMCL  intra-modal contrast: image with image, text with text, both with both,
      with a margin on the hardest half of the negatives

All similarities are plain cosines. A term is averaged over the samples that
have its modalities; a batch without any gives 0. The published rule for
weighing the losses against each other is not known; `weighing` is ours.
"""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .config import LossConfig
from .fusion import Fused

# Cosine below which nothing is a neighbour; also what an excluded negative is set to.
NOWHERE = -1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The three views of one side of a batch, and which samples have which modality."""

    image: Fused  # (B, D) vectors, text absent
    text: Fused  # image absent
    both: Fused
    has_image: Tensor  # (B,) bool
    has_text: Tensor  # (B,) bool

    def view(self, letter: str) -> tuple[Tensor, Tensor]:
        """Return vectors (B, D) and validity (B,) of view v, t or m."""
        if letter == "v":
            return self.image.vector, self.has_image
        if letter == "t":
            return self.text.vector, self.has_text
        return self.both.vector, self.has_image & self.has_text

    def any_view(self) -> tuple[Tensor, Tensor]:
        """Return vectors and validity of whatever a sample has."""
        return self.both.vector, self.has_image | self.has_text


def loss_terms(query: Side, candidate: Side, groups: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """Return the three terms, unweighted.

    Args:
        query: sample i belongs to candidate i.
        candidate: the other side.
        groups: (B,) int; samples of one group are never each other's negatives.
        config: temperatures and margins.
    """
    same = groups[:, None] == groups[None, :]  # (B, B)
    return {
        "cmal": _cmal(query, candidate, same, config),
        "clal": _clal(query, candidate, config),
        "imcl": _imcl(query, candidate, same, config),
    }


def _cmal(query: Side, candidate: Side, same: Tensor, config: LossConfig) -> Tensor:
    terms = []
    for one, other in combinations("vtm", 2):
        for a, b in ((one, other), (other, one)):
            terms.append(contrast(query.view(a), candidate.view(b), same, config.temperature_cross, config))
    return torch.stack(terms).mean() + 0.5 * torch.stack([_align(query), _align(candidate)]).mean()


def _align(side: Side) -> Tensor:
    fused, valid = side.view("m")
    gaps = 1 - (side.both.image_aligned * fused).sum(-1)  # (B,)
    gaps = gaps + 1 - (side.both.text_aligned * fused).sum(-1)
    return mean_of(gaps / 2, valid)


def _clal(query: Side, candidate: Side, config: LossConfig) -> Tensor:
    target, target_valid = candidate.view("m")
    _, rows = query.view("m")
    scores = {letter: query.view(letter)[0] @ target.T for letter in "vtm"}  # (B, B) each
    near = scores["m"].detach().masked_fill(~target_valid[None, :], NOWHERE)
    nearest = near.topk(min(config.neighbours, len(near)), dim=1).indices  # (B, k)
    valid = rows[:, None] & target_valid[nearest]  # (B, k)
    local = {letter: score.gather(1, nearest) for letter, score in scores.items()}
    gaps = [
        ((local[a] - local[b]) ** 2 - config.tolerance**2).clamp(min=0) for a, b in combinations("vtm", 2)
    ]
    return mean_of(torch.stack(gaps).mean(0), valid)


def _imcl(query: Side, candidate: Side, same: Tensor, config: LossConfig) -> Tensor:
    temperatures = {"v": config.temperature_image, "t": config.temperature_text, "m": config.temperature_both}
    terms = []
    for letter, temperature in temperatures.items():
        mine, theirs = query.view(letter), candidate.view(letter)
        terms.append(contrast(mine, theirs, same, temperature, config))
        terms.append(_hardest_half(mine, theirs, same, config))
    return torch.stack(terms).sum() / len(temperatures)


def contrast(
    mine: tuple[Tensor, Tensor],
    theirs: tuple[Tensor, Tensor],
    same: Tensor,
    temperature: float,
    config: LossConfig,
) -> Tensor:
    """Two-sided InfoNCE between two views, each (vectors, validity).

    A false negative leaves the softmax: of the same group, or further above the
    positive than the margin.
    """
    (a, a_valid), (b, b_valid) = mine, theirs
    cosines = a @ b.T  # (B, B)
    rows = a_valid & b_valid  # samples with a positive
    if not rows.any():
        return cosines.sum() * 0
    own = torch.eye(len(a), dtype=torch.bool, device=a.device)
    positives = cosines.detach().diagonal()
    targets = torch.arange(len(a), device=a.device)
    losses = []
    for scores, columns, positive in (
        (cosines, b_valid, positives[:, None]),
        (cosines.T, a_valid, positives[:, None]),
    ):
        unmarked = scores.detach() > positive + config.false_negative_margin
        out = (same | unmarked | ~columns[None, :]) & ~own
        logits = (scores / temperature).masked_fill(out, NOWHERE)
        losses.append(cross_entropy(logits[rows], targets[rows]))
    return (losses[0] + losses[1]) / 2


def _hardest_half(
    mine: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], same: Tensor, config: LossConfig
) -> Tensor:
    (a, a_valid), (b, b_valid) = mine, theirs
    cosines = a @ b.T
    negatives = cosines.masked_fill(same | ~b_valid[None, :], NOWHERE)
    hardest = negatives.topk(max(1, len(a) // 2), dim=1).values  # (B, B // 2)
    short = (config.hinge_margin + hardest - cosines.diagonal()[:, None]).clamp(min=0)
    return mean_of(short, (a_valid & b_valid)[:, None] & (hardest > NOWHERE))


def mean_of(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean over the valid; 0, with a gradient path, where none is."""
    weights = valid.to(values.dtype).expand_as(values)
    return (values * weights).sum() / weights.sum().clamp(min=1.0)
