"""Join the base and what channels found into one list.

Pure: no clock, no chance, no I/O. Scores are never compared across channels:
a cosine and a BM25 score share no scale, and a product that only one channel
knows has no second score at all. What counts is the rank a channel gave.

A rule says in which order products stand; `blend` keeps the promises that hold
under every rule: each product once, the base's copy wins, the protected head
stays, ties are broken by rank, then id, and every product says who found it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import fsum, isfinite
from typing import Protocol

from product_index.vector_store import Hit

from .errors import InvalidPlan
from .query import BASE, RecalledItem

# Each channel's product ids, best first, no id twice; the base comes first.
RankedLists = Mapping[str, Sequence[str]]
Ranks = Mapping[str, Mapping[str, int]]


class Rule(Protocol):
    """An order for the products of several ranked lists."""

    @property
    def protected_head(self) -> int:
        """How many of the base's first products keep their place."""
        ...

    def order(self, lists: RankedLists, ranks: Ranks, *, limit: int) -> Iterable[str]:
        """Product ids, best first; `blend` drops what it has already placed."""
        ...


def blend(
    base: Sequence[str], found: Mapping[str, Sequence[Hit]], *, rule: Rule, limit: int
) -> list[RecalledItem]:
    """Join the lists by the rule.

    Args:
        base: the host's own products, best first.
        found: what each channel found, best first, already `clean`.
        rule: the order.
        limit: how many products the page shows. The list is as long as the
            page or the base, whichever is longer, so that a host which reads
            on behind the page finds its own products there.

    >>> found = {"uniecs": [Hit(product_id=name, score=0.9, version=1) for name in ("cup", "mug")]}
    >>> joined = blend(["mug", "jug"], found, rule=AppendQuota(protected_head=1), limit=3)
    >>> [item.product_id for item in joined]
    ['mug', 'cup', 'jug']
    """
    lists: dict[str, Sequence[str]] = {BASE: list(dict.fromkeys(base))}
    lists |= {name: list(dict.fromkeys(hit.product_id for hit in hits)) for name, hits in found.items()}
    ranks: dict[str, dict[str, int]] = {}
    for name, product_ids in lists.items():
        for rank, product_id in enumerate(product_ids, start=1):
            ranks.setdefault(product_id, {})[name] = rank
    head = lists[BASE][: rule.protected_head]
    ordered = dict.fromkeys(chain(head, rule.order(lists, ranks, limit=limit)))
    fields = {hit.product_id: hit for hits in reversed([*found.values()]) for hit in reversed(hits)}
    length = max(limit, len(lists[BASE]))
    return [
        RecalledItem(
            product_id=product_id,
            ranks=ranks[product_id],
            hit=None if BASE in ranks[product_id] else fields[product_id],
        )
        for product_id, _ in zip(ordered, range(length), strict=False)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendQuota:
    """The default: behind a protected head, some places of the page go to what was recalled.

    On a page of 20, shoppers look at about the first four before they scroll:
    those stay the base's, so an exact match is never pushed down. Behind them
    every second place is a recalled product until the quota is spent: it is
    seen (it starts at place 5, not at 21) and each product of the base moves
    down by at most the quota. A product that the base has, but only behind the
    page, may be recalled onto it. Where the base leaves places of the page
    empty, recalled products fill them beyond the quota: they displace nothing.

    Attributes:
        quota: how many places of the page recalled products may take from the base.
        every: 1 puts them in one block, 2 takes turns with the base, ...
    """

    protected_head: int = 4
    quota: int = 8
    every: int = 2

    def __post_init__(self) -> None:
        _check_count("protected_head", self.protected_head, at_least=0)
        _check_count("quota", self.quota, at_least=0)
        _check_count("every", self.every, at_least=1)

    def order(self, lists: RankedLists, ranks: Ranks, *, limit: int) -> Iterator[str]:
        """Head, then base and recalled products by turns, then base, then the rest."""
        base = lists[BASE]
        on_page = set(base[:limit])
        recalled = [product_id for product_id in _by_best_rank(lists, ranks) if product_id not in on_page]
        may_take = recalled[: self.quota]
        places_behind_head = max(0, limit - self.protected_head)
        may_take = may_take[: (places_behind_head + self.every - 1) // self.every]
        taken = set(may_take)
        rest = iter([product_id for product_id in base[self.protected_head :] if product_id not in taken])
        yield from base[: self.protected_head]
        for product_id in may_take:
            yield product_id
            for _ in range(self.every - 1):
                yield from _next_of(rest)
        yield from rest
        yield from recalled


@dataclass(frozen=True, slots=True, kw_only=True)
class Snake:
    """Each channel in turn names its next product, the order of turns reversing each round."""

    protected_head: int = 0

    def __post_init__(self) -> None:
        _check_count("protected_head", self.protected_head, at_least=0)

    def order(self, lists: RankedLists, ranks: Ranks, *, limit: int) -> Iterator[str]:
        """Base first in odd rounds, last in even ones."""
        placed = set(lists[BASE][: self.protected_head])
        queues = [iter(product_ids) for product_ids in lists.values()]
        while queues:
            live = []
            for queue in queues:
                product_id = next((candidate for candidate in queue if candidate not in placed), None)
                if product_id is None:
                    continue
                placed.add(product_id)
                live.append(queue)
                yield product_id
            queues = live[::-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReciprocalRank:
    """Reciprocal rank fusion: the sum of 1 / (k + rank) over the channels that found it.

    Inside a funnel that ranks afterwards this buries an exact match that only
    one channel knows; give it a protected head, or take the default rule.

    Attributes:
        k: with 60, a product that two channels rank anywhere in their first 60
            beats one that a single channel ranks first (Cormack et al., 2009).
    """

    k: int = 60
    protected_head: int = 0

    def __post_init__(self) -> None:
        _check_count("k", self.k, at_least=1)
        _check_count("protected_head", self.protected_head, at_least=0)

    def order(self, lists: RankedLists, ranks: Ranks, *, limit: int) -> list[str]:
        """The largest sum first."""
        worth = {
            product_id: fsum(1 / (self.k + rank) for rank in by_channel.values())
            for product_id, by_channel in ranks.items()
        }
        return _by_worth(worth, ranks)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedByRank:
    """The weighted sum of what each channel's ranking is worth: 1 for its first, falling evenly to 0.

    Attributes:
        weights: by channel, `base` included; 1 for one not named.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    protected_head: int = 0

    def __post_init__(self) -> None:
        _check_count("protected_head", self.protected_head, at_least=0)
        for name, weight in self.weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise InvalidPlan(f"weight of {name!r} is {weight!r}, must be a number")
            if not (isfinite(weight) and weight >= 0):
                raise InvalidPlan(f"weight of {name!r} is {weight}, must be finite and at least 0")

    def order(self, lists: RankedLists, ranks: Ranks, *, limit: int) -> list[str]:
        """The largest sum first."""
        worth = {
            product_id: fsum(
                self.weights.get(name, 1.0) * (1 - (rank - 1) / len(lists[name]))
                for name, rank in by_channel.items()
            )
            for product_id, by_channel in ranks.items()
        }
        return _by_worth(worth, ranks)


RULES: Mapping[str, type[AppendQuota] | type[Snake] | type[ReciprocalRank] | type[WeightedByRank]] = {
    "append": AppendQuota,
    "snake": Snake,
    "rrf": ReciprocalRank,
    "weighted_by_rank": WeightedByRank,
}


def _by_best_rank(lists: RankedLists, ranks: Ranks) -> list[str]:
    """What the channels found, by the best rank any of them gave it, then id."""
    names = [name for name in lists if name != BASE]
    found = dict.fromkeys(chain.from_iterable(lists[name] for name in names))
    if len(names) == 1:
        return list(found)
    return sorted(found, key=lambda key: (min(ranks[key][name] for name in names if name in ranks[key]), key))


def _by_worth(worth: Mapping[str, float], ranks: Ranks) -> list[str]:
    return sorted(
        worth, key=lambda product_id: (-worth[product_id], min(ranks[product_id].values()), product_id)
    )


def _next_of(rest: Iterator[str]) -> Iterator[str]:
    for product_id in rest:
        yield product_id
        return


def _check_count(name: str, value: object, *, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InvalidPlan(f"{name} is {value!r}, must be a whole number of at least {at_least}")
