"""Ranks are counted over the whole gallery, and never in our own favour."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uniecs.evaluate import best_ranks, evaluate, mean_recall
from uniecs.rows import Item, Pair


def groups(*names: str) -> list[frozenset[str]]:
    return [frozenset([name]) for name in names]


def test_a_tie_counts_against_us() -> None:
    """A model that gives every candidate the same vector finds nothing."""
    same = np.ones((4, 1), dtype=np.float32)

    assert [4] == best_ranks(same[:1], same, groups("a"), groups("a", "b", "c", "d")).tolist()


def test_the_best_right_answer_counts() -> None:
    """Any product of the wanted look will do."""
    gallery = np.array([[0.2], [0.9], [0.5], [0.1]], dtype=np.float32)
    query = np.ones((1, 1), dtype=np.float32)

    assert [2] == best_ranks(query, gallery, groups("a"), groups("a", "b", "a", "c")).tolist()
    assert [0] == best_ranks(query, gallery, groups("z"), groups("a", "b", "a", "c")).tolist()


def test_nine_scenarios_where_both_sides_have_both() -> None:
    """Text, image, both against text, image, both; equal candidates are one."""
    pairs = [
        Pair(
            query=Item(f"q{at}", Path(f"q{at}.png")),
            candidate=Item(f"c{at}", Path(f"c{at}.png")),
            group=str(at),
            grade=1.0,
            line=at,
        )
        for at in (0, 1, 2, 2)
    ]

    def embed(items: Sequence[Item]) -> np.ndarray:
        numbers = [int((item.text or item.image.name)[1]) for item in items]  # type: ignore[union-attr]
        return np.eye(3, dtype=np.float32)[numbers]

    scenarios = evaluate(pairs, embed)

    assert 9 == len({(each.query, each.candidate) for each in scenarios})
    assert {3} == {each.gallery for each in scenarios}
    assert 1.0 == mean_recall(scenarios, at=1)


def test_a_scenario_without_its_form_is_left_out() -> None:
    """Text pairs say nothing about pictures."""
    pair = Pair(query=Item("q", None), candidate=Item("c", None), group="g", grade=1.0, line=1)
    scenarios = evaluate([pair], lambda items: np.ones((len(items), 1), dtype=np.float32))

    assert [("text", "text")] == [(each.query, each.candidate) for each in scenarios]
