"""A new encoder is promoted unless it loses somewhere, and chance alone rarely says that it does."""

import json

import numpy as np
import pytest

from uniecs.errors import InvalidInput
from uniecs.evaluate import FORMS, Judged
from uniecs.promotion import compare, decide


def found(share: float, *, seed: int, questions: int = 400) -> list[Judged]:
    """Nine scenarios in which so large a share of the questions finds its answer among the first ten."""
    chance = np.random.default_rng(seed)
    return [
        Judged(
            query=query,
            candidate=candidate,
            gallery=1_000,
            ranks=np.where(chance.random(questions) < share, 1, 50),
            ndcg=np.zeros(questions),
            units=tuple(f"group {n // 2}" for n in range(questions)),
        )
        for query in FORMS
        for candidate in FORMS
    ]


def test_a_loss_in_one_scenario_of_nine_is_enough() -> None:
    """The mean gains; shoppers who search by picture would not."""
    before, after = found(0.6, seed=1), found(0.7, seed=2)
    after[4] = found(0.4, seed=3)[4]

    decision = decide(compare(before, after, seed=7))

    assert ["image -> image"] == [
        f"{one.query} -> {one.candidate}" for one in decision.comparisons if one.lost
    ]
    assert not decision.promote
    assert "loses in 1 of 9 scenarios: image -> image: R@10 0.6" in decision.reason
    assert json.dumps(decision.as_dict())


def test_a_gain_is_promoted_and_the_same_seed_says_the_same() -> None:
    first, again = (compare(found(0.5, seed=1), found(0.8, seed=2), seed=7) for _ in range(2))

    assert first == again
    assert decide(first).promote
    assert "gains in 9" in decide(first).reason


def test_an_equal_model_is_rarely_refused() -> None:
    """Nine looks at chance must not refuse like nine chances."""
    pairs = [
        (found(0.6, seed=2 * n, questions=100), found(0.6, seed=2 * n + 1, questions=100)) for n in range(40)
    ]
    refused = sum(not decide(compare(*pair, seed=7)).promote for pair in pairs)

    assert refused <= 7  # at most 2 are expected of 40; over 7 come once in a thousand


def test_the_same_answers_are_no_loss_and_other_questions_are_no_comparison() -> None:
    same = found(0.6, seed=1)
    assert {(0.0, 0.0)} == {(one.low, one.high) for one in compare(same, same, seed=7)}

    with pytest.raises(InvalidInput, match="same pairs"):
        compare(same, found(0.6, seed=1, questions=398), seed=7)
    with pytest.raises(InvalidInput, match="0 and 0 questions"):
        compare([], [], seed=7)
