"""Other languages and other vendors give every unit the arm that we give it."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from growthbook.core import chooseVariation, gbhash, getBucketRanges
from hypothesis import given
from hypothesis import strategies as st

from experiments import growthbook
from experiments.assignment import assign
from experiments.definition import Layer, Plan, Variant, load_experiments
from experiments.errors import InvalidExperiment

VECTORS = Path("docs/schemas/assignment_vectors.json")
KNOWN: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
PACKAGED = load_experiments()["uniecs-recall"]
units = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed: node is not on the PATH")
def test_javascript_gives_every_unit_the_same_arm() -> None:
    """To the bit, Chinese and emoji included, by a script that knows only the published description."""
    script = Path(__file__).with_name("conformance.js")
    done = subprocess.run(["node", script, VECTORS], capture_output=True, text=True, timeout=600)

    assert 0 == done.returncode, done.stdout + done.stderr
    told = json.loads(done.stdout)
    rows = [
        *KNOWN["hash"],
        *(row for kind in ("experiments", "growthbook") for one in KNOWN[kind] for row in one["rows"]),
    ]
    assert (len(rows), 0) == (told["rows"], told["wrongs"])


def compatible(case: dict[str, Any]) -> Any:
    """Our experiment with GrowthBook's seed, weights and coverage."""
    variants = tuple(
        Variant(name=f"arm-{number}", share=weight, plan=Plan())
        for number, weight in enumerate(case["weights"])
    )
    return replace(
        PACKAGED,
        hashing="growthbook-2",
        salt=case["seed"],
        traffic=case["coverage"],
        variants=variants,
        control="arm-0",
    )


@pytest.mark.parametrize("case", KNOWN["growthbook"], ids=lambda case: case["name"])
def test_the_published_rows_of_growthbook_are_what_its_own_code_does_and_what_we_do(
    case: dict[str, Any],
) -> None:
    """Three ways to the same row."""
    experiment = compatible(case)
    theirs = getBucketRanges(len(case["weights"]), case["coverage"], case["weights"])
    for unit, place, arm in case["rows"]:
        found = gbhash(case["seed"], unit, 2)
        decision = assign(experiment, unit, now=PACKAGED.start)

        assert place / 10_000 == found == growthbook.place(unit, seed=case["seed"])
        assert (-1 if arm is None else arm) == chooseVariation(found, theirs)
        assert (f"arm-{arm}" if arm is not None else "arm-0") == decision.variant
        assert (arm is None) is (decision.reason == "not_in_traffic")


@given(
    unit=units,
    seed=units,
    coverage=st.floats(0, 1),
    weights=st.sampled_from([(0.5, 0.5), (0.1, 0.9), (0.2, 0.3, 0.5), (0.25, 0.25, 0.25, 0.25)]),
)
def test_growthbooks_bucketing_is_ours_for_any_unit(
    unit: str, seed: str, coverage: float, weights: tuple[float, ...]
) -> None:
    """Beyond the published rows."""
    theirs = getBucketRanges(len(weights), coverage, list(weights))
    found = gbhash(seed, unit, 2)
    ours = growthbook.arm_at(growthbook.place(unit, seed=seed), growthbook.ranges(weights, coverage=coverage))

    assert found == growthbook.place(unit, seed=seed)
    assert chooseVariation(found, theirs) == (-1 if ours is None else ours)


@given(unit=units)
def test_a_ramp_moves_nobody_there_either(unit: str) -> None:
    """Coverage only adds units."""
    case = {"seed": "s", "coverage": 0.01, "weights": [0.5, 0.5]}
    low = assign(compatible(case), unit, now=PACKAGED.start)
    high = assign(compatible(case | {"coverage": 0.5}), unit, now=PACKAGED.start)

    assert low.reason == "not_in_traffic" or low == high


def test_what_growthbook_cannot_do_is_refused() -> None:
    """It knows no layers of ours, and needs a seed."""
    half = Layer(name="recall", salt=PACKAGED.layer.salt, slots=((0, 100),))
    for fields, said in (
        ({"layer": half}, "growthbook-2 knows no layers"),
        ({"salt": ""}, "salt is empty"),
        ({"hashing": "md5"}, "hashing is 'md5', must be murmur3 or growthbook-2"),
    ):
        with pytest.raises(InvalidExperiment, match=said):
            replace(PACKAGED, **{"hashing": "growthbook-2", **fields})  # type: ignore[arg-type]


def test_a_definition_that_uses_nothing_new_keeps_its_signature() -> None:
    """An upgrade of this package changes no experiment under way."""
    assert "7c8d931890928059" == PACKAGED.signature
    assert PACKAGED.signature != replace(PACKAGED, hashing="growthbook-2").signature
