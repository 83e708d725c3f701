"""Interleaving beside the A/B test: from the same archive to a verdict of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from experiments.analysis import Result, analyse
from experiments.credit import credit_table
from experiments.definition import Experiment
from experiments.errors import InvalidData
from experiments.explaining.mixed_pages import check_pages
from experiments.exposure import Exposure, Outcome, ServedProduct
from experiments.interleaving import compare_interleaved
from experiments.metrics import Aggregates
from experiments.report import render, render_markdown, render_slack
from experiments.votes import preference, sensitivity
from experiments.warehouse import collect

from .logs import Rows, exposure, outcome, write_archive
from .mixed_shop import mixed_shop, with_mixed_arm


def analysed(experiment: Experiment, folder: Path, rows: tuple[Rows, Rows]) -> Result:
    found = collect(experiment, write_archive(folder, *rows))
    return analyse(experiment, Aggregates.from_json(found.to_json()))


def as_events(rows: tuple[Rows, Rows]) -> tuple[list[Exposure], list[Outcome]]:
    """The records that the plugin would have logged."""
    exposures = [
        Exposure(
            **row
            | {
                "served": tuple(
                    ServedProduct(
                        product_id=it["product_id"],
                        position=it["position"],
                        channels=tuple(it["channels"]),
                        rank_per_channel={},
                    )
                    for it in row["served"]
                ),
                "counterfactual": (),
                "teams": tuple(row.get("teams", ())),
                "team_weights": tuple(row.get("team_weights", ())),
            }
        )
        for row in rows[0]
    ]
    return exposures, [Outcome(**row) for row in rows[1]]


@pytest.mark.parametrize("design", ["team_draft", "balanced"])
def test_the_votes_of_the_archive_are_those_of_credit(
    experiment: Experiment, tmp_path: Path, design: str
) -> None:
    """Two ways from one log to one answer: SQL over Parquet, and `credit_table` with the command."""
    mixed = with_mixed_arm(experiment, design=design)
    exposures, outcomes = mixed_shop(mixed, units=500, liking=0.5, seed=1)
    pages = [row for row in exposures if row.get("teams")]
    other = pages[0]
    outcomes.append(  # a click on something that the page does not have
        outcome(mixed, other["unit_id"], "click", hours=27 * 24, product_id="stray")
        | {"query_id": other["query_id"]}
    )
    found = analysed(mixed, tmp_path, ([*exposures, *pages[:20]], [*outcomes, *outcomes[:5]]))
    (section,) = found["interleaving"]
    told = compare_interleaved(
        pa.table(credit_table(*as_events((exposures, outcomes)))), unit="unit", ours="recall", theirs="base"
    )

    for name in ("units", "wins", "losses", "preference", "preference_low", "preference_high", "p_value"):
        assert told[name] == section[name], name
    assert told["ties"] == section["ties"] + section["silent"]
    assert len(pages) == section["pages"] == section["searches"]
    assert 1 == next(it for it in section["checks"] if it["name"] == "off_the_page")["figures"]["strays"]
    for which in ("teams", "ways"):
        assert sum(it["recall"] for it in section["teams"]) == sum(it["recall"] for it in section[which])


def test_what_shoppers_like_is_preferred_and_stands_beside_the_a_b_test(
    experiment: Experiment, tmp_path: Path
) -> None:
    """A planted liking: both designs find it, and the page says so in every form."""
    mixed = with_mixed_arm(experiment)
    found = analysed(mixed, tmp_path, mixed_shop(mixed, units=1_500, liking=2.0, seed=2))
    (section,) = found["interleaving"]
    beside = section["beside"]

    assert "recall" == section["verdict"]["word"]
    assert section["preference_low"] > 0.5
    assert section["p_always"] < 0.05
    assert {"ok"} == {it["status"] for it in section["checks"]}
    assert ("treatment", True, True) == (beside["treatment"], beside["alone"], beside["agrees"])
    assert beside["ratio_low"] <= beside["ratio"] <= beside["ratio_high"]
    assert "treatment" == found["verdict"]["treatment"]  # what may be shipped comes first
    for form in (render, render_markdown, render_slack):
        assert "Shoppers prefer the new ranking." in form(found)
        assert f"{section['preference']:.1%}" in form(found)


def test_a_coin_that_is_not_fair_names_no_preference(experiment: Experiment, tmp_path: Path) -> None:
    """The new ranking begins far too often: whoever stands first is clicked more."""
    mixed = with_mixed_arm(experiment, alone=False)
    found = analysed(mixed, tmp_path, mixed_shop(mixed, units=700, liking=0.0, seed=3, unfair=0.6))
    (section,) = found["interleaving"]

    assert "broken" == section["verdict"]["word"]
    assert ["fail"] == [it["status"] for it in section["checks"] if it["name"] == "first_places"]
    for form in (render, render_markdown, render_slack):
        assert "Do not read the preference." in form(found)
        assert "Shoppers prefer" not in form(found)
        assert "took the new ranking" not in form(found)
    assert "The preference is not to be read." in render(found)


def test_the_gain_of_a_mixed_page_ships_nothing(experiment: Experiment, tmp_path: Path) -> None:
    """Half of the page is the old one; the new ranking alone was shown to nobody."""
    mixed = with_mixed_arm(experiment, alone=False)
    found = analysed(mixed, tmp_path, mixed_shop(mixed, units=1_200, liking=3.0, seed=4))

    assert found["comparisons"][0]["p_value"] < 1e-4
    assert "hold" == found["verdict"]["word"]
    assert "test the new ranking alone" in found["verdict"]["headline"]
    assert not found["interleaving"][0]["beside"]["alone"]


def test_an_archive_without_such_pages_says_so(experiment: Experiment, tmp_path: Path) -> None:
    """The definition interleaves, the logs do not: a sentence, not a crash, and no section for the others."""
    mixed = with_mixed_arm(experiment, alone=False)
    rows = [exposure(mixed, f"u{n}", "mixed" if n % 2 else "control", hours=1) for n in range(60)]
    (section,) = analysed(mixed, tmp_path, (rows, [outcome(mixed, "u1", "click", hours=2)]))["interleaving"]

    assert "none" == section["verdict"]["word"]
    assert "no page that says whose its places are" in section["verdict"]["reasons"][0]


def test_places_that_are_not_a_list_are_one_sentence(experiment: Experiment, tmp_path: Path) -> None:
    """Somebody archived the teams as text."""
    rows = [exposure(experiment, f"u{n}", "treatment" if n % 2 else "control", hours=1) for n in range(4)]
    logs = write_archive(tmp_path, rows, [outcome(experiment, "u1", "click", hours=2)])
    (file,) = (logs / "exposures").glob("*/*.parquet")
    table = pq.read_table(file, partitioning=None)
    place = table.schema.get_field_index("teams")
    pq.write_table(table.set_column(place, "teams", pa.array(["base"] * len(rows))), file)

    with pytest.raises(InvalidData, match="column 'teams' is VARCHAR, must be a list"):
        collect(experiment, logs)


COUNTED: dict[str, Any] = {
    "pages": 1_000,
    "broken_pages": 0,
    "opens": {"base": 500, "recall": 500},
    "teams": [
        {
            "team": team,
            "places": 10,
            "clicks": 100 if team in ("base", "recall") else 0,
            "base": 0,
            "recall": 0,
        }
        for team in ("base", "recall", "both", "neither")
    ],
    "strays": 0,
    "looks": [{"units": 900, "wins": 300, "losses": 200, "ties": 10}],
}


def teams(**clicks: int) -> list[dict[str, Any]]:
    return [it | {"clicks": clicks.get(it["team"], it["clicks"])} for it in COUNTED["teams"]]


@pytest.mark.parametrize(
    ("change", "name", "status", "says"),
    [
        ({}, "first_places", "ok", "500 of 1,000 pages that either could begin (50.00%"),
        ({"opens": {"base": 300, "recall": 700}}, "first_places", "fail", "(70.00%"),
        ({}, "told_apart", "ok", "0 of 200 clicks (0.0%)"),
        ({"teams": teams(both=300)}, "told_apart", "warn", "300 of 500 clicks (60.0%)"),
        ({"strays": 50}, "off_the_page", "warn", "50 of 250 clicks (20.0%)"),
        ({"pages": 400}, "mixed", "warn", "400 of 1,000 searches of this variant (40.0%)"),
        ({"broken_pages": 3}, "mixed", "warn", "3 pages do not say"),
        (
            {"looks": [{"units": 90, "wins": 3, "losses": 2, "ties": 1}]},
            "few_votes",
            "warn",
            "5 votes; below 100",
        ),
    ],
)
def test_each_fault_of_a_mixed_page_has_a_check(
    change: dict[str, Any], name: str, status: str, says: str
) -> None:
    """The sentence changes with the number."""
    check = next(it for it in check_pages(COUNTED | change, 1_000) if it.name == name)

    assert status == check.status
    assert says in check.sentence


def test_the_preference_is_scipys() -> None:
    """And one vote is a preference of 100%, of which nothing is known."""
    assert stats.binomtest(40, 61).pvalue == preference(40, 21, alpha=0.05)["p_value"]
    assert 0.02 < preference(1, 0, alpha=0.05)["preference_low"] < 0.03


def test_the_sensitivity_is_held_by_its_interval() -> None:
    """Interleaving with 16 times the signal of the A/B test: the interval holds it 95 times of 100."""
    rng = np.random.default_rng(5)
    inside = []
    for _ in range(1_000):
        z = rng.normal([4.0, 4.0], 1.0)  # 400 units of one design, 6,400 of the other
        p_values = 2 * stats.norm.sf(np.abs(z))
        it = sensitivity((p_values[0], 400), (p_values[1], 6_400), alpha=0.05)
        assert it["ratio_low"] is not None
        inside.append(it["ratio_low"] <= 16 and (it["ratio_high"] is None or 16 <= it["ratio_high"]))

    assert 0.93 < np.mean(inside) < 0.97


def test_where_the_a_b_test_shows_nothing_the_sensitivity_has_no_upper_end() -> None:
    """And none at all where neither design shows anything."""
    at_least = sensitivity((1e-8, 400), (0.8, 10_000), alpha=0.05)
    nothing = sensitivity((0.9, 400), (0.8, 10_000), alpha=0.05)

    assert at_least["ratio"] is None
    assert at_least["ratio_high"] is None
    assert at_least["ratio_low"] is not None
    assert at_least["ratio_low"] > 1
    assert 0.0 == nothing["ratio_low"]
