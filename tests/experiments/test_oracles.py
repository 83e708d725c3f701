"""Other tools on the same tables: where conventions agree, the numbers do too."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from experiments.trust import sample_ratio

from .oracles.rows import table
from .tables import compare

HERE = Path(__file__).parent / "oracles"
TOLD = json.loads((HERE / "tea_tasting.json").read_text(encoding="utf-8"))["tables"]


def close(one: float, other: float) -> bool:
    return one == pytest.approx(other, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", TOLD)
def test_tea_tasting_says_the_same(seed: str) -> None:
    """Means and ratios whole; adjusted ones in their difference, its error and its lift's base.

    It tests the difference and takes its relative interval from the log-ratio,
    as ours; p is ours for the log-ratio, so p is compared by the interval that
    it must agree with. Adjusted, it moves control as well as treatment.
    """
    told, columns = TOLD[seed], table(int(seed))
    rows = pa.table(columns | {"variant": ["AB"[int(it)] for it in columns["variant"]]})
    found = {
        it["metric"]: it
        for it in compare(
            rows,
            "revenue=mean(revenue)",
            "ctr=ratio(clicks,searches)",
            "revenue_adjusted=mean(revenue)",
            "ctr_adjusted=ratio(clicks,searches)",
            covariates=[
                "revenue_adjusted=revenue_before",
                "ctr_adjusted=ratio(clicks_before,searches_before)",
            ],
        )["comparisons"]
    }

    for name, theirs in told.items():
        if name == "split":
            continue
        ours = found[name]
        assert close(ours["difference"], theirs["effect_size"])
        if name.endswith("adjusted"):
            continue
        assert close(ours["control_value"], theirs["control"])
        assert close(ours["treatment_value"], theirs["treatment"])
        assert close(ours["difference_low"], theirs["effect_size_ci_lower"])
        assert close(ours["difference_high"], theirs["effect_size_ci_upper"])
        assert close(ours["lift"], theirs["rel_effect_size"])
        assert close(ours["lift_low"], theirs["rel_effect_size_ci_lower"])
        assert close(ours["lift_high"], theirs["rel_effect_size_ci_upper"])
        assert (ours["p_value"] < 0.05) is (ours["lift_low"] > 0 or ours["lift_high"] < 0)
    counts = {"A": int(told["split"]["control"]), "B": int(told["split"]["treatment"])}
    assert close(sample_ratio(counts, {"A": 0.5, "B": 0.5}), told["split"]["pvalue"])


@pytest.mark.skipif(importlib.util.find_spec("tea_tasting") is None, reason="tea-tasting needs Python 3.12")
def test_the_oracle_file_is_what_tea_tasting_says_now() -> None:
    """Made again where it can be."""
    done = subprocess.run(
        [sys.executable, HERE / "make_tea_tasting.py"], capture_output=True, text=True, timeout=600
    )

    assert TOLD == json.loads(done.stdout)["tables"]
