"""A plan is written, signed and held against what is there when the results come in."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.__main__ import app
from experiments.analysis import analyse
from experiments.definition import Experiment, load_experiments
from experiments.errors import ExperimentsError, InvalidExperiment
from experiments.plan.plan_files import plan_experiment
from experiments.report import render
from experiments.signing import SUFFIX, hold, read_record, sign
from experiments.trust import check_plan
from experiments.warehouse import collect

from .logs import shop, write_archive

NOW = datetime(2026, 12, 1, tzinfo=UTC)
TERMS: dict[str, Any] = {
    "hypothesis": 'More is found, "more" is clicked.',
    "start": datetime(2027, 1, 4, tzinfo=UTC),
    "primaries": ["ctr=ratio(clicks,searches)"],
    "secondaries": ["spend=mean(revenue)"],
    "guardrails": ["searches=mean(searches)@0.05"],
    "caps": ["spend=0.99"],
    "channels": ["uniecs"],
    "treated": 0.1,
}


def test_a_plan_is_a_definition_that_can_be_read_and_a_record_of_it(tmp_path: Path) -> None:
    """Written once, with salts of its own; signed again it keeps its first date."""
    written = plan_experiment(tmp_path, "try", now=NOW, **TERMS)
    again = plan_experiment(
        tmp_path, "try", now=NOW + timedelta(days=1), hypothesis=None, start=None, primaries=()
    )
    experiment = load_experiments(tmp_path)["try"]
    metrics = {it.name: it for it in experiment.metrics}

    assert [0.9, 0.1] == [variant.share for variant in experiment.variants]
    assert 0.99 == metrics["spend"].cap_quantile
    assert 0.05 == metrics["searches"].margin
    assert written["signature"] == again["signature"]
    assert NOW.isoformat() == again["signed_at"]
    assert experiment.salt != experiment.layer.salt


def test_a_metric_has_a_title_that_people_read(tmp_path: Path) -> None:
    """Initials in capitals; words are words, and units stay units."""
    names = ("clicks_per_search", "ctr", "p95_ms", "ctr_top")
    secondaries = [f"{name}=mean(clicks)" for name in names]
    terms = TERMS | {"primaries": ["x=mean(clicks)"], "secondaries": secondaries, "caps": ()}
    plan_experiment(tmp_path, "try", now=NOW, **terms)
    titles = {it.name: it.title for it in load_experiments(tmp_path)["try"].metrics}

    assert ["Clicks per search", "CTR", "P95 ms", "CTR top"] == [titles[name] for name in names]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"primaries": ["ctr=clicks"]}, "cannot be read; write 'ctr=ratio"),
        ({"primaries": ["ctr=ratio(clicks,views)"]}, "no column 'views'"),
        ({"primaries": []}, "at least one --primary"),
        ({"guardrails": ["searches=mean(searches)"]}, "has a margin"),
        ({"caps": ["ctr=0.99"]}, "only a mean can be capped"),
        ({"caps": ["other=0.99"]}, "a cap for 'other': no such metric"),
        ({"caps": ["spend=most"]}, "must be NAME=quantile"),
        ({"start": datetime(2026, 1, 5, tzinfo=UTC)}, "a plan is signed before the start"),
        ({"treated": 1.0}, r"share is 0.0, must be in \(0, 1\]"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_not_written(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    """One sentence, and no file."""
    with pytest.raises(InvalidExperiment, match=sentence):
        plan_experiment(tmp_path, "try", now=NOW, **TERMS | change)

    assert [] == list(tmp_path.iterdir())


def test_two_plans_do_not_share_shoppers_and_a_name_is_used_once(tmp_path: Path) -> None:
    """The second owns the same slots of the layer: refused before it is written."""
    plan_experiment(tmp_path, "one", now=NOW, **TERMS)

    with pytest.raises(InvalidExperiment, match="overlap"):
        plan_experiment(tmp_path, "two", now=NOW, **TERMS)
    with pytest.raises(InvalidExperiment, match="leave the options away"):
        plan_experiment(tmp_path, "one", now=NOW, **TERMS)
    assert ["one.signed.json", "one.toml"] == sorted(it.name for it in tmp_path.iterdir())


def test_a_plan_like_another_has_its_metrics_and_a_road_of_its_own(tmp_path: Path) -> None:
    """One command from the packaged example to a signed one: new salts, new start, the comments kept."""
    start = datetime(2027, 1, 4, tzinfo=UTC)
    plan_experiment(
        tmp_path, "our-recall", now=NOW, hypothesis=None, start=start, primaries=(), like="uniecs-recall"
    )
    ours, packaged = load_experiments(tmp_path)["our-recall"], load_experiments()["uniecs-recall"]
    held = hold(ours, read_record("our-recall", tmp_path))

    assert (packaged.metrics, packaged.variants) == (ours.metrics, ours.variants)
    assert (packaged.hypothesis, start) == (ours.hypothesis, ours.start)
    assert not {packaged.salt, packaged.layer.salt} & {ours.salt, ours.layer.salt}
    assert "# Random, and its own for each experiment" in (tmp_path / "our-recall.toml").read_text()
    assert held.in_time
    assert "ok" == check_plan(held).status


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"like": "nothing"}, "no definition 'nothing' to be like; there are uniecs-recall"),
        (
            {"like": "uniecs-recall", "primaries": ["ctr=ratio(clicks,searches)"]},
            "--like takes the metrics of",
        ),
        ({"like": "uniecs-recall", "start": None}, "a new plan needs --start"),
        ({"like": "uniecs-recall", "start": datetime(2026, 1, 5, tzinfo=UTC)}, "is signed before the start"),
    ],
)
def test_a_plan_like_another_that_cannot_be_is_not_written(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    """One sentence, and no file."""
    terms: dict[str, Any] = {"hypothesis": None, "start": datetime(2027, 1, 4, tzinfo=UTC), "primaries": ()}
    with pytest.raises(InvalidExperiment, match=sentence):
        plan_experiment(tmp_path, "ours", now=NOW, **terms | change)

    assert [] == list(tmp_path.iterdir())


def test_a_definition_that_nobody_signed_passes_nothing_and_says_what_to_do(experiment: Experiment) -> None:
    """Not a failure, not a pass: there was nothing to hold it against."""
    check = check_plan(hold(experiment, None))

    assert "none" == check.status
    assert "plan NAME --like" in check.sentence


def test_a_record_that_was_changed_by_hand_is_refused(tmp_path: Path, experiment: Experiment) -> None:
    """Or a plan could be made to fit its results."""
    record = sign(experiment, now=experiment.start - timedelta(days=1))
    file = tmp_path / f"{experiment.name}{SUFFIX}"
    file.write_text(record.to_json().replace('"planned_looks": 4', '"planned_looks": 8'), encoding="utf-8")

    with pytest.raises(InvalidExperiment, match="changed after it was signed"):
        read_record(experiment.name, tmp_path)
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidExperiment, match="is not a signed plan"):
        read_record(experiment.name, tmp_path)
    file.unlink()
    assert read_record(experiment.name, tmp_path) is None


def with_cap(experiment: Experiment, name: str, cap: float | None) -> Experiment:
    return replace(
        experiment,
        metrics=tuple(replace(it, cap_quantile=cap) if it.name == name else it for it in experiment.metrics),
    )


def test_a_cap_declared_after_the_start_is_shown_on_the_page(experiment: Experiment, tmp_path: Path) -> None:
    """It explains and does not decide: a warning, and a label at its row."""
    record = sign(
        with_cap(experiment, "revenue_per_shopper_capped", None), now=experiment.start - timedelta(1)
    )
    logs = write_archive(tmp_path, *shop(experiment, units=300, seed=2))
    found = analyse(experiment, collect(experiment, logs), held=hold(experiment, record))
    check = next(it for it in found["checks"] if it["name"] == "plan")
    rows = {it["metric"]: it["unplanned"] for it in found["comparisons"]}

    assert "warn" == check["status"]
    assert "cap quantile of revenue_per_shopper_capped was none, is now 0.99" in check["sentence"]
    assert ["revenue_per_shopper_capped"] == [name for name, odd in rows.items() if odd]
    assert "not in the plan" in render(found)


def test_a_change_of_what_decides_breaks_the_experiment(experiment: Experiment, tmp_path: Path) -> None:
    """Another number of looks, another start, another primary metric: no winner is named."""
    record = sign(experiment, now=experiment.start - timedelta(days=1))
    later = replace(experiment, planned_looks=8)
    logs = write_archive(tmp_path, *shop(experiment, units=300, seed=2, click_lift=0.9))
    found = analyse(later, collect(later, logs), held=hold(later, record))

    assert "broken" == found["verdict"]["word"]
    assert "planned looks was 4, is now 8" in found["verdict"]["reasons"][0]


def test_what_holds_holds_and_ramping_is_allowed(experiment: Experiment) -> None:
    """Traffic may be raised; a term that an older plan never knew is let be."""
    record = sign(experiment, now=experiment.start - timedelta(days=1))
    older = replace(record, terms={name: it for name, it in record.terms.items() if name != "segments"})

    for held in (hold(replace(experiment, traffic=0.2), record), hold(experiment, older)):
        assert held.in_time
        assert () == held.graver + held.lighter + held.unplanned
    assert hold(experiment, None).signed_at is None


def test_the_command_plans_and_says_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    """As a shell would."""
    argv = ["plan", "try", "--hypothesis", "h", "--start", "2999-01-07", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, [*argv, "--primary", "ctr=ratio(clicks,searches)"])
    wrong = CliRunner().invoke(app, [*argv, "--primary", "ctr"])

    assert 0 == done.exit_code
    assert 'plan = { channels = ["uniecs"], merge = "append" }' in (tmp_path / "try.toml").read_text()
    assert 64 == len(json.loads(done.stdout)["signature"])
    assert isinstance(wrong.exception, ExperimentsError)


def test_check_says_that_a_plan_was_changed_since_it_was_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how to sign again, while it has not started; after that, only to restore it."""
    monkeypatch.setenv("EXPERIMENTS", str(tmp_path))
    plan_experiment(tmp_path, "try", now=NOW, **TERMS | {"start": datetime(2999, 1, 7, tzinfo=UTC)})
    file = tmp_path / "try.toml"
    as_signed = CliRunner().invoke(app, ["check"]).stdout
    file.write_text(file.read_text().replace("planned = 4", "planned = 8"))
    changed = CliRunner().invoke(app, ["check"]).stdout
    (told,) = json.loads(CliRunner().invoke(app, ["check", "--json"]).stdout)
    again = plan_experiment(tmp_path, "try", now=NOW, hypothesis=None, start=None, primaries=())

    assert "plan signed " in as_signed
    assert "plan CHANGED since it was signed: planned looks was 4, is now 8; restore it, or" in changed
    assert f"sign it again: python -m experiments plan try --out {tmp_path}" in changed
    assert ["planned looks was 4, is now 8"] == told["plan_changes"]
    assert f"plan signed {again['signature'][:16]}" in CliRunner().invoke(app, ["check"]).stdout


def test_check_asks_to_restore_a_plan_that_was_changed_after_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be signed again; the report labels it."""
    monkeypatch.setenv("EXPERIMENTS", str(tmp_path))
    start = datetime(2020, 1, 6, tzinfo=UTC)
    plan_experiment(tmp_path, "try", now=start - timedelta(days=1), **TERMS | {"start": start})
    file = tmp_path / "try.toml"
    file.write_text(file.read_text().replace("planned = 4", "planned = 8"))
    said = CliRunner().invoke(app, ["check"]).stdout

    assert "is now 8; restore it: it has started, and every report says so" in said
    assert "sign it again" not in said
