"""Every rule gives positive weights, can be stopped and gone on with, and says what it does."""

from typing import get_args

import pytest

torch = pytest.importorskip("torch")

from uniecs.config import Weighting  # noqa: E402 - after the skip
from uniecs.weighing import LossWeigher  # noqa: E402

pytestmark = pytest.mark.torch

BASE = {"cmal": 1.0, "clal": 0.5, "imcl": 1.0}


def terms(step: int) -> dict[str, "torch.Tensor"]:
    """One term falls, one stands still, one is small."""
    return {
        "cmal": torch.tensor(4.0 / (1 + step / 50)),
        "clal": torch.tensor(0.01),
        "imcl": torch.tensor(2.0),
    }


def run(weigher: LossWeigher, first: int, last: int) -> None:
    for step in range(first, last):
        weigher.join(terms(step))


@pytest.mark.parametrize("rule", get_args(Weighting))
def test_weights_are_positive_and_survive_a_stop(rule: Weighting) -> None:
    """A resumed run weighs as one that was never stopped."""
    through, first, second = (LossWeigher(BASE, rule) for _ in range(3))
    run(through, 0, 260)
    run(first, 0, 130)
    second.restore(first.state())
    run(second, 130, 260)

    assert min(through.weights().values()) > 0
    assert through.weights() == second.weights()


def test_static_weights_stay_as_configured() -> None:
    """The released behaviour: constants."""
    weigher = LossWeigher(BASE)
    run(weigher, 0, 300)

    assert weigher.weights() == BASE


def test_running_sizes_even_out_the_terms_and_keep_the_sum_of_weights() -> None:
    """`ema_scale` lifts a small term, within a factor, after its warm-up."""
    weigher = LossWeigher(BASE, "ema_scale")
    run(weigher, 0, 1)
    before = weigher.weights()
    run(weigher, 1, 1 + weigher.START_AFTER_STEPS)
    after = weigher.weights()

    assert before == BASE
    assert after["clal"] > before["clal"]
    assert after["imcl"] < before["imcl"]
    assert pytest.approx(2.5) == sum(after.values())


def test_a_term_that_falls_slowly_gains() -> None:
    """`dwa` compares two windows of steps; the sum of weights stays."""
    weigher = LossWeigher(BASE, "dwa")
    run(weigher, 0, 2 * weigher.WINDOW_STEPS)
    after = weigher.weights()

    assert after["imcl"] > after["cmal"]
    assert pytest.approx(2.5) == sum(after.values())


def test_an_uncertain_term_loses_weight_by_learning() -> None:
    """`uncertainty` has one number a term that gradient descent moves: up where the term is large."""
    weigher = LossWeigher(BASE, "uncertainty")
    optimizer = torch.optim.SGD(weigher.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        weigher.join(terms(0)).backward()
        optimizer.step()

    assert weigher.weights()["cmal"] < 1.0
    assert weigher.weights()["clal"] > 0.5


def test_a_term_of_weight_zero_is_left_out() -> None:
    """An ablation: its size does not even enter the scales of the others."""
    weigher = LossWeigher(BASE | {"clal": 0.0}, "ema_scale")
    run(weigher, 0, 5)

    assert set(weigher.weights()) == {"cmal", "imcl"}
