"""Differences and lifts, held against SciPy, statsmodels, hand calculation and simulation."""

from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator, default_rng
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from experiments.definition import Metric
from experiments.inference import Comparison, adjust, blank, compare, compare_estimates, estimate
from experiments.inference import Estimate as Known
from experiments.metrics import Moments

from .units import moments as of_columns

CTR = Metric(name="ctr", title="CTR", role="primary", numerator="clicks", denominator="searches")
ORDERS = Metric(name="orders", title="Orders", role="secondary", numerator="orders")
REVENUE = Metric(name="revenue", title="Revenue", role="secondary", numerator="revenue")
NAMES = ("control", "treatment")


def moments(**columns: Any) -> Moments:
    return of_columns(columns)


def test_near_zero_the_difference_is_welchs_test() -> None:
    """SciPy's unequal-variance t-test is the oracle: statistic, p-value, interval."""
    rng = default_rng(2)
    control, treatment = rng.normal(0.1, 1, 40), rng.normal(0.3, 3, 25)
    found = compare(REVENUE, moments(revenue=control), moments(revenue=treatment), names=NAMES)
    oracle = stats.ttest_ind(treatment, control, equal_var=False)

    assert "Fieller" == found.method
    assert oracle.statistic == pytest.approx(found.statistic, rel=1e-12)
    assert oracle.pvalue == pytest.approx(found.p_value, rel=1e-10)
    assert list(oracle.confidence_interval()) == pytest.approx(
        [found.difference_low, found.difference_high], rel=1e-10
    )


def test_a_lift_in_a_proportion_has_the_log_interval_of_statsmodels() -> None:
    """Orders of 0 or 1: the risk ratio by logs. Ours divides by n - 1, so 4 digits agree."""
    control, treatment = np.repeat([1, 0], [500, 9_500]), np.repeat([1, 0], [570, 9_430])
    found = compare(ORDERS, moments(orders=control), moments(orders=treatment), names=NAMES)
    low, high = confint_proportions_2indep(570, 10_000, 500, 10_000, compare="ratio", method="log")

    assert "log-ratio" == found.method
    assert 0.14 == pytest.approx(found.lift)
    assert [low - 1, high - 1] == pytest.approx([found.lift_low, found.lift_high], rel=1e-3)


def test_a_ratio_has_its_variance_by_the_delta_method() -> None:
    """Worked by hand: clicks 1, 2, 0, 3 over searches 2, 4, 1, 5.

    R = 6/12. Residuals clicks - R searches: 0, 0, -1/2, 1/2; their variance is
    (1/4 + 1/4) / 3 = 1/6. Over n times the mean of searches squared: (1/6) / (4 * 9).
    """
    found = estimate(CTR, moments(clicks=[1, 2, 0, 3], searches=[2, 4, 1, 5]), variant="control")

    assert 0.5 == pytest.approx(found.value)
    assert 1 / 216 == pytest.approx(found.variance)


def test_the_interval_of_a_lift_is_symmetric_in_logs() -> None:
    """Worked by hand from two values and their standard errors: 2.0 +- 0.1 and 2.2 +- 0.1."""
    found = compared(known(2.0, 0.01), known(2.2, 0.01))
    error = sqrt(0.01 / 4 + 0.01 / 4.84)
    z = stats.norm.isf(0.025)

    assert log(1.1) / error == pytest.approx(found.statistic)
    assert exp(log(1.1) - z * error) - 1 == pytest.approx(found.lift_low)
    assert exp(log(1.1) + z * error) - 1 == pytest.approx(found.lift_high)


def test_fiellers_ends_are_the_ratios_that_the_test_just_does_not_reject() -> None:
    """By definition of the interval: (t - rho c)^2 = z^2 (vt + rho^2 vc)."""
    found = compared(known(1.0, 0.16), known(0.1, 0.25))
    z = stats.norm.isf(0.025)

    assert "Fieller" == found.method
    for lift in (found.lift_low, found.lift_high):
        assert lift is not None
        rho = 1 + lift
        assert abs(0.1 - rho * 1.0) / sqrt(0.25 + rho**2 * 0.16) == pytest.approx(z)


def test_when_control_may_be_zero_there_is_a_difference_and_no_lift() -> None:
    """Dividing by what may be nothing gives any number at all."""
    found = compared(known(0.1, 0.01), known(0.5, 0.01))

    assert found.lift is None
    assert "not clearly different from zero" in found.reason
    assert 0.4 == pytest.approx(found.difference)
    assert 2 * stats.norm.sf(0.4 / sqrt(0.02)) == pytest.approx(found.p_value)


def test_a_negative_control_that_rises_has_a_positive_lift() -> None:
    """Others divide by the control itself and show a win as a loss."""
    found = compared(known(-10.0, 0.04), known(-5.0, 0.04))
    mirrored = compared(known(10.0, 0.04), known(5.0, 0.04))

    assert 0.5 == pytest.approx(found.lift)
    assert found.lift_low is not None
    assert found.lift_high is not None
    assert found.lift_low < 0.5 < found.lift_high
    assert found.statistic is not None
    assert found.statistic > 0
    assert [mirrored.lift_high, mirrored.lift_low] == pytest.approx([-found.lift_low, -found.lift_high])


@given(
    c=st.floats(-10, 10),
    t=st.floats(-10, 10),
    vc=st.floats(1e-6, 4),
    vt=st.floats(1e-6, 4),
    n=st.integers(3, 5_000),
)
def test_p_value_and_interval_never_disagree(c: float, t: float, vc: float, vt: float, n: int) -> None:
    """One statistic for both: the interval leaves out zero exactly when p < 0.05."""
    found = compared(known(c, vc, n), known(t, vt, n))

    if found.lift_low is None or found.lift_high is None or found.p_value is None:
        assert found.reason
    elif abs(found.p_value - 0.05) > 1e-9:
        assert (found.p_value < 0.05) is not (found.lift_low <= 0 <= found.lift_high)


def test_where_treatment_has_nothing_at_all_there_is_a_lift_and_no_interval() -> None:
    """Its own spread is not known, so both ends are one point, and it says why."""
    searches = np.full(20, 10.0)
    arms = [moments(clicks=clicks, searches=searches) for clicks in (np.arange(20.0), np.zeros(20))]
    found = compare(CTR, *arms, names=NAMES)

    assert (-1.0, -1.0, -1.0) == (found.lift_low, found.lift, found.lift_high)
    assert f"no interval can be given, as {NAMES[1]} has nothing at all" == found.reason


@pytest.mark.parametrize(
    ("control", "treatment", "reason"),
    [
        ([], [], "no units"),
        ([[1.0, 2.0]], [[1.0, 2.0], [0.0, 1.0]], "control has one unit only"),
        ([[0.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [0.0, 1.0]], "control has no searches"),
        ([[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]], "every unit has the same value"),
        ([[1.0, 2.0], [2.0, 4.0]], [[1.0, 1.0], [2.0, 2.0]], "no unit differs from its own variant"),
    ],
)
def test_what_cannot_be_computed_has_a_reason(
    control: list[list[float]], treatment: list[list[float]], reason: str
) -> None:
    """Never NaN, never a crash of the page."""
    arms = []
    for rows in (control, treatment):
        clicks, searches = np.array(rows).reshape(-1, 2).T
        arms.append(moments(clicks=clicks, searches=searches))
    found = compare(CTR, *arms, names=NAMES)

    assert reason in found.reason
    assert found.p_value is None
    assert found.lift is None


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e12])
def test_the_size_of_the_numbers_does_not_matter(size: float) -> None:
    """Revenue of 1e12 and of a billionth give the same lift and p-value."""
    rng = default_rng(3)
    control, treatment = rng.gamma(2, 5, 300), rng.gamma(2, 5.5, 300)
    plain = compare(REVENUE, moments(revenue=control), moments(revenue=treatment), names=NAMES)
    scaled = compare(REVENUE, moments(revenue=control * size), moments(revenue=treatment * size), names=NAMES)

    assert plain.lift == pytest.approx(scaled.lift, rel=1e-9)
    assert plain.p_value == pytest.approx(scaled.p_value, rel=1e-6)


def test_primaries_are_corrected_by_holm_and_others_left_alone() -> None:
    """The oracle is statsmodels."""
    metrics = [
        Metric(name=f"m{number}", title="", role="primary", numerator="clicks") for number in range(3)
    ] + [ORDERS]
    p_values = [0.01, 0.04, 0.03, 0.001]
    found = adjust(
        [
            Comparison(
                metric=metric.name,
                control="a",
                treatment="b",
                n_control=9,
                n_treatment=9,
                control_value=1.0,
                treatment_value=1.0,
                p_value=p,
            )
            for metric, p in zip(metrics, p_values, strict=True)
        ],
        metrics,
    )

    assert list(multipletests(p_values[:3], method="holm")[1]) == pytest.approx(
        [it.p_adjusted for it in found[:3]]
    )
    assert [0.03, 0.06, 0.06] == pytest.approx([it.p_adjusted for it in found[:3]])
    assert found[3].p_adjusted is None


def uneven_clicks(rng: Generator, units: int, *, lift: float = 0.0) -> tuple[Any, Any]:
    """Shoppers who differ in how much they search and how readily they click."""
    searches = 1 + rng.geometric(0.15, units)
    return rng.binomial(searches, 0.9 * rng.beta(0.6, 2.4, units) * (1 + lift)), searches


def test_an_a_a_test_of_ctr_is_calibrated_where_counting_impressions_is_not() -> None:
    """Per shopper about 5% of A/A tests alarm and p is uniform; per impression over 15% do."""
    rng = default_rng(4)
    ours, naive = [], []
    for _ in range(1_000):
        (ka, na), (kb, nb) = uneven_clicks(rng, 400), uneven_clicks(rng, 400)
        found = compare(CTR, moments(clicks=ka, searches=na), moments(clicks=kb, searches=nb), names=NAMES)
        ours.append(found.p_value)
        a, b, all_of_them = ka.sum(), kb.sum(), na.sum() + nb.sum()
        pooled = (a + b) / all_of_them
        error = sqrt(pooled * (1 - pooled) * (1 / na.sum() + 1 / nb.sum()))
        naive.append(2 * stats.norm.sf(abs(a / na.sum() - b / nb.sum()) / error))

    assert 0.035 < np.mean(np.array(ours) < 0.05) < 0.065
    assert stats.kstest(ours, "uniform").pvalue > 0.01
    assert np.mean(np.array(naive) < 0.05) > 0.15


def test_a_planted_lift_lies_in_the_interval_nineteen_times_in_twenty() -> None:
    """Coverage of a 10% lift in click-through rate among uneven shoppers."""
    rng = default_rng(5)
    inside = []
    for _ in range(600):
        (ka, na), (kb, nb) = uneven_clicks(rng, 500), uneven_clicks(rng, 500, lift=0.1)
        found = compare(CTR, moments(clicks=ka, searches=na), moments(clicks=kb, searches=nb), names=NAMES)
        assert found.lift_low is not None
        assert found.lift_high is not None
        inside.append(found.lift_low <= 0.1 <= found.lift_high)

    assert 0.93 < np.mean(inside) < 0.97


def known(value: float, variance: float, count: int = 1_000_000) -> Known:
    return Known(count=count, value=value, variance=variance)


def compared(control: Known, treatment: Known) -> Comparison:
    return compare_estimates(blank("it", control, treatment), control, treatment, alpha=0.05)
