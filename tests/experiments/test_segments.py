"""Declared segments: cut by what was known before, held against the rest, and never more than that."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.analysis import Result, analyse
from experiments.definition import Experiment
from experiments.errors import InvalidExperiment
from experiments.explaining.segments import FEWEST, by_segment, check_segments, differs
from experiments.inference import compare
from experiments.metrics import Aggregates
from experiments.report import render, render_markdown
from experiments.warehouse import collect

from .logs import Rows, exposure, outcome, write_archive
from .units import aggregates, moments, searchers

CTR = 0  # the packaged experiment's first metric


def with_segments(experiment: Experiment, *names: str) -> Experiment:
    return replace(experiment, segments=names)


def cells(rng: np.random.Generator, sizes: dict[str, int], lifts: dict[str, float]) -> dict[str, Any]:
    """One variant's cells of a segment `kind`."""
    cuts = {}
    for value, size in sizes.items():
        searches, taste = searchers(rng, size)
        clicks = rng.binomial(searches, np.minimum(taste * (1 + lifts.get(value, 0.0)), 1.0))
        cuts[f"segment:kind={value}"] = moments({"searches": searches, "clicks": clicks})
    return cuts


def cut(experiment: Experiment, control: Any, treatment: Any) -> dict[str, Any]:
    declared = with_segments(experiment, "kind")
    return by_segment(declared, aggregates(control, treatment), "treatment", alpha=0.05)


SIZES = {"text": 6_000, "image": 3_000, "both": 1_500}


def test_a_segment_with_an_effect_of_its_own_is_named_and_the_others_are_not(experiment: Experiment) -> None:
    """A planted +40% for images alone."""
    rng = np.random.default_rng(1)
    found = cut(experiment, cells(rng, SIZES, {}), cells(rng, SIZES, {"image": 0.4}))
    rows = {row["value"]: row for row in found["cells"]}

    assert "kind image" in found["different"]
    assert rows["image"]["lift_low"] < 0.4 < rows["image"]["lift_high"]
    assert rows["image"]["differs_p_adjusted"] >= rows["image"]["differs_p"]
    assert rows["image"]["rest_lift"] < 0.1
    assert ["text", "image", "both"] == list(rows)  # the largest first


def test_one_effect_for_all_names_no_segment_more_often_than_alpha(experiment: Experiment) -> None:
    """Forty shops with the same +20% everywhere: about two name a segment."""
    rng = np.random.default_rng(2)
    small = {"text": 900, "image": 600, "both": 300}
    alike = dict.fromkeys(small, 0.2)
    named = [
        bool(cut(experiment, cells(rng, small, {}), cells(rng, small, alike))["different"]) for _ in range(40)
    ]

    assert sum(named) <= 6


def test_a_small_cell_is_counted_and_not_compared(experiment: Experiment) -> None:
    """Mostly chance, and nearly a name."""
    rng = np.random.default_rng(3)
    sizes = {"text": 3_000, "image": FEWEST - 1}
    rows = cut(experiment, cells(rng, sizes, {}), cells(rng, sizes, {"image": 3.0}))["cells"]

    assert [None, None] == [row["differs_p"] for row in rows]
    assert rows[1]["lift"] is None
    assert f"fewer than {FEWEST} in a variant" == rows[1]["reason"]


def test_the_test_of_difference_is_that_of_two_log_ratios(experiment: Experiment) -> None:
    """Of a cell and itself: nothing; of two shops with lifts of 0 and 50%: everything."""
    rng = np.random.default_rng(4)
    metric = experiment.metrics[CTR]
    names = ("control", "treatment")
    whole = cells(rng, {"text": 4_000}, {})["segment:kind=text"]
    same = compare(metric, whole, whole, names=names)
    more = compare(
        metric, whole, cells(rng, {"text": 4_000}, {"text": 0.5})["segment:kind=text"], names=names
    )

    assert 1.0 == differs(same, same)
    found = differs(same, more)
    assert found is not None
    assert found < 1e-6


def two_kinds(experiment: Experiment, *, units: int, moves: bool = False) -> tuple[Rows, Rows]:
    """Words and pictures, people who were here before; with `moves`, treatment turns words to pictures."""
    lots = np.random.default_rng(6)
    exposures: Rows = []
    outcomes: Rows = []
    for number in range(units):
        unit, variant = f"u{number}", "treatment" if number % 2 else "control"
        image = number % 4 < 2 or (moves and variant == "treatment")
        words = {"query": "", "query_kind": "image"} if image else {"query": "红色杯子", "query_kind": "text"}
        device = {"device": "phone" if number % 3 else "desk"}
        if number % 5 == 0:
            outcomes.append(outcome(experiment, unit, "click", hours=-30.0))
        for hour in range(1, 4):
            exposures.append(
                exposure(experiment, unit, variant, hours=hour + number / 1e4, **words, **device)
            )
            if lots.random() < 0.3:
                outcomes.append(outcome(experiment, unit, "click", hours=hour + number / 1e4 + 0.01))
    return exposures, outcomes


def analysed(experiment: Experiment, folder: Path, rows: tuple[Rows, Rows]) -> Result:
    found = collect(experiment, write_archive(folder, *rows))
    return analyse(experiment, Aggregates.from_json(found.to_json()))


def test_segments_come_from_the_first_search_and_a_missing_one_is_named(
    experiment: Experiment, tmp_path: Path
) -> None:
    """Kind, script, fame and past are in every log; what was not logged is a sentence in the trust block."""
    declared = with_segments(experiment, "query_kind", "script", "visitor", "query_fame", "country")
    found = analysed(declared, tmp_path, two_kinds(declared, units=480))
    (section,) = found["segments"]
    sizes = {
        (row["segment"], row["value"]): row["n_control"] + row["n_treatment"] for row in section["cells"]
    }
    check = next(it for it in found["checks"] if it["name"] == "segments")

    assert {"text": 240, "image": 240} == {it: n for (name, it), n in sizes.items() if name == "query_kind"}
    assert {"Chinese": 240, "no words": 240} == {it: n for (name, it), n in sizes.items() if name == "script"}
    assert {"returning": 96, "new": 384} == {it: n for (name, it), n in sizes.items() if name == "visitor"}
    assert "warn" == check["status"]
    assert "'country' is declared and not in the logs, so not cut; there are query_kind" in check["sentence"]
    for form in (render, render_markdown):
        assert "Declared segments" in form(found)
        assert "No sign that any segment differs from the rest" in form(found)


def test_a_segment_that_the_variant_itself_moves_is_a_warning(experiment: Experiment, tmp_path: Path) -> None:
    """Everybody in treatment comes with a picture: that is an effect, not a kind of shopper."""
    declared = with_segments(experiment, "query_kind")
    found = analysed(declared, tmp_path, two_kinds(declared, units=480, moves=True))
    check = next(it for it in found["checks"] if it["name"] == "segments")

    assert "warn" == check["status"]
    assert "is not split as planned" in check["sentence"]


def test_no_segment_declared_is_no_check_and_no_table(experiment: Experiment) -> None:
    """Nothing is explored that nobody asked for."""
    assert [] == check_segments(experiment, aggregates({}, {}))
    assert [] == by_segment(experiment, aggregates({}, {}), "treatment", alpha=0.05)["cells"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("latency_ms",), "segment 'latency_ms' is known only after it was served"),
        (("visitor", "visitor"), "segment 'visitor' is defined twice"),
    ],
)
def test_a_segment_that_cannot_be_one_is_refused_at_load(
    experiment: Experiment, names: tuple[str, ...], sentence: str
) -> None:
    """One sentence, before anything runs."""
    with pytest.raises(InvalidExperiment, match=sentence):
        with_segments(experiment, *names)
