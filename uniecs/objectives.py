"""What a run learns by: which terms, and what they weigh.

uniecs        the three losses of `losses`
beyond_text   the query's words with the product's text and picture (stage one), then
              also with the fused product (stage two); grades weigh what is right
two_tower     a text and a picture that belong together, as CLIP learns
reference     the nine terms of the released code (`reference_losses`)

Whatever the objective, stage one of a run learns the alignment of query words,
product text and product picture alone. Options add terms; see `LossConfig`.
"""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, normalize, relu, softplus

from .config import LossConfig, ModelConfig
from .losses import NOWHERE, Side, contrast, loss_terms, mean_of
from .reference_losses import REFERENCE_WEIGHTS, reference_terms
from .weighing import LossWeigher

# Of Beyond Text's published sketch: how much stage one's terms weigh in stage two, and
# the alignment of a product's text with its own picture in stage one. Both are ours.
MU = 0.5
TEXT_WITH_PICTURE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What is known of the pairs of a batch.

    Attributes:
        groups: (B,) int64; pairs of one group are never each other's wrong answers.
        asks: (B,) int64; pairs with the same query have the same number.
        grades: (B,) float32; how relevant a pair's candidate is to its query.
    """

    groups: Tensor
    asks: Tensor
    grades: Tensor


class Criterion(nn.Module):
    """Terms of a batch to one loss; holds the little that is learned beside the model."""

    def __init__(self, config: LossConfig, model: ModelConfig) -> None:
        super().__init__()
        self.config = config
        options = {name: getattr(config, name) for name in ("never_hurt", "same_tongue", "diversity")}
        base = {
            "uniecs": {"cmal": config.cmal, "clal": config.clal, "imcl": config.imcl},
            "beyond_text": {"fused": 1.0, "align": MU},
            "two_tower": {"clip": 1.0},
            "reference": dict(REFERENCE_WEIGHTS),
        }[config.objective]
        self.weigher = LossWeigher(base | options, config.weighting)
        self.tongue = nn.Linear(model.width, 1) if config.same_tongue else None
        # ln 10, as released; the multiplier is kept in [1, 20.1].
        self.scale = nn.Parameter(torch.tensor(2.3026)) if config.objective == "reference" else None

    def forward(
        self,
        query: Side,
        candidate: Side,
        labels: Labels,
        *,
        stage: int = 2,
        codes: Tensor | None = None,
        lone: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its terms.

        Args:
            query: sample i belongs to candidate i.
            candidate: the other side.
            labels: groups, queries and grades.
            stage: in stage one the terms of fusion wait.
            codes: (M, D) the codes of `pool_views`, for their diversity.
            lone: only the query's picture and the candidate's text are there.
        """
        if lone:
            total = self._picture_with_text(query, candidate, labels)
            return total, {"picture_with_text": total}
        if stage == 1:
            total = align(query, candidate, labels, self.config)
            return total, {"align": total}
        terms = self._terms(query, candidate, labels)
        if self.config.never_hurt:
            terms["never_hurt"] = _never_hurt(query, candidate)
        if self.tongue is not None:
            terms["same_tongue"] = _same_tongue(self.tongue, query, candidate)
        if self.config.diversity:
            terms["diversity"] = _diversity(codes, total=query.text.vector)
        return self.weigher.join(terms), terms

    def _picture_with_text(self, query: Side, candidate: Side, labels: Labels) -> Tensor:
        same, temperature = _same(labels.groups), self.config.temperature_cross
        return contrast(query.view("v"), candidate.view("t"), same, temperature, self.config)

    def _terms(self, query: Side, candidate: Side, labels: Labels) -> dict[str, Tensor]:
        config = self.config
        if config.objective == "uniecs":
            return loss_terms(query, candidate, labels.groups, config)
        if config.objective == "reference":
            assert self.scale is not None  # noqa: S101 - made for this objective, for the type checker
            return reference_terms(query, candidate, self.scale.clamp(0.0, 3.0).exp())
        if config.objective == "two_tower":
            same = _same(labels.groups)
            terms = [
                contrast(query.view(a), candidate.view(b), same, config.temperature_cross, config)
                for a, b in ("vt", "tv")
            ]
            return {"clip": torch.stack(terms).mean()}
        fused = graded_contrast(
            query.view("t"), candidate.any_view(), labels, config.temperature_both, config
        )
        return {"fused": fused, "align": align(query, candidate, labels, config)}


def align(query: Side, candidate: Side, labels: Labels, config: LossConfig) -> Tensor:
    """Stage one: query with text, query with picture, and the product's text with its picture."""
    own = contrast(
        candidate.view("t"), candidate.view("v"), _same(labels.groups), config.temperature_cross, config
    )
    asked = [
        graded_contrast(query.view("t"), candidate.view(letter), labels, config.temperature_cross, config)
        for letter in "tv"
    ]
    return asked[0] + asked[1] + TEXT_WITH_PICTURE * own


def graded_contrast(
    mine: tuple[Tensor, Tensor],
    theirs: tuple[Tensor, Tensor],
    labels: Labels,
    temperature: float,
    config: LossConfig,
) -> Tensor:
    """Two-sided contrast, the query's side listwise over grades.

    Of the candidates that were graded for a query, each is as right as its gain
    2^grade - 1. With one candidate a query and grade 1 this is `contrast`.
    """
    (a, a_valid), (b, b_valid) = mine, theirs
    rows = a_valid & b_valid & (labels.grades > 0)
    if not rows.any():
        return (a @ b.T).sum() * 0
    cosines = a @ b.T  # (B, B)
    own = torch.eye(len(a), dtype=torch.bool, device=a.device)
    graded = labels.asks[:, None] == labels.asks[None, :]
    gains = (2.0**labels.grades - 1).clamp(min=0)[None, :] * (graded & b_valid[None, :])  # (B, B)
    positive = cosines.detach().diagonal()
    unmarked = cosines.detach() > positive[:, None] + config.false_negative_margin
    out = ((_same(labels.groups) & ~graded) | unmarked | ~b_valid[None, :]) & ~own
    logits = (cosines / temperature).masked_fill(out, NOWHERE)
    wanted = gains.masked_fill(out, 0.0)
    wanted = wanted / wanted.sum(1, keepdim=True).clamp(min=1e-12)
    forward = -(wanted * log_softmax(logits, dim=1)).sum(1)[rows].mean()
    # The other way there is one query a candidate, and no grade to weigh.
    unmarked = positive[:, None] + config.false_negative_margin < cosines.detach().T
    out = (_same(labels.groups) | unmarked | ~a_valid[None, :]) & ~own
    back = (cosines.T / temperature).masked_fill(out, NOWHERE)
    targets = torch.arange(len(a), device=a.device)
    return (forward + cross_entropy(back[rows], targets[rows])) / 2


def _never_hurt(query: Side, candidate: Side) -> Tensor:
    """A product of text and picture may not score its query below either alone."""
    fused, valid = candidate.view("m")
    hurts, counted = [], []
    for letter in "vtm":
        asked, asks = query.view(letter)
        with_both = (asked * fused).sum(-1)
        for alone in "vt":
            less = (asked * candidate.view(alone)[0]).sum(-1)
            hurts.append(relu(less.detach() - with_both))
            counted.append(valid & asks)
    return mean_of(torch.stack(hurts), torch.stack(counted))


class _Reversed(torch.autograd.Function):
    """Lets values through and turns their gradient round."""

    @staticmethod
    def forward(_: object, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        return -gradient


def _same_tongue(tongue: nn.Module, query: Side, candidate: Side) -> Tensor:
    """The discriminator learns to tell text from pictures; the model, to make it impossible."""
    losses = []
    for side in (query, candidate):
        for letter, sign in (("v", 1.0), ("t", -1.0)):
            vectors, valid = side.view(letter)
            told = tongue(_Reversed.apply(vectors))[:, 0]  # (B,) logit of "this is a picture"
            losses.append(mean_of(softplus(-sign * told), valid))
    return torch.stack(losses).mean()


def _diversity(codes: Tensor | None, *, total: Tensor) -> Tensor:
    """Views should look at different things: the mean squared cosine between their codes."""
    if codes is None:
        return total.sum() * 0
    unit = normalize(codes, dim=-1)
    return torch.stack([(unit[a] * unit[b]).sum() ** 2 for a, b in combinations(range(len(unit)), 2)]).mean()


def _same(groups: Tensor) -> Tensor:
    return groups[:, None] == groups[None, :]  # (B, B)
