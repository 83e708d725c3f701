"""May a new encoder take the place of the one that is served? It may if it loses nowhere.

Pure: what both found in, a decision out. They answered the same questions, so
they are compared question by question: in each scenario the share of questions
whose answer is among the first ten, and a bootstrap of its difference. Drawn
again are whole groups of questions, for those of one group are not independent.
Several scenarios are looked at, so each must be surer of a loss (Bonferroni): an
equal model is refused once in twenty times at most, however many there are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput
from .evaluate import Judged

Figures = NDArray[np.float64]

CUTOFF = 10
ALPHA = 0.05
# With nine scenarios the bound is the 22nd of so many from the end: steady enough, and a second's work.
DRAWS = 4_000
_AT_ONCE = 500  # draws; bounds the memory of 50,000 groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One scenario, before and after.

    Attributes:
        before: R@10 of the model that is served.
        after: R@10 of the new one.
        low: the lower end of what the difference may be, by the bootstrap.
        high: its upper end; a loss is significant where even this is below zero.
    """

    query: str
    candidate: str
    questions: int
    before: float
    after: float
    low: float
    high: float

    @property
    def lost(self) -> bool:
        """Whether the new model is worse here, and not by chance."""
        return self.high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether to promote, why, and by which figures."""

    promote: bool
    reason: str
    comparisons: tuple[Comparison, ...]

    def as_dict(self) -> dict[str, Any]:
        """For a log, a file, a message between tasks."""
        return asdict(self)


def compare(
    before: Sequence[Judged], after: Sequence[Judged], *, seed: int, alpha: float = ALPHA
) -> list[Comparison]:
    """Set two models beside each other, scenario by scenario.

    Args:
        before: what the model that is served found.
        after: what the new one found, for the same pairs.
        seed: of the bootstrap.
        alpha: how often an equal model may be refused.

    Raises:
        InvalidInput: they did not answer the same questions.
    """
    if not before or _questions(before) != _questions(after):
        asked, again = (sum(len(one.ranks) for one in side) for side in (before, after))
        raise InvalidInput(
            f"the models answered {asked} and {again} questions, not the same; judge both by the same pairs"
        )
    gains = [new.hits(CUTOFF) - old.hits(CUTOFF) for old, new in zip(before, after, strict=True)]
    bounds = _bounds(gains, [one.units for one in before], seed=seed, alpha=alpha / len(before))
    return [
        Comparison(
            query=old.query,
            candidate=old.candidate,
            questions=len(old.ranks),
            before=_share(old),
            after=_share(new),
            low=low,
            high=high,
        )
        for old, new, (low, high) in zip(before, after, bounds, strict=True)
    ]


def decide(comparisons: Sequence[Comparison]) -> Decision:
    """Promote unless a scenario loses."""
    lost = [one for one in comparisons if one.lost]
    if lost:
        said = "; ".join(
            f"{one.query} -> {one.candidate}: R@{CUTOFF} {one.before:.3f} -> {one.after:.3f} "
            f"(at best {one.high:+.3f}, {one.questions} questions)"
            for one in lost
        )
        reason = f"it loses in {len(lost)} of {len(comparisons)} scenarios: {said}"
        return Decision(promote=False, reason=reason, comparisons=tuple(comparisons))
    gained = sum(one.low > 0 for one in comparisons)
    reason = f"it loses in none of {len(comparisons)} scenarios, and gains in {gained}"
    return Decision(promote=True, reason=reason, comparisons=tuple(comparisons))


def _questions(found: Sequence[Judged]) -> list[tuple[str, str, int, tuple[str, ...]]]:
    return [(one.query, one.candidate, one.gallery, one.units) for one in found]


def _share(found: Judged) -> float:
    return float(found.hits(CUTOFF).mean()) if len(found.ranks) else 0.0


def _bounds(
    gains: Sequence[Figures], units: Sequence[Sequence[str]], *, seed: int, alpha: float
) -> list[tuple[float, float]]:
    """One-sided bounds of the mean gain of each scenario, all by the same draws of groups."""
    names = {name: place for place, name in enumerate(sorted({name for one in units for name in one}))}
    sums, counts = np.zeros((2, len(gains), len(names)))
    for row, (values, owners) in enumerate(zip(gains, units, strict=True)):
        places = [names[name] for name in owners]
        np.add.at(sums[row], places, values)
        np.add.at(counts[row], places, 1.0)
    chance, means = np.random.default_rng(seed), []
    for _ in range(0, DRAWS, _AT_ONCE):
        drawn = chance.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_AT_ONCE)
        means.append(drawn @ sums.T / np.maximum(drawn @ counts.T, 1))
    low, high = np.quantile(np.concatenate(means), [alpha, 1 - alpha], axis=0)
    return [(float(one), float(other)) for one, other in zip(low, high, strict=True)]
