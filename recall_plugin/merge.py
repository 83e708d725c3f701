"""Join the base and what channels found into one list.

Pure: no clock, no chance, no I/O. Scores are never compared across channels:
a cosine and a BM25 score share no scale, and a product that only one channel
knows has no second score at all. What counts is the rank a channel gave.

A rule (`rules`) says in which order products stand; `blend` keeps the promises
that hold under every rule: each product once, of each group one, the base's
copy wins, and every product says who found it. A shopper waits while a list is
joined, and few of its products are ever asked where they came from: that is
worked out when somebody asks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import overload

from product_index.vector_store import Hit

from .cleaning import ids_of
from .query import BASE, RecalledItem
from .rules import RankedLists, Rule

# The product group (a shoe in all its sizes) that a product id belongs to.
GroupOf = Callable[[str], str]


def blend(
    base: Sequence[str],
    found: Mapping[str, Sequence[Hit]],
    *,
    rule: Rule,
    limit: int,
    group_of: GroupOf | None = None,
) -> "Blended":
    """Join the lists by the rule.

    Args:
        base: the host's own products, best first. All of them stay. Copied, but for a tuple.
        found: what each channel found, best first, already `clean`.
        rule: the order.
        limit: how many products the page shows. The list is as long as the
            page or the base, whichever is longer, so that a host which reads
            on behind the page finds its own products there.
        group_of: then of each group one product is recalled, and the base's
            own stands for it where the base has one.

    >>> from recall_plugin.rules import AppendQuota
    >>> found = {"uniecs": [Hit(product_id=name, score=0.9, version=1) for name in ("cup", "mug")]}
    >>> joined = blend(["mug", "jug"], found, rule=AppendQuota(protected_head=1), limit=3)
    >>> joined.product_ids
    ['mug', 'cup', 'jug']
    >>> joined[0].ranks
    {'base': 1, 'uniecs': 2}
    """
    own = frozenset(base)
    lists: dict[str, Sequence[str]] = {BASE: tuple(base if len(own) == len(base) else dict.fromkeys(base))}
    for name in sorted(found):
        lists[name] = ids_of(found[name])
    if group_of is not None:
        lists = _one_of_each_group(lists, group_of)
    ordered = rule.order(lists, limit=limit, own=own)
    del ordered[max(limit, len(own)) :]
    return Blended(ordered, lists, found)


def group_before(separator: str) -> GroupOf | None:
    """The group of ids like `shoe-41`: what stands before the last separator; None without one.

    >>> group_of = group_before("-")
    >>> group_of("shoe-red-41"), group_of("hat")
    ('shoe-red', 'hat')
    """
    if not separator:
        return None
    return lambda product_id: product_id.rpartition(separator)[0] or product_id


class Provenance:
    """Who found a product, and at which rank: of ranked lists, worked out when it is asked for."""

    __slots__ = ("_lists", "_places")

    def __init__(self, lists: RankedLists) -> None:
        self._lists = lists
        self._places: Mapping[str, Mapping[str, int]] | None = None

    def ranks(self, product_id: str) -> dict[str, int]:
        """The rank, from 1, that each channel gave it; only those that found it."""
        if self._places is None:  # twice at once is as good as once
            self._places = {
                name: dict(zip(product_ids, count(1), strict=False))
                for name, product_ids in self._lists.items()
            }
        return {name: places[product_id] for name, places in self._places.items() if product_id in places}


class Blended(Sequence[RecalledItem]):
    """The joined list: its ids at once, the items when somebody reads them.

    Attributes:
        product_ids: best first, none twice.
        provenance: who found each of them.
    """

    __slots__ = ("_found", "_hits", "_lists", "product_ids", "provenance")

    def __init__(
        self, product_ids: list[str], lists: RankedLists, found: Mapping[str, Sequence[Hit]]
    ) -> None:
        self.product_ids = product_ids
        self.provenance = Provenance(lists)
        self._lists = lists
        self._found = found
        self._hits: Mapping[str, Hit] | None = None

    @property
    def adds_to_the_pool(self) -> bool:
        """Whether a channel found what the base had not."""
        base, *found = self._lists.values()
        return not all(set(base).issuperset(product_ids) for product_ids in found)

    def beginning_with(self, page: list[str]) -> "Blended":
        """The same products with these first, as long as before or as the page."""
        ordered = list(dict.fromkeys(chain(page, self.product_ids)))
        return Blended(ordered[: max(len(page), len(self.product_ids))], self._lists, self._found)

    def __len__(self) -> int:
        return len(self.product_ids)

    def __iter__(self) -> Iterator[RecalledItem]:
        return map(self._item, self.product_ids)

    @overload
    def __getitem__(self, place: int) -> RecalledItem: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[RecalledItem]: ...
    def __getitem__(self, place: int | slice) -> RecalledItem | Sequence[RecalledItem]:
        if isinstance(place, slice):
            return [self._item(product_id) for product_id in self.product_ids[place]]
        return self._item(self.product_ids[place])

    def _item(self, product_id: str) -> RecalledItem:
        if self._hits is None:  # where two channels found it, the fields of the first by name
            by_name = [self._found[name] for name in sorted(self._found, reverse=True)]
            self._hits = {hit.product_id: hit for hits in by_name for hit in hits}
        ranks = self.provenance.ranks(product_id)
        hit = None if BASE in ranks else self._hits[product_id]
        return RecalledItem(product_id=product_id, ranks=ranks, hit=hit)


def _one_of_each_group(lists: RankedLists, group_of: GroupOf) -> dict[str, Sequence[str]]:
    """The lists with one product for each group: the base's first, else the one that was found first."""
    stands_for: dict[str, str] = {}

    def standing(product_ids: Iterable[str]) -> list[str]:
        return [stands_for.setdefault(group_of(product_id), product_id) for product_id in product_ids]

    standing(lists[BASE])
    recalled = {name: product_ids for name, product_ids in lists.items() if name != BASE}
    for rank in range(max(map(len, recalled.values()), default=0)):
        standing(product_ids[rank] for product_ids in recalled.values() if rank < len(product_ids))
    return {
        BASE: lists[BASE],
        **{name: list(dict.fromkeys(standing(product_ids))) for name, product_ids in recalled.items()},
    }
