"""The orders in which products of several ranked lists can stand.

Pure: no clock, no chance, no I/O. A rule sees ranks only; `merge.blend` gives
it each channel's products and says who found what. Every rule keeps the
protected head, names each product once, and breaks ties in the order of the
lists: the base first, then the channels by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, filterfalse, islice, zip_longest
from math import isfinite
from typing import Protocol

from .errors import InvalidPlan
from .query import BASE

# Product ids, best first, none twice; the base comes first, then the channels by name.
RankedLists = Mapping[str, Sequence[str]]


class Rule(Protocol):
    """An order for the products of several ranked lists."""

    @property
    def protected_head(self) -> int:
        """How many of the base's first products keep their place."""
        ...

    def order(self, lists: RankedLists, *, limit: int, own: frozenset[str]) -> list[str]:
        """Product ids, best first, none twice; it may be longer than is needed.

        Args:
            lists: the base and what the channels found.
            limit: how many products the page shows.
            own: the base's products once more, to be asked for one by one.
        """
        ...


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
        check_count("protected_head", self.protected_head, at_least=0)
        check_count("quota", self.quota, at_least=0)
        check_count("every", self.every, at_least=1)

    def order(self, lists: RankedLists, *, limit: int, own: frozenset[str]) -> list[str]:
        """Head, then recalled products and base by turns, then base, then the rest."""
        base = lists[BASE]
        on_page = own if limit >= len(base) else set(base[:limit])
        fresh = filterfalse(on_page.__contains__, _recalled(lists))
        places = max(0, limit - self.protected_head)
        may_take = list(islice(fresh, min(self.quota, (places + self.every - 1) // self.every)))
        ordered = [*base]
        for product_id in own.intersection(may_take):  # recalled from behind the page: one or two, as a rule
            ordered.remove(product_id)
        for place, product_id in enumerate(may_take):  # behind the end, too: then it follows the last
            ordered.insert(self.protected_head + place * self.every, product_id)
        if len(ordered) < limit:  # then the page holds all of the base
            ordered += fresh
        return ordered


@dataclass(frozen=True, slots=True, kw_only=True)
class Snake:
    """Each channel in turn names its next product, the order of turns reversing each round."""

    protected_head: int = 0

    def __post_init__(self) -> None:
        check_count("protected_head", self.protected_head, at_least=0)

    def order(self, lists: RankedLists, *, limit: int, own: frozenset[str]) -> list[str]:
        """Base first in odd rounds, last in even ones."""
        ordered = list(lists[BASE][: self.protected_head])
        placed = set(ordered)
        queues = [iter(product_ids) for product_ids in lists.values()]
        while queues:
            live = []
            for queue in queues:
                for product_id in queue:
                    if product_id not in placed:
                        placed.add(product_id)
                        ordered.append(product_id)
                        live.append(queue)
                        break
            queues = live[::-1]
        return ordered


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
        check_count("k", self.k, at_least=1)
        check_count("protected_head", self.protected_head, at_least=0)

    def order(self, lists: RankedLists, *, limit: int, own: frozenset[str]) -> list[str]:
        """The largest sum first; what is worth the same stands in the order of the lists."""
        shares = _shares(self.k, max(map(len, lists.values())))
        base, *others = lists.values()
        worth = dict(zip(base, shares, strict=False))
        for product_ids in others:
            for product_id, share in zip(product_ids, shares, strict=False):
                worth[product_id] = worth[product_id] + share if product_id in worth else share
        best_first = sorted(worth, key=worth.__getitem__, reverse=True)
        if not self.protected_head:
            return best_first
        return list(dict.fromkeys(chain(base[: self.protected_head], best_first)))


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedByRank:
    """The weighted sum of what each channel's ranking is worth: 1 for its first, falling evenly to 0.

    Attributes:
        weights: by channel, `base` included; 1 for one not named.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    protected_head: int = 0

    def __post_init__(self) -> None:
        check_count("protected_head", self.protected_head, at_least=0)
        for name, weight in self.weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise InvalidPlan(f"weight of {name!r} is {weight!r}, must be a number")
            if not (isfinite(weight) and weight >= 0):
                raise InvalidPlan(f"weight of {name!r} is {weight}, must be finite and at least 0")

    def order(self, lists: RankedLists, *, limit: int, own: frozenset[str]) -> list[str]:
        """The largest sum first."""
        worth = dict.fromkeys(_by_turns(lists.values()), 0.0)
        for name, product_ids in lists.items():
            weight, length = self.weights.get(name, 1.0), len(product_ids)
            for place, product_id in enumerate(product_ids):
                worth[product_id] += weight * (1 - place / length)
        best_first = sorted(worth, key=worth.__getitem__, reverse=True)
        return list(dict.fromkeys(chain(lists[BASE][: self.protected_head], best_first)))


RULES: Mapping[str, type[AppendQuota] | type[Snake] | type[ReciprocalRank] | type[WeightedByRank]] = {
    "append": AppendQuota,
    "snake": Snake,
    "rrf": ReciprocalRank,
    "weighted_by_rank": WeightedByRank,
}


def check_count(name: str, value: object, *, at_least: int) -> None:
    """Refuse what is not a whole number of at least so much."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InvalidPlan(f"{name} is {value!r}, must be a whole number of at least {at_least}")


def _recalled(lists: RankedLists) -> Sequence[str]:
    """What the channels found, by the best rank any of them gave it, then by the channel's name."""
    _, *found = lists.values()
    return found[0] if len(found) == 1 else list(dict.fromkeys(_by_turns(found)))


def _shares(k: int, places: int) -> Sequence[float]:
    """1 / (k + rank) for at least so many ranks."""
    return _shares_of(k, -(-places // 1_024))


@lru_cache(maxsize=64)
def _shares_of(k: int, thousands: int) -> Sequence[float]:
    return tuple(1 / (k + rank) for rank in range(1, 1_024 * thousands + 1))


def _by_turns(lists: Iterable[Sequence[str]]) -> list[str]:
    """All firsts, then all seconds, ...; what several found comes several times."""
    nothing = object()
    padded = zip_longest(*lists, fillvalue=nothing)
    return [one for one in chain.from_iterable(padded) if one is not nothing]  # type: ignore[misc]
