"""Every sentence on the page that draws a conclusion turns over when its number does."""

import copy
import re
from typing import Any

import pytest

from experiments.analysis import Result, analyse
from experiments.definition import Experiment
from experiments.explaining.mixed_pages import _verdict
from experiments.inference import Comparison
from experiments.report import render, render_markdown
from experiments.verdict import Look, verdict
from experiments.warehouse import collect

from .logs import write_archive
from .search_shop import search_shop


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, experiment: Experiment) -> Result:
    """A month in which every part of the page has something to say."""
    logs = write_archive(tmp_path_factory.mktemp("logs"), *search_shop(experiment, units=900, seed=3))
    found = analyse(experiment, collect(experiment, logs))
    cell = {"segment": "visitor", "metric": "ctr", "title": "Click-through rate", "reason": ""}
    cell |= {"n_control": 200, "n_treatment": 210, "lift": 0.1, "lift_low": 0.02, "lift_high": 0.19}
    cell |= {
        "p_value": 0.01,
        "p_adjusted": 0.01,
        "rest_lift": 0.12,
        "differs_p": 0.4,
        "differs_p_adjusted": 0.4,
    }
    part = {"lift": 0.05, "lift_low": -0.1, "lift_high": 0.2}
    found["revenue_parts"][0] |= {"orders": part, "per_order": part, "revenue": part}
    found["segments"][0] |= {
        "cells": [cell | {"value": "new", "differs": False}, cell | {"value": "returning", "differs": False}],
        "tested": 2,
        "different": [],
        "smallest_p": 0.4,
    }
    return found


def turned(result: Result, path: str, value: Any) -> Result:
    """The result with one number changed: `by_age.0.slope_p`."""
    found = copy.deepcopy(result)
    *steps, last = path.split(".")
    place: Any = found
    for step in steps:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[last] = value
    return found


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("by_age.0.fades", True, "Yes: the lift shrinks with the days since the first search (p"),
        ("by_age.0.grows", True, "No, it grows with the days since the first search (p"),
        ("by_age.0.slope_p", 0.4321, "p = 0.432"),
        (
            "revenue_parts.0.orders",
            {"lift": 0.1, "lift_low": 0.0, "lift_high": 0.2},
            "is +10.0% in orders per",
        ),
        ("revenue_parts.0.per_order", {"lift": -0.1, "lift_low": -0.2, "lift_high": 0.1}, "times −10.0% in"),
        ("by_query.0.differ_p", 0.0123, "The lift is not the same for all kinds of query (p = 0.012)"),
        ("by_query.0.differ_p", 0.7654, "No sign that the lift differs between kinds of query (p = 0.765)"),
        ("segments.0.different", ["visitor new"], "Not like the rest: visitor new (p = 0.400, corrected)"),
        ("segments.0.smallest_p", 0.5432, "No sign that any segment differs from the rest (the smallest"),
        ("segments.0.tested", 0, "No segment is large enough to be held against the rest."),
        ("changed_pages.0.reason", "unchanged pages differ in ctr", "Not to be read: unchanged pages differ"),
        ("changed_pages.0.shares.changed", 0.1234, "12.34% of searches gave another page"),
        ("comparisons.0.belief.chance_higher", 0.99995, "is higher: over 99.9%"),
        ("comparisons.0.belief.chance_higher", 0.31, "is higher: 31%"),
        ("comparisons.0.belief.chance_higher", 0.00001, "is higher: under 0.1%"),
        ("comparisons.0.always_low", -0.1234, "However often one looks: −12.3% to"),
        ("comparisons.0.lift_low", -0.2, "no clear change"),
        ("comparisons.6.guardrail", "safe", "within its margin of 10%"),
        ("comparisons.6.guardrail", "unclear", "not yet shown to stay within 10%"),
        ("comparisons.6.guardrail", "breached", "worse by more than 10%"),
        ("window.is_last", True, "This was the last planned look."),
        ("window.is_last", False, "The next look is on"),
        ("window.bar", {"ctr": 0.0321}, "Click-through rate must reach a p of 0.032 or less"),
        ("window.bar", {"ctr": 1e-6}, "Click-through rate must reach a p of less than 0.0001"),
        ("window.planned_looks", 2, "looking 2 times raises no more false alarms than looking once: of"),
        ("window.planned_looks", 1, "One look is planned: of"),
    ],
)
def test_a_sentence_turns_over_with_its_number(result: Result, path: str, value: Any, says: str) -> None:
    """And the number stands in it, or beside it."""
    assert says in words(render(turned(result, path, value)))


@pytest.mark.parametrize(
    ("is_last", "says"),
    [
        (True, "A true lift of +17.6% would have shown 80% of the time."),
        (False, "By the last look a true lift of +8.8% will show 80% of the time."),
    ],
)
def test_a_week_without_a_clear_change_says_what_would_show(result: Result, is_last: bool, says: str) -> None:
    """The first question about nothing: was the test large enough? Answered on the first screen."""
    dull = turned(turned(result, "comparisons.0.lift_low", -0.2), "window.is_last", is_last)
    dull["comparisons"][0] |= {"detectable_now": 0.176, "detectable_at_end": 0.088}
    screen = words(render(dull)).partition("On this page")[0]

    assert says in screen
    assert says not in words(render(turned(dull, "checks.0.status", "fail"))).partition("On this page")[0]


def test_what_could_not_be_asked_is_not_counted_as_passed(result: Result) -> None:
    """Too few to resample, nothing signed, no past: neither a pass nor a fault."""
    asked = sum(it["status"] != "none" for it in result["checks"]) - 1
    page = words(render(turned(result, "checks.0.status", "none")))

    assert "not asked" in page
    assert f" of {asked} " in page or f"All {asked} checks passed" in page


@pytest.mark.parametrize("form", [render, render_markdown])
def test_one_failed_check_takes_every_conclusion_back(result: Result, form: Any) -> None:
    """In the first lines, and above the table."""
    broken = turned(result, "checks.0.status", "fail")

    assert "Not to be read as effects: a trust check failed." in form(broken)
    assert "Not to be read as effects" not in form(result)


CTR_LAST = Look(number=4, planned=4, is_last=True, next_on="2026-02-02", bar={"ctr": 0.04})


def of(metric: str, lift: float, reach: float, p: float) -> Comparison:
    ends = {"lift_low": lift - reach, "lift_high": lift + reach}
    gaps = {
        "difference": 100 * lift,
        "difference_low": 100 * (lift - reach),
        "difference_high": 100 * (lift + reach),
    }
    return Comparison(
        metric=metric,
        control="control",
        treatment="treatment",
        n_control=900,
        n_treatment=900,
        control_value=1.0,
        treatment_value=1.0 + lift,
        lift=lift,
        p_value=p,
        p_adjusted=p,
        **ends,
        **gaps,
    )


@pytest.mark.parametrize(
    ("ctr", "guards", "says"),
    [
        (
            (0.1, 0.04, 0.001),
            (0.0, 0.05),
            "+10.0%, plausibly +6.0% to +14.0%: more than chance would show (p = 0.001",
        ),
        (
            (0.1, 0.20, 0.300),
            (0.0, 0.05),
            "+10.0%, plausibly −10.0% to +30.0%: chance alone may show as much (p = 0.3",
        ),
        ((0.1, 0.04, 1e-9), (0.0, 0.05), "(p < 0.0001; at this look 0.04 or less decides)"),
        (
            (0.1, 0.04, 0.001),
            (0.0, 0.05),
            "Searches per shopper +0.0%, at worst −5.0%: stays within its margin of 10%.",
        ),
        (
            (0.1, 0.04, 0.001),
            (-0.08, 0.05),
            "−8.0%, at worst −13.0%: not yet shown to stay within its margin of 10%.",
        ),
        ((0.1, 0.04, 0.001), (-0.30, 0.05), "−30.0%, at best −25.0%: worse by more than its margin of 10%."),
        (
            (0.1, 0.04, 0.001),
            (0.0, 0.05),
            "Recall time per search +10.00 ms, at worst +15.00 ms: stays within its margin of 50 ms.",
        ),
    ],
)
def test_every_reason_of_the_verdict_has_its_numbers(
    experiment: Experiment, ctr: tuple[float, float, float], guards: tuple[float, float], says: str
) -> None:
    """Value, interval, and what it is held against."""
    found = [
        of("ctr", *ctr),
        of("searches_per_shopper", *guards, 0.5),
        of("latency_per_search", 0.1, 0.05, 0.5),
    ]
    metrics = [it for it in experiment.metrics if it.role != "secondary"]

    assert says in " ".join(verdict([], found, metrics, look=CTR_LAST).reasons)


@pytest.mark.parametrize(
    ("wins", "p_value", "headline", "says"),
    [
        (0.6, 0.001, "Shoppers prefer the new ranking.", "60.0% of the 500 who chose took the new ranking"),
        (0.4, 0.001, "Shoppers prefer the search as it is.", "more than chance would show (p = 0.001"),
        (0.51, 0.7, "No preference is shown yet.", "chance alone may show as much (p = 0.7"),
    ],
)
def test_the_preference_is_said_with_its_numbers(
    wins: float, p_value: float, headline: str, says: str
) -> None:
    """Whichever way it falls."""
    section = {
        "preference": wins,
        "preference_low": wins - 0.05,
        "preference_high": wins + 0.05,
        "votes": 500,
    }
    found = _verdict(section | {"p_value": p_value, "bar": 0.02}, [], is_last=False, is_broken=False)

    assert headline == found["headline"]
    assert says in found["reasons"][0]
