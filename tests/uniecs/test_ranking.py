"""Grades, ties, the mixed gallery and intervals: counted by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from uniecs.errors import InvalidRows
from uniecs.evaluate import Judged, evaluate, judge, mean_recall_interval
from uniecs.intervals import interval, mean_interval
from uniecs.ranking import ndcg
from uniecs.rows import Item, Pair, read_pairs


def pair(query: str, candidate: str, *, group: str, grade: float = 1.0) -> Pair:
    return Pair(query=Item(query, None), candidate=Item(candidate, None), group=group, grade=grade, line=1)


def test_the_gain_of_a_grade_is_exponential_and_discounted_by_rank() -> None:
    """Wrong, 2, 1 down the list: (3 / log2 3 + 1 / log2 4) of (3 / log2 2 + 1 / log2 3)."""
    scores = np.array([0.9, 0.8, 0.7], dtype=np.float32)
    expected = (3 / np.log2(3) + 1 / 2) / (3 + 1 / np.log2(3))

    assert pytest.approx(expected) == ndcg(scores, np.array([0.0, 2.0, 1.0]))
    assert pytest.approx(1.0) == ndcg(scores, np.array([2.0, 1.0, 0.0]))


def test_of_equal_scores_the_less_relevant_stand_first() -> None:
    """A model that tells nothing apart has the worst order there is."""
    same = np.zeros(30, dtype=np.float32)

    assert 0 == ndcg(same, np.array([2.0, 1.0] + [0.0] * 28))


def test_a_candidates_own_grade_is_heard_before_its_groups() -> None:
    """Two candidates of one group, graded 2 and 0: only the first is right."""
    pairs = [pair("mug", "red mug", group="g", grade=2), pair("mug", "mug tree", group="g", grade=0)]
    points = {"mug": 0.0, "red mug": 2.0, "mug tree": 0.1}

    def embed(items: list[Item]) -> np.ndarray:
        angles = np.array([points[item.text or ""] for item in items])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    found = evaluate(pairs, embed)[0]

    assert 0.0 == found.recall[1]
    assert 1.0 == found.recall[5]


def test_each_candidate_of_the_mixed_gallery_has_one_form() -> None:
    """Three more scenarios; the lot is the same every time."""
    pairs = [
        Pair(
            query=Item(f"q{at}", Path(f"q{at}.png")),
            candidate=Item(f"c{at}", Path(f"c{at}.png")),
            group=str(at),
            grade=1.0,
            line=at,
        )
        for at in range(30)
    ]
    forms = []

    def embed(items: list[Item]) -> np.ndarray:
        forms.append([(item.text is not None, item.image is not None) for item in items])
        numbers = [int((item.text or item.image.name.removesuffix(".png"))[1:]) for item in items]
        return np.eye(30, dtype=np.float32)[numbers]

    judged = judge(pairs, embed, mixed=True)
    mixed = [each for each in judged if each.candidate == "mixed"]

    assert 12 == len(judged)
    assert ["text", "image", "both"] == [each.query for each in mixed]
    assert {30} == {each.gallery for each in mixed}
    assert 3 == len(set(forms[-1]))


def test_an_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    """Of 200 samples with a true mean of 0.3, about 95% have it in their interval."""
    chance = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        hits = (chance.random(150) < 0.3).astype(float)
        low, high = interval(hits, [str(at) for at in range(150)])
        covered += low <= 0.3 <= high

    assert 180 <= covered <= 198


def test_a_paired_interval_is_narrower_than_the_two_alone() -> None:
    """Two models fail on the same hard queries; their difference is surer than either."""
    chance = np.random.default_rng(2)
    hard = chance.random(400)
    ours, theirs = ((hard < share).astype(float) for share in (0.52, 0.50))
    units = [str(at) for at in range(400)]
    low, high = mean_interval([ours], [units], minus=[theirs])
    alone = interval(ours, units)

    assert 0 <= low < high
    assert high - low < 0.5 * (alone[1] - alone[0])


def test_queries_of_one_unit_are_drawn_together() -> None:
    """Ten copies of each query are no more evidence than one."""
    hits = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    units = list("abcdef")
    once = interval(hits, units)
    copied = interval(np.repeat(hits, 10), [unit for unit in units for _ in range(10)])

    assert pytest.approx(once) == copied


def test_the_mean_over_scenarios_leaves_the_mixed_gallery_out() -> None:
    """It is a tenth figure, not a part of the nine."""

    def judged(candidate: str, rank: int) -> Judged:
        return Judged(
            query="text",
            candidate=candidate,
            gallery=20,
            ranks=np.full(5, rank),
            ndcg=np.ones(5),
            units=tuple("abcde"),
        )

    assert (1.0, 1.0) == mean_recall_interval([judged("text", 1), judged("mixed", 20)])


def test_the_columns_of_m_beer_are_a_pairs_file(tmp_path: Path) -> None:
    """Trigger asks, recall answers; the flat names are taken as they are."""
    file = tmp_path / "pairs.jsonl"
    row = {"trigger_text": "红色杯子", "trigger_image": "a.jpg", "recall_text": "杯子", "recall_image": None}
    file.write_text(json.dumps(row | {"group": "7", "grade": 2}) + "\n")
    (read,) = read_pairs(file)

    assert (Item("红色杯子", tmp_path / "a.jpg"), Item("杯子", None)) == (read.query, read.candidate)
    assert ("7", 2.0) == (read.group, read.grade)


@pytest.mark.parametrize("grade", [-1, 11, "high", True])
def test_a_grade_out_of_range_is_named(tmp_path: Path, grade: object) -> None:
    """With its line and the rule."""
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"query": {"text": "a"}, "candidate": {"text": "b"}, "grade": grade}) + "\n")
    with pytest.raises(InvalidRows, match=r"pairs.jsonl:1: grade is .*, must be a number from 0 to 10"):
        read_pairs(file)
