"""Pairs of the same style from what shoppers clicked; pure, no model.

Two products that were clicked for the same words by enough different shoppers
are taken for one style, if they are of one category: for "red mug" people click
red mugs, and by accident a lamp. After Alibaba's same-style retrieval. What comes
out are training pairs whose group is the style.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from .rows import Item, Pair

# Of products clicked for one query, only the most clicked are paired: pairs grow with the square.
MOST_A_QUERY = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """One shopper's click on one product, found by these words."""

    query: str
    product_id: str
    unit_id: str


def same_style(
    clicks: Iterable[Click], categories: Mapping[str, str], *, shoppers: int = 3
) -> list[tuple[str, str]]:
    """Return pairs of product ids, each once, in a fixed order.

    Args:
        clicks: a shopper who clicks twice is one shopper.
        categories: of each product; one without a category is not paired.
        shoppers: how many must have clicked each of the two for the same words.
    """
    clicked: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for click in clicks:
        clicked[" ".join(click.query.casefold().split())][click.product_id].add(click.unit_id)
    found: set[tuple[str, str]] = set()
    for products in clicked.values():
        counts = Counter({product: len(units) for product, units in products.items()})
        liked = sorted(
            (product for product, count in counts.items() if count >= shoppers and product in categories),
            key=lambda product: (-counts[product], product),
        )[:MOST_A_QUERY]
        found |= {
            (min(one, other), max(one, other))
            for one, other in combinations(liked, 2)
            if categories[one] == categories[other]
        }
    return sorted(found)


def style_pairs(same: Iterable[tuple[str, str]], items: Mapping[str, Item]) -> Iterator[Pair]:
    """Yield training pairs of products of one style; styles that share a product are one group."""
    same = [pair for pair in same if pair[0] in items and pair[1] in items]
    style: dict[str, str] = {}

    def first_of(product: str) -> str:
        while style.setdefault(product, product) != product:
            style[product] = style[style[product]]
            product = style[product]
        return product

    for one, other in same:
        ends = sorted((first_of(one), first_of(other)))
        style[ends[1]] = ends[0]
    for line, (one, other) in enumerate(same, start=1):
        group = f"style:{first_of(one)}"
        yield Pair(query=items[one], candidate=items[other], group=group, grade=1.0, line=line)
