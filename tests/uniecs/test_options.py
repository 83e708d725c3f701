"""Small options from related work: same-style pairs from clicks, and ranking by the other direction."""

import numpy as np

from uniecs.mining import MOST_A_QUERY, Click, same_style, style_pairs
from uniecs.reverse import reverse_rerank
from uniecs.rows import Item

SHELVES = {"mug-1": "mugs", "mug-2": "mugs", "mug-3": "mugs", "lamp": "lamps"}


def clicks(query: str, product: str, *shoppers: str) -> list[Click]:
    return [Click(query=query, product_id=product, unit_id=shopper) for shopper in shoppers]


def test_products_clicked_for_the_same_words_are_of_one_style() -> None:
    """By enough different shoppers, in one category, however the words were typed."""
    log = [
        *clicks("red mug", "mug-1", "a", "b", "c"),
        *clicks("Red  MUG", "mug-2", "c", "d", "e"),
        *clicks("red mug", "mug-3", "a", "a", "a"),  # one shopper, three times
        *clicks("red mug", "lamp", "a", "b", "c"),  # of another shelf
    ]

    assert [("mug-1", "mug-2")] == same_style(log, SHELVES)
    assert [] == same_style(log, {"mug-1": "mugs"})


def test_a_query_for_everything_pairs_only_its_most_clicked() -> None:
    """Pairs grow with the square of what was clicked."""
    log = [
        each
        for at in range(100)
        for each in clicks("gift", f"p{at:03}", *(f"s{n}" for n in range(3 + at % 2)))
    ]
    pairs = same_style(log, {f"p{at:03}": "gifts" for at in range(100)})

    assert MOST_A_QUERY * (MOST_A_QUERY - 1) // 2 == len(pairs)


def test_styles_that_share_a_product_are_one_group() -> None:
    """So that none of them is another's wrong answer; a product without its item is left out."""
    items = {name: Item(name, None) for name in ("a", "b", "c", "x", "y")}
    made = list(style_pairs([("a", "b"), ("b", "c"), ("x", "y"), ("x", "gone")], items))

    assert [("a", "b"), ("b", "c"), ("x", "y")] == [(pair.query.text, pair.candidate.text) for pair in made]
    assert ["style:a", "style:a", "style:x"] == [pair.group for pair in made]


def test_a_product_near_every_query_falls_behind_one_that_is_this_querys() -> None:
    """The forward order alone prefers the hub by a hair."""
    query, other = np.eye(3, dtype=np.float32)[:2]
    hub = np.array([0.71, 0.70, 0.08], dtype=np.float32)
    own = np.array([0.70, 0.0, 0.714], dtype=np.float32)
    hits = np.stack([hub, own])

    assert [0, 1] == reverse_rerank(query, hits, other[None], share=0.0).tolist()
    assert [1, 0] == reverse_rerank(query, hits, other[None]).tolist()
