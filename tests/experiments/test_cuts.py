"""The finer cuts of a scan: each adds up to the whole, and none knows more than the logs say."""

from datetime import timedelta
from math import sqrt
from typing import Any

import numpy as np
import pytest

from experiments.audit import resample
from experiments.definition import Experiment
from experiments.inference import estimate
from experiments.metrics import Aggregates, Moments
from experiments.scan.buckets import unpack
from experiments.warehouse import collect
from tests.experiments.logs import MUG, exposure, outcome, shop, write_archive

CUP = {
    "product_id": "cup",
    "position": 2,
    "channels": ["base", "uniecs"],
    "rank_per_channel": [{"channel": "base", "rank": 2}, {"channel": "uniecs", "rank": 1}],
}
JUG = {
    "product_id": "jug",
    "position": 3,
    "channels": ["uniecs"],
    "rank_per_channel": [{"channel": "uniecs", "rank": 2}],
}


def total(moments: Moments, column: str) -> float:
    return round(moments.mean(column) * moments.count, 9)


@pytest.fixture(scope="module")
def month(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Aggregates:
    """A month of a small shop."""
    folder = tmp_path_factory.mktemp("logs")
    return collect(experiment, write_archive(folder, *shop(experiment, units=800, seed=3)))


def test_buckets_and_classes_and_strata_add_up_to_the_whole(month: Aggregates) -> None:
    """Nothing is lost between a cut and the sum of its parts, to the last digit that matters."""
    for variant, whole in month.cuts["whole"].items():
        merged: Moments | None = None
        for it in unpack(month.buckets[variant]).values():
            merged = it if merged is None else merged + it
        assert merged is not None
        for column in merged.columns:
            assert whole.mean(column) == pytest.approx(merged.mean(column), rel=1e-12)
            assert whole.covariance(column, "clicks") == pytest.approx(
                merged.covariance(column, "clicks"), rel=1e-9, abs=1e-12
            )
        classes = [cut[variant] for name, cut in month.cuts.items() if "class:" in name and variant in cut]
        assert whole.count == sum(it.count for it in classes)
        assert total(whole, "revenue") == pytest.approx(sum(total(it, "revenue") for it in classes))
        parts = month.cuts["parts"][variant]
        for what in ("searches", "clicks"):
            strata = [total(parts, f"{what}_{stratum}") for stratum in ("changed", "same", "unknown")]
            assert total(whole, what) == pytest.approx(sum(strata))
        clusters = [cut[variant] for name, cut in month.cuts.items() if "cluster:" in name]
        assert total(whole, "clicks") == pytest.approx(sum(total(it, "clicks") for it in clusters))


def test_the_jackknife_over_buckets_agrees_with_the_delta_method(
    month: Aggregates, experiment: Experiment
) -> None:
    """Two ways to the error of clicks per search, and a third by resampling.

    Some 330 buckets know a standard error to 4%: three times that is a fault.
    """
    ctr = experiment.metrics[0]
    of_control = estimate(ctr, month.cuts["whole"]["control"], variant="control")
    drawn = resample(month.buckets["control"], ("clicks", "searches"))

    assert of_control.variance is not None
    assert drawn is not None
    error = sqrt(of_control.variance)
    sums = np.array(
        [[total(it, "clicks"), total(it, "searches")] for it in unpack(month.buckets["control"]).values()]
    )
    clicks, searches = (sums.sum(axis=0) - sums).T  # all buckets but one
    left_out = clicks / searches
    assert error == pytest.approx(sqrt(len(sums) - 1) * left_out.std(), rel=0.12)
    assert error == pytest.approx(float(drawn.std(ddof=1)), rel=0.12)
    assert resample(month.buckets["control"], ("clicks", "nothing")) is None


def test_skewness_is_that_of_the_units(month: Aggregates) -> None:
    """The third moment about the mean, by the buckets' own counts of units."""
    shape = month.shapes["control"]["clicks"]

    assert shape.skewness is not None
    assert 1 < shape.skewness < 4
    assert shape.largest == int(shape.largest)
    assert None is month.shapes["control"]["add_to_carts"].skewness


def test_what_base_found_is_bases_and_the_rest_is_shared_between_finders(
    experiment: Experiment, archive: Any
) -> None:
    """A channel that finds what base found anyway earns nothing by it."""
    logs = archive(
        [
            exposure(experiment, "ann", "treatment", hours=1, served=[MUG, CUP, JUG]),
            exposure(experiment, "bob", "control", hours=1, served=[MUG]),
        ],
        [
            outcome(
                experiment,
                "ann",
                "click",
                hours=1 + n / 9,
                event_id=f"c{n}",
                product_id=p,
                query_id="q-ann-1",
            )
            for n, p in enumerate(("mug", "cup", "jug", "jug", "elsewhere"))
        ]
        + [outcome(experiment, "ann", "order", hours=2, product_id="jug", revenue=12.5)],
    )
    found = collect(experiment, logs)
    parts = found.cuts["parts"]["treatment"]

    assert ("base", "uniecs") == found.channels
    assert [2.0, 2.0] == [parts.mean(f"clicks_via_{n}") for n in (0, 1)]
    assert [0.0, 12.5] == [parts.mean(f"revenue_via_{n}") for n in (0, 1)]
    assert 5.0 == parts.mean("clicks")


def test_a_control_search_is_triggered_if_treatments_answer_to_its_query_changed(
    experiment: Experiment, archive: Any
) -> None:
    """Only treatment logs what changed; a query that one side alone was asked stays unknown."""
    searches = [("ann", "treatment", "red mug", True), ("bob", "control", "Red mug ", None)]
    searches += [("cid", "treatment", "blue cup", False), ("dan", "control", "blue cup", None)]
    searches += [("eva", "treatment", "odd", True), ("fay", "control", "other", None)]
    logs = archive(
        [
            exposure(experiment, unit, variant, hours=1, query=query, triggered=triggered)
            for unit, variant, query, triggered in searches
        ],
        [outcome(experiment, "bob", "click", hours=2)],
    )
    found = collect(experiment, logs)

    assert "by query" == found.trigger
    for variant in ("control", "treatment"):
        parts = found.cuts["parts"][variant]
        assert [1, 1, 1] == [total(parts, f"searches_{part}") for part in ("changed", "same", "unknown")]
    assert 1 == total(found.cuts["parts"]["control"], "clicks_changed")


def test_an_exposure_that_is_told_again_with_its_trigger_is_no_repeat(
    experiment: Experiment, archive: Any
) -> None:
    """Control learns later what it would have served; a plain repeat still counts as one."""
    first = exposure(experiment, "bob", "control", hours=1, triggered=None)
    knowing = dict(first) | {"triggered": True, "counterfactual": ["jug"]}
    ann = exposure(experiment, "ann", "treatment", hours=1, triggered=True)
    click = outcome(experiment, "ann", "click", hours=2)
    found = collect(experiment, archive([first, knowing, ann, dict(ann)], [click]))

    assert (4, 1) == (found.counts.exposure_rows, found.counts.exposure_repeats)
    assert "both sides" == found.trigger
    assert 1 == total(found.cuts["parts"]["control"], "searches_changed")


def test_a_query_id_says_which_search_an_outcome_belongs_to(experiment: Experiment, archive: Any) -> None:
    """Of two open pages the one that was clicked, not the last one opened."""
    logs = archive(
        [
            exposure(experiment, "ann", "treatment", hours=1, query="red mug", query_kind="text"),
            exposure(experiment, "ann", "treatment", hours=2, query="", query_kind="image"),
            exposure(experiment, "bob", "control", hours=2),
        ],
        [
            outcome(experiment, "ann", "click", hours=3, query_id="q-ann-1"),
            outcome(experiment, "ann", "click", hours=3.1),
        ],
    )
    clusters = {
        name.partition(":")[2]: total(cut["treatment"], "clicks")
        for name, cut in collect(experiment, logs).cuts.items()
        if name.startswith("cluster:") and "treatment" in cut
    }

    assert {"text, torso", "image"} <= set(clusters) or {"text, head", "image"} <= set(clusters)
    assert [1, 1] == sorted(count for count in clusters.values() if count)


def test_what_a_unit_did_before_the_start_is_kept_beside_it(experiment: Experiment, archive: Any) -> None:
    """Where the archive goes back that far; who did nothing did nothing, and others' deeds are not ours."""
    logs = archive(
        [exposure(experiment, name, "control", hours=1) for name in ("ann", "bob")]
        + [exposure(experiment, "ann", "control", hours=-30, reason="not_started")],
        [
            outcome(experiment, "ann", "order", hours=-48, revenue=20.0),
            outcome(experiment, "stranger", "order", hours=-48, revenue=99.0),
            outcome(experiment, "bob", "click", hours=-24 * 40),
        ],
    )
    whole = collect(experiment, logs).cuts["whole"]["control"]

    assert [1.0, 0.0, 1.0, 20.0] == [
        total(whole, f"{column}_before") for column in ("searches", "clicks", "orders", "revenue")
    ]


def test_ages_count_from_a_units_own_first_search_in_a_fixed_cohort(
    experiment: Experiment, archive: Any
) -> None:
    """Who came too late to be seen as long as the others is not in it."""
    day = 24
    logs = archive(
        [
            exposure(experiment, "ann", "control", hours=2 * day),
            exposure(experiment, "ann", "control", hours=5 * day),
            exposure(experiment, "late", "control", hours=20 * day),
            exposure(experiment, "bob", "treatment", hours=1),
        ],
        [outcome(experiment, "ann", "click", hours=5 * day + 1)],
    )
    found = collect(experiment, logs, until=experiment.start + timedelta(days=28))
    ages = found.cuts["ages"]["control"]

    assert (0, 1, 2, 4, 7, 14) == found.ages
    assert 1 == ages.count
    assert [1, 0, 1, 0] == [ages.mean(f"searches_{age}") for age in (0, 1, 2, 4)]
    assert 1 == ages.mean("clicks_2")


def test_an_aggregates_file_has_no_unit_by_name(month: Aggregates) -> None:
    """It may be kept and mailed; and it is read back as it was."""
    text = month.to_json()

    assert "shopper-" not in text
    assert text == Aggregates.from_json(text).to_json()
