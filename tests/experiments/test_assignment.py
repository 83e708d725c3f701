"""A unit keeps its variant: across processes, languages, ramp-ups and days."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.assignment import assign, bucket
from experiments.definition import SLOTS, Experiment, Layer, Plan, Variant, load_experiments
from experiments.errors import InvalidUnit

VECTORS: dict[str, Any] = json.loads(Path("docs/schemas/assignment_vectors.json").read_text(encoding="utf-8"))
PACKAGED = load_experiments()["uniecs-recall"]


def murmur3(key: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, written from its public description: the oracle."""

    def scramble(k: int) -> int:
        k = k * 0xCC9E2D51 & 0xFFFFFFFF
        k = (k << 15 | k >> 17) & 0xFFFFFFFF
        return k * 0x1B873593 & 0xFFFFFFFF

    h = 0
    whole = len(key) // 4 * 4
    for i in range(0, whole, 4):
        h ^= scramble(int.from_bytes(key[i : i + 4], "little"))
        h = (h << 13 | h >> 19) & 0xFFFFFFFF
        h = (h * 5 + 0xE6546B64) & 0xFFFFFFFF
    h ^= scramble(int.from_bytes(key[whole:], "little")) if key[whole:] else 0
    h ^= len(key)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ h >> shift) * factor & 0xFFFFFFFF
    return h ^ h >> 16


def defined(case: dict[str, Any]) -> Experiment:
    layer = Layer(name="recall", salt=case["layer_salt"], slots=tuple((a, b) for a, b in case["slots"]))
    variants = tuple(Variant(name=name, share=share, plan=Plan()) for name, share, _ in case["variants"])
    return replace(
        PACKAGED,
        name=case["name"],
        salt=case["salt"],
        layer=layer,
        variants=variants,
        control=variants[0].name,
        traffic=case["traffic"],
    )


@pytest.mark.parametrize("case", VECTORS["experiments"], ids=lambda case: case["name"])
def test_the_published_vectors_are_what_we_do(case: dict[str, Any]) -> None:
    """Another language checks itself against this file, so it must be true of ours."""
    experiment = defined(case)

    assert case["traffic_bound"] == experiment.traffic_bound
    assert [bound for _, _, bound in case["variants"]] == list(experiment.arm_bounds)
    for unit, slot, arm_bucket, reason, variant in case["rows"]:
        decision = assign(experiment, unit, now=experiment.start)
        assert (slot, arm_bucket) == (bucket(unit, salt=case["layer_salt"]), bucket(unit, salt=case["salt"]))
        assert (reason, variant) == (decision.reason, decision.variant)


def test_the_published_vectors_can_be_had_without_our_code() -> None:
    """The file's own description is enough: murmur3, ranges end to end, bounds."""
    for row in VECTORS["hash"]:
        assert row["murmur3"] == murmur3(row["text"].encode())
    for case in VECTORS["experiments"]:
        for unit, slot, arm_bucket, reason, variant in case["rows"]:
            assert slot == murmur3(f"{case['layer_salt']}:{unit}".encode())
            assert arm_bucket == murmur3(f"{case['salt']}:{unit}".encode())
            before, place = 0, None
            for first, last in case["slots"]:
                if first <= slot < last:
                    place = before + slot - first
                before += last - first
            inside = place is not None and place < case["traffic_bound"]
            arm = next(name for name, _, bound in case["variants"] if arm_bucket < bound)
            expected = ("assigned", arm) if inside else ("not_in_traffic", case["variants"][0][0])
            assert expected == (reason, variant)


def test_the_vectors_hold_what_goes_wrong_elsewhere() -> None:
    """Chinese, emoji beyond the basic plane, long ids, and both answers at each bound."""
    units = [row[0] for case in VECTORS["experiments"] for row in case["rows"]]

    assert any(len(unit.encode()) == 10_240 for unit in units)
    assert {"用户12345", "👩‍👩‍👧‍👦", "𠮷野家", "42", "\x00"} <= set(units)
    assert {"assigned", "not_in_traffic"} == {
        row[3] for case in VECTORS["experiments"] for row in case["rows"]
    }


@pytest.mark.parametrize("unit", [row["unit"] for row in VECTORS["refused"]] + [b"bytes", "\ud800", 7.0])
def test_what_no_other_language_would_hash_alike_is_refused(unit: Any) -> None:
    """A number is 7 here and 7.0 there; half a surrogate pair has no UTF-8."""
    with pytest.raises(InvalidUnit):
        assign(PACKAGED, unit, now=PACKAGED.start)


def test_a_unit_keeps_its_variant_in_another_process() -> None:
    """Promise 6: nothing in the answer depends on the process."""
    units = ["shopper-7", "用户12345", "🛒-17"]
    script = (
        "import json, sys; from experiments.definition import load_experiments;"
        "from experiments.assignment import assign; e = load_experiments()['uniecs-recall'];"
        "print(json.dumps([assign(e, u, now=e.start).variant for u in json.loads(sys.argv[1])]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, json.dumps(units)], check=True, capture_output=True, text=True
    )

    assert [assign(PACKAGED, unit, now=PACKAGED.start).variant for unit in units] == json.loads(found.stdout)


@given(unit=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), days=st.integers(0, 400))
def test_a_unit_keeps_its_variant_for_all_days(unit: str, days: int) -> None:
    """Promise 6: time only decides whether the experiment has started."""
    later = assign(PACKAGED, unit, now=PACKAGED.start + timedelta(days=days))

    assert later == assign(PACKAGED, unit, now=PACKAGED.start)


@given(
    unit=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_ramp_moves_nobody_already_in(unit: str, shares: tuple[float, float]) -> None:
    """Promise 6: more traffic only adds units."""
    low, high = (
        assign(replace(PACKAGED, traffic=share), unit, now=PACKAGED.start) for share in sorted(shares)
    )

    assert low.reason == "not_in_traffic" or low == high


def test_nobody_is_in_at_no_traffic_and_everybody_at_all_of_it() -> None:
    """The ends of the ramp are exact."""
    units = [f"shopper-{number}" for number in range(2_000)]

    def reasons(traffic: float) -> set[str]:
        experiment = replace(PACKAGED, traffic=traffic)
        return {assign(experiment, unit, now=PACKAGED.start).reason for unit in units}

    assert {"not_in_traffic"} == reasons(0.0)
    assert {"assigned"} == reasons(1.0)


def test_off_or_not_started_is_control_and_says_so() -> None:
    """The shopper sees the search as it is, and the log can tell why."""
    early: datetime = PACKAGED.start - timedelta(seconds=1)

    assert ("control", "off") == _answer(assign(PACKAGED, "shopper-8", now=PACKAGED.start, enabled=False))
    assert ("control", "not_started") == _answer(assign(PACKAGED, "shopper-8", now=early))


def _answer(decision: Any) -> tuple[str, str]:
    return decision.variant, decision.reason


def test_arms_are_uniform_over_sequential_ids() -> None:
    """Ids in real shops are counters; ten equal bins of 100,000 of them are equal by chi-square."""
    bins = Counter(bucket(str(number), salt=PACKAGED.salt) * 10 // SLOTS for number in range(100_000))

    assert stats.chisquare([bins[place] for place in range(10)]).pvalue > 0.001


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0123456789abcdef", "0123456789abcdee"),
        ("0123456789abcdef", "1123456789abcdef"),
        ("0000000000000000", "0000000000000001"),
        (PACKAGED.salt, PACKAGED.layer.salt),
    ],
)
def test_near_identical_salts_are_independent(one: str, other: str) -> None:
    """Two experiments, or a slot and an arm, say nothing about each other (others failed at 48,156 here)."""
    table = Counter(
        (bucket(unit, salt=one) * 10 // SLOTS, bucket(unit, salt=other) * 10 // SLOTS)
        for unit in (f"shopper-{number}" for number in range(100_000))
    )
    rows = [[table[a, b] for b in range(10)] for a in range(10)]

    assert stats.chi2_contingency(rows).pvalue > 0.001
    assert 100 == len(set(product(range(10), range(10))) & set(table))
