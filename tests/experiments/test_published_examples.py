"""Worked examples that others have published, and data sets whose answers are known.

Each names where its numbers are printed. Where conventions differ, the test
says which and compares what is common.
"""

import csv
import gzip
from collections import defaultdict
from math import sqrt
from pathlib import Path

import mmh3
import numpy as np
import pyarrow as pa
import pytest
from numpy.random import default_rng
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import proportions_ztest

from experiments.inference import Comparison, Estimate, compare_estimates

from .tables import compare, shoppers

DATA = Path(__file__).parents[3] / "shared" / "data"


def of_values(control: tuple[float, float, int], treatment: tuple[float, float, int]) -> Comparison:
    """A comparison from means, standard deviations and counts."""
    (c, sc, n), (t, st, m) = control, treatment
    plain = Comparison(
        metric="it",
        control="A",
        treatment="B",
        n_control=n,
        n_treatment=m,
        control_value=c,
        treatment_value=t,
    )
    return compare_estimates(
        plain,
        Estimate(count=n, value=c, variance=sc**2 / n),
        Estimate(count=m, value=t, variance=st**2 / m),
        alpha=0.05,
    )


def shares(control: tuple[int, int], treatment: tuple[int, int]) -> pa.Table:
    """A table of units that had something, or not: (had, of)."""
    (k, n), (j, m) = control, treatment
    return pa.table(
        {
            "variant": ["A"] * n + ["B"] * m,
            "had": [1] * k + [0] * (n - k) + [1] * j + [0] * (m - j),
        }
    )


def test_growthbooks_two_sided_test() -> None:
    """growthbook/growthbook, packages/stats/tests/frequentist/test_tests.py at 59f39a7.

    Uplift 0.70732 with error 0.37879, interval [-0.03526, 1.44989], p 0.06191:
    its interval is symmetric around the lift. Ours has the same lift and error
    and is symmetric in logs, which is why its ends and p-value are others.
    """
    found = of_values((0.41, 3.9, 3407), (0.70, 6.2, 3461))

    assert found.lift is not None
    assert found.lift_standard_error is not None
    assert 0.70732 == pytest.approx(found.lift, abs=5e-6)
    assert 0.37879 == pytest.approx(found.lift_standard_error, abs=5e-6)
    reach = 1.959964 * found.lift_standard_error
    assert [-0.03526, 1.44989] == pytest.approx([found.lift - reach, found.lift + reach], abs=5e-4)
    assert 0.06191 == pytest.approx(2 * stats.norm.sf(found.lift / found.lift_standard_error), abs=1e-4)


def test_the_rate_ratio_of_rothmans_x_ray_example() -> None:
    """Package episheet for R, tests/testthat/test-rate.R: 41 in 28,010 against 15 in 19,017.

    Rate ratio 1.855, 95% interval 1.03 to 3.35, by logs.
    """
    found = compare(shares((15, 19_017), (41, 28_010)), "had=mean(had)")["comparisons"][0]

    assert "log-ratio" == found["method"]
    assert 1.855 == pytest.approx(1 + found["lift"], abs=1e-3)
    assert 1.03 == pytest.approx(1 + found["lift_low"], abs=5e-3)
    assert 3.35 == pytest.approx(1 + found["lift_high"], abs=5e-3)


def test_students_sleep_data_as_r_prints_it() -> None:
    """R, t.test(extra ~ group, data = sleep): t = -1.8608, p = 0.07939, -3.3654832 to 0.2054832.

    Its output as printed in many public course notes, df = 17.776 among it; means 0.75 and 2.33.
    """
    extra = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    extra += [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = compare(pa.table({"variant": ["A"] * 10 + ["B"] * 10, "y": extra}), "y=mean(y)")["comparisons"][0]

    assert 1.8608 == pytest.approx(found["statistic"], abs=5e-5)
    assert 0.07939 == pytest.approx(found["p_value"], abs=5e-6)
    assert [-0.2054832, 3.3654832] == pytest.approx(
        [found["difference_low"], found["difference_high"]], abs=1e-7
    )


def test_scipys_example_of_two_small_samples() -> None:
    """The data in the docstring of scipy.stats.ttest_ind_from_stats: 15.0 and 12.0, variances 87.5 and 39.0.

    It assumes equal variances there (p = 0.3752); ours does not, so SciPy is asked again.
    """
    a = [1, 3, 4, 6, 11, 13, 15, 19, 22, 24, 25, 26, 26]
    b = [2, 4, 6, 9, 11, 13, 14, 15, 18, 19, 21]
    found = compare(pa.table({"variant": ["B"] * 13 + ["A"] * 11, "y": a + b}), "y=mean(y)")["comparisons"][0]
    welch = stats.ttest_ind(a, b, equal_var=False)
    ends = welch.confidence_interval(0.95)

    assert (12.0, 15.0) == (found["control_value"], found["treatment_value"])
    assert 0.3752 == pytest.approx(stats.ttest_ind(a, b).pvalue, abs=5e-5)
    assert [ends.low, ends.high] == pytest.approx([found["difference_low"], found["difference_high"]])


def test_fagerlands_example_of_rare_counts_in_statsmodels() -> None:
    """7 of 34 against 1 of 34: Newcombe's hybrid interval 0.019 to 0.34 (Fagerland et al. 2015).

    As printed in statsmodels, stats/tests/test_proportion.py, test_confint_2indep.
    """
    found = compare(shares((1, 34), (7, 34)), "had=proportion(had)")["comparisons"][0]

    assert [0.019, 0.340] == pytest.approx([found["difference_low"], found["difference_high"]], abs=5e-4)


@pytest.mark.parametrize(
    ("control", "treatment"), [((9, 16_660), (2, 17_877)), ((3, 900), (12, 850)), ((4, 500), (0, 500))]
)
def test_rare_counts_are_exact(control: tuple[int, int], treatment: tuple[int, int]) -> None:
    """The definition of R's rateratio.test (Fay 2010), its first example among them.

    The interval is that of the binomial share of treatment's events, by SciPy;
    the p-value is twice the smaller tail, so that the two agree.
    """
    (k, n), (j, m) = control, treatment
    found = compare(shares(control, treatment), "had=proportion(had)", split=f"{n}:{m}")["comparisons"][0]
    share = m / (n + m)
    ends = stats.binomtest(j, k + j, share).proportion_ci(method="exact")
    tails = [stats.binomtest(j, k + j, share, alternative=way).pvalue for way in ("less", "greater")]

    assert "exact" == found["method"]
    expected = [end / (1 - end) * n / m - 1 for end in ends]
    assert expected == pytest.approx([found["lift_low"], found["lift_high"]], rel=1e-9)
    assert min(1, 2 * min(tails)) == pytest.approx(found["p_value"], rel=1e-9)


def test_without_any_event_in_control_there_is_a_difference_and_no_lift() -> None:
    """0 against 7 is clear, but no number of percent."""
    found = compare(shares((0, 1_000), (7, 1_000)), "had=proportion(had)")["comparisons"][0]

    assert found["lift"] is None
    assert "A has none" in found["reason"]
    assert 2 * 0.5**7 == pytest.approx(found["p_value"])


def test_cuped_is_the_regression_on_the_covariate() -> None:
    """Least squares by statsmodels, with the covariate, is the oracle.

    It takes theta from within the variants, ours is from all units together:
    the same but for the covariate's chance gap. The exact formula is by NumPy.
    """
    columns = shoppers(1_500, seed=11)
    y, x, treated = columns["revenue"], columns["before"], columns["variant"] == "B"
    found = compare(pa.table(columns), "rev=mean(revenue)", covariates=["rev=before"])["comparisons"][0]
    theta = np.cov(y, x)[0, 1] / x.var(ddof=1)
    rest = y - theta * x
    fit = OLS(y, np.column_stack([np.ones(len(y)), treated, x])).fit(cov_type="HC3")

    assert theta == pytest.approx(found["theta"], rel=1e-10)
    assert rest[treated].mean() - rest[~treated].mean() == pytest.approx(found["difference"], rel=1e-9)
    assert y[~treated].mean() == pytest.approx(found["control_value"], rel=1e-12)
    error = (found["difference_high"] - found["difference_low"]) / 2 / 1.959964
    assert fit.params[1] == pytest.approx(found["difference"], abs=0.05 * error)
    assert fit.bse[1] == pytest.approx(error, rel=0.01)
    plain = found["unadjusted"]
    assert y[treated].mean() - y[~treated].mean() == pytest.approx(plain["difference"], rel=1e-9)
    assert found["variance_saved"] > 0.3
    assert error < (plain["difference_high"] - plain["difference_low"]) / 2 / 1.959964


def test_cuped_of_a_ratio_is_cuped_of_its_linear_form() -> None:
    """By NumPy: clicks - R searches over mean searches, adjusted by the same form of the week before."""
    rng = default_rng(12)
    columns = shoppers(1_500, seed=12)
    columns["seen"] = 1 + rng.geometric(0.15, 1_500)
    columns["hit"] = rng.binomial(columns["seen"], np.minimum(columns["clicks"] / columns["searches"], 1.0))
    found = compare(pa.table(columns), "ctr=ratio(clicks,searches)", covariates=["ctr=ratio(hit,seen)"])[
        "comparisons"
    ][0]

    def linear(who: np.ndarray, top: str, below: str) -> np.ndarray:
        a, b = columns[top][who], columns[below][who]
        return (a - a.mean() / b.mean() * b) / b.mean()

    everyone, treated = np.full(1_500, True), columns["variant"] == "B"
    theta = np.cov(linear(everyone, "clicks", "searches"), linear(everyone, "hit", "seen"))
    theta = theta[0, 1] / theta[1, 1]

    def value(who: np.ndarray, top: str, below: str) -> float:
        return float(columns[top][who].sum() / columns[below][who].sum())

    gap = value(treated, "hit", "seen") - value(~treated, "hit", "seen")
    raw = value(treated, "clicks", "searches") - value(~treated, "clicks", "searches")
    rests = [
        linear(who, "clicks", "searches") - theta * linear(who, "hit", "seen") for who in (treated, ~treated)
    ]
    error = sqrt(sum(rest.var(ddof=1) / len(rest) for rest in rests))

    assert theta == pytest.approx(found["theta"], rel=1e-9)
    assert raw - theta * gap == pytest.approx(found["difference"], rel=1e-9)
    assert 2 * 1.959964 * error == pytest.approx(found["difference_high"] - found["difference_low"], rel=2e-3)
    assert found["variance_saved"] > 0.1


def test_a_covariate_of_noise_changes_next_to_nothing() -> None:
    """And never adds a false certainty: no more than a percent of the variance."""
    columns = shoppers(2_000, seed=13) | {"noise": default_rng(13).normal(size=2_000)}
    found = compare(pa.table(columns), "rev=mean(revenue)", covariates=["rev=noise"])["comparisons"][0]

    assert abs(found["variance_saved"]) < 0.01
    assert found["unadjusted"]["lift"] == pytest.approx(found["lift"], abs=0.01)


def test_quantiles_have_the_error_of_a_bootstrap_over_units() -> None:
    """Rows of one unit go together; SciPy's bootstrap over units is the oracle."""
    rng = default_rng(14)
    unit = np.repeat(np.arange(400), 5)
    speed = np.repeat(rng.gamma(3, 10, 400), 5) * rng.gamma(20, 0.05, 2_000)  # slow shoppers stay slow
    variant = np.where(unit % 2, "B", "A")
    found = compare(
        pa.table({"variant": variant, "unit": unit, "ms": speed}), "p90=quantile(ms,0.9)", unit="unit"
    )["comparisons"][0]
    of_control = speed[variant == "A"].reshape(-1, 5)
    drawn = [np.quantile(of_control[rng.integers(0, 200, 200)], 0.9) for _ in range(400)]
    of_treatment = speed[variant == "B"].reshape(-1, 5)
    other = [np.quantile(of_treatment[rng.integers(0, 200, 200)], 0.9) for _ in range(400)]
    error = (found["difference_high"] - found["difference_low"]) / 2 / 1.96

    assert np.quantile(of_control, 0.9) == pytest.approx(found["control_value"], rel=1e-12)
    assert sqrt(np.var(drawn) + np.var(other)) == pytest.approx(error, rel=0.25)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9])
def test_digits_survive_a_large_mean(offset: float) -> None:
    """In the manner of NIST's NumAcc sets: values that differ by 0.1 around a large number.

    Sums of squares give a negative variance here.
    """
    y = offset + np.array([0.2, 0.1, 0.3] * 334)
    found = compare(pa.table({"variant": ["A", "B"] * 501, "y": y}), "y=mean(y)")["comparisons"][0]
    error = (found["difference_high"] - found["difference_low"]) / 2 / 1.959964
    exact = sqrt(2 * np.var([0.2, 0.1, 0.3] * 167, ddof=1) / 501)

    assert exact == pytest.approx(error, rel=1e-3 if offset == 1e9 else 1e-6)


def test_counts_of_a_billion_and_revenue_of_a_trillion() -> None:
    """Scaled by a power of two nothing changes but the size."""
    columns = shoppers(400, seed=15)
    big = columns | {
        "revenue": columns["revenue"] * 2.0**40,
        "searches": columns["searches"] * 2**30,
        "clicks": columns["clicks"] * 2**30,
    }
    metrics = ("rev=mean(revenue)", "ctr=ratio(clicks,searches)")
    for one, other in zip(
        compare(pa.table(columns), *metrics)["comparisons"],
        compare(pa.table(big), *metrics)["comparisons"],
        strict=True,
    ):
        for key in ("lift", "lift_low", "lift_high", "p_value"):
            assert one[key] == pytest.approx(other[key], rel=1e-9)


@pytest.mark.skipif(not (DATA / "open_bandit").is_dir(), reason="the Open Bandit data are not here")
def test_open_bandit_men() -> None:
    """0.46% against 0.69%, pooled z = 2.151, p = 0.0315, unpooled +0.020 to +0.440 points (its SOURCE.md)."""
    variants: list[str] = []
    clicks: list[int] = []
    for variant, name in (("A", "men_random"), ("B", "men_bts")):
        with gzip.open(DATA / "open_bandit" / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
            of_file = [int(float(row["click"])) for row in csv.DictReader(file)]
        variants += [variant] * len(of_file)
        clicks += of_file
    table = pa.table({"variant": variants, "click": clicks})
    found = compare(table, "ctr=proportion(click)")["comparisons"][0]
    z, p = proportions_ztest([69, 46], [10_000, 10_000])

    assert [0.0046, 0.0069] == [found["control_value"], found["treatment_value"]]
    assert [2.151, 0.0315] == pytest.approx([z, p], abs=5e-4)
    assert [0.00020, 0.00440] == pytest.approx([found["difference_low"], found["difference_high"]], abs=5e-6)
    # The ratio's own statistic, log 1.5 over its error: close to the pooled z.
    assert z == pytest.approx(found["statistic"], abs=0.02)
    assert p == pytest.approx(found["p_value"], abs=2e-3)
    assert found["lift_low"] > 0


@pytest.mark.skipif(not (DATA / "online_retail").is_dir(), reason="the Online Retail data are not here")
def test_online_retail_split_by_lot_shows_nothing() -> None:
    """Revenue with whales, 500 splits by hash: p-values of the capped mean are uniform."""
    spent: dict[str, float] = defaultdict(float)
    with gzip.open(DATA / "online_retail" / "2010-12.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["CustomerID"]:
                spent[row["CustomerID"]] += float(row["Quantity"]) * float(row["UnitPrice"])
    names, totals = list(spent), np.array(list(spent.values()))
    capped = np.minimum(totals, 2_000.0)
    p_values = []
    for split in range(500):
        sides = np.array([mmh3.hash(f"{split}:{name}") % 2 for name in names])
        ours, theirs = capped[sides == 0], capped[sides == 1]
        found = of_values(
            (ours.mean(), ours.std(ddof=1), len(ours)), (theirs.mean(), theirs.std(ddof=1), len(theirs))
        )
        p_values.append(found.p_value)
        if not split:
            table = pa.table({"variant": np.where(sides, "B", "A"), "spent": totals})
            by_table = compare(table, "spent=mean(spent)", caps=["spent=2000"])["comparisons"][0]
            assert found.p_value == pytest.approx(by_table["p_value"], rel=1e-9)

    assert 948 == len(names)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.08
