"""Looking as often as one likes: the interval may miss once in twenty runs, over the whole run."""

import numpy as np
import pytest
from scipy import stats

from experiments.anytime import alpha_account, at_any_time, reach
from experiments.inference import Comparison, Estimate, compare_estimates


def comparison(control: float, treatment: float, variance: float) -> Comparison:
    plain = Comparison(
        metric="m",
        control="A",
        treatment="B",
        n_control=10**6,
        n_treatment=10**6,
        control_value=control,
        treatment_value=treatment,
    )
    values = [Estimate(count=10**6, value=value, variance=variance) for value in (control, treatment)]
    return compare_estimates(plain, *values, alpha=0.05)


def test_two_hundred_looks_alarm_less_than_once_in_twenty() -> None:
    """Random walks without an effect, looked at 200 times; a single look's interval fails a third."""
    rng = np.random.default_rng(1)
    looks = np.arange(1, 201)
    estimates = rng.normal(size=(3_000, 200)).cumsum(axis=1) / looks
    wide = np.array([reach(1 / look, tuned_at=1 / 200, alpha=0.05) for look in looks])

    assert np.mean((np.abs(estimates) > wide).any(axis=1)) < 0.05
    assert np.mean((np.abs(estimates) > 1.96 / np.sqrt(looks)).any(axis=1)) > 0.33


def test_the_interval_is_where_the_mixture_has_twenty_to_one() -> None:
    """By definition: the likelihood ratio of a normal prior around zero against zero is 1 / alpha there."""
    variance, tuned_at, alpha = 0.7, 0.2, 0.05
    mixture = tuned_at * (2 * np.log(20) + np.log1p(2 * np.log(20)))
    edge = reach(variance, tuned_at=tuned_at, alpha=alpha)
    ratio = stats.norm.pdf(edge, scale=np.sqrt(variance + mixture)) / stats.norm.pdf(
        edge, scale=np.sqrt(variance)
    )

    assert 20 == pytest.approx(ratio)


def test_it_is_tightest_near_the_planned_end() -> None:
    """Beside a single look's width, the price of looking is least there."""
    prices = {
        share: reach(1 / share, tuned_at=1.0, alpha=0.05) * np.sqrt(share) for share in (0.05, 0.25, 1.0, 8.0)
    }

    assert min(prices, key=lambda share: prices[share]) == 1.0


def test_a_lift_has_it_around_itself_and_a_rough_one_has_none() -> None:
    """On the log scale, like the interval of a single look; negative values keep their direction."""
    found = comparison(2.0, 2.2, 1e-4)
    at_end = at_any_time(found, time_gone=1.0, alpha=0.05)
    early = at_any_time(found, time_gone=0.25, alpha=0.05)
    fallen = at_any_time(comparison(-2.0, -2.2, 1e-4), time_gone=1.0, alpha=0.05)
    rough = at_any_time(comparison(0.01, 0.02, 1e-4), time_gone=1.0, alpha=0.05)

    assert found.lift_low is not None
    assert found.lift_high is not None
    assert at_end["always_low"] is not None
    assert at_end["always_high"] is not None
    assert at_end["always_low"] < found.lift_low < found.lift_high < at_end["always_high"]
    assert early["detectable_now"] == pytest.approx(at_end["detectable_now"])
    assert early["detectable_at_end"] is not None
    assert early["detectable_now"] is not None
    assert early["detectable_at_end"] < early["detectable_now"]
    assert [-at_end["always_high"], -at_end["always_low"]] == pytest.approx(
        [fallen["always_low"], fallen["always_high"]]
    )
    assert {None} == set(rough.values())


def test_what_is_spent_and_what_is_left_is_all_there_is() -> None:
    """O'Brien-Fleming spends next to nothing early."""
    account = alpha_account(0.25, alpha=0.05)

    assert account["spent"] < 0.001
    assert 0.05 == pytest.approx(account["spent"] + account["left"])
    assert 0 == pytest.approx(alpha_account(1.0, alpha=0.05)["left"])
