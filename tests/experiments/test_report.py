"""The page: complete, the same every time, and safe to open."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from experiments import __main__ as command
from experiments.analysis import Result, analyse
from experiments.definition import Experiment
from experiments.errors import InvalidData
from experiments.report import render, to_json, write_report
from experiments.settings import midnight
from experiments.warehouse import collect
from experiments.weekly import read_truth
from tests.experiments.logs import exposure, shop, write_archive

HOSTILE = "<script>alert('mug')</script>\"'&"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory, experiment: Experiment) -> Path:
    """A small month with a planted gain."""
    return write_archive(
        tmp_path_factory.mktemp("logs"), *shop(experiment, units=1_200, click_lift=0.3, seed=14)
    )


@pytest.fixture(scope="module")
def result(logs: Path, experiment: Experiment) -> Result:
    """What that month says."""
    return analyse(experiment, collect(experiment, logs), truth={"ctr": 0.3, "orders_per_shopper": 0.3})


@pytest.mark.parametrize("seed", range(1, 7))
def test_of_an_arm_that_has_nothing_the_page_gives_no_interval(
    tmp_path: Path, experiment: Experiment, seed: int
) -> None:
    """The lift, and why there is no more; whatever rounding leaves of a spread that is none.

    It left a little above nothing, or below, which has no root: then there was no page at all.
    """
    events = shop(experiment, units=100 + 7 * seed, click_lift=-1.0, seed=seed)
    page = render(analyse(experiment, collect(experiment, write_archive(tmp_path, *events))))

    assert "no interval can be given, as treatment has nothing at all" in page
    assert "100.0% to" not in page


class Page(HTMLParser):
    """Its tags, its attributes, its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self._open.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_the_first_screen_answers_ship_trust_and_how_much(result: Result) -> None:
    """A tired product manager reads no further."""
    text = Page(render(result)).text
    first_screen = text[: text.index("What moved, by how much")]
    lift = f"{result['comparisons'][0]['lift']:+.1%}"

    assert result["verdict"]["headline"] in first_screen
    assert "May I trust it?" in first_screen
    assert lift in first_screen
    assert "final look, 4 of 4 · 5 Jan 2026 to 1 Feb 2026" in first_screen


def test_the_page_names_its_conventions_its_definition_and_what_it_left_out(
    result: Result, experiment: Experiment
) -> None:
    """Somebody else can work it out again."""
    text = Page(render(result)).text

    assert experiment.signature in text
    assert "delta method" in text
    assert "all variants pooled" in text
    assert "outcomes without exposure" in text


def test_the_page_needs_nothing_else(result: Result) -> None:
    """It is mailed, printed and opened offline: no script, no font, no picture from elsewhere."""
    page = render(result)
    found = Page(page)

    assert {"#trust", "#moved", "#how"} <= set(found.links)
    assert {link.removeprefix("#") for link in found.links} == set(found.ids)  # each part is in the contents
    assert len(found.ids) == len(set(found.ids))
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert "url(" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_a_hostile_name_is_text(experiment: Experiment, tmp_path: Path) -> None:
    """Hypotheses are typed by people and variants come from logs; neither may run in a browser."""
    hostile = replace(
        experiment,
        hypothesis=HOSTILE,
        metrics=tuple(replace(metric, title=HOSTILE) for metric in experiment.metrics),
    )
    exposures, outcomes = shop(hostile, units=60, seed=15)
    exposures.append(exposure(hostile, "x", HOSTILE, hours=3))
    exposures.append(exposure(hostile, "y", "control", hours=3, reason=HOSTILE))
    page = render(analyse(hostile, collect(hostile, write_archive(tmp_path, exposures, outcomes))))

    assert "script" not in Page(page).tags
    assert "<script" not in page.lower()
    assert HOSTILE in Page(page).text


def test_the_same_logs_give_the_same_bytes(
    experiment: Experiment, logs: Path, result: Result, tmp_path: Path
) -> None:
    """A report can be made again, and compared with the one that was mailed."""
    again = analyse(experiment, collect(experiment, logs), truth=result["truth"])
    first, second = write_report(result, tmp_path / "one"), write_report(again, tmp_path / "two")

    assert first.page.name == "uniecs-recall-2026-02-01.html"
    assert first.page.read_bytes() == second.page.read_bytes()
    assert first.numbers.read_bytes() == second.numbers.read_bytes()
    assert first.markdown.read_bytes() == second.markdown.read_bytes()
    assert first.slack.read_bytes() == second.slack.read_bytes()
    assert [f"uniecs-recall-2026-02-01.{kind}" for kind in ("html", "json", "md", "slack.json")] == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )


def test_every_metric_on_the_page_is_in_the_numbers(result: Result) -> None:
    """The page rounds; the JSON beside it has all digits, and no NaN."""
    text, numbers = Page(render(result)).text, json.loads(to_json(result))

    for row in numbers["comparisons"]:
        assert row["title"] in text
        if row["shown_as"] == "percent" and row["control_value"] is not None:
            assert f"{row['control_value']:.2%}" in text
    assert {
        "metric",
        "control",
        "treatment",
        "n_control",
        "lift",
        "lift_low",
        "lift_high",
        "p_value",
        "p_adjusted",
    } <= set(numbers["comparisons"][0])


def test_planted_truth_is_drawn_only_where_it_is_given(
    experiment: Experiment, logs: Path, result: Result
) -> None:
    """A real experiment has no such column."""
    without = analyse(experiment, collect(experiment, logs))

    assert "Planted" in Page(render(result)).text
    assert 'class="truth"' in render(result)
    assert "Planted" not in Page(render(without)).text
    assert 'class="truth"' not in render(without)


def test_results_are_greyed_when_the_experiment_is_broken(experiment: Experiment, tmp_path: Path) -> None:
    """Promise 7, on the page: no winner, and the reason first."""
    logs = write_archive(tmp_path, *shop(experiment, units=900, click_lift=0.5, seed=16, treated_share=0.65))
    page = render(analyse(experiment, collect(experiment, logs)))
    text = Page(page).text

    assert "Do not read the results: the experiment itself is broken." in text
    assert "Not to be read as effects" in text
    assert 'class="doubt"' in page
    assert "Ship:" not in text


def test_every_mid_run_page_comes_out(experiment: Experiment, logs: Path) -> None:
    """From the first day on, whatever cannot be said yet."""
    for day in (1, 3, 7, 10, 21):
        until = midnight(f"2026-01-{5 + day:02d}")
        text = Page(render(analyse(experiment, collect(experiment, logs, until=until)))).text
        assert f"(day {day} of 28)" in text
        assert "nan" not in text.lower().replace("finance", "")


def run(monkeypatch: pytest.MonkeyPatch, capsys: Any, *argv: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["experiments", *argv])
    code = 0
    try:
        command.main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from outside."""
    for name in ("EXPERIMENTS", "EXPERIMENT_LOGS", "REPORTS", "REPORT_TRUTH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_bare_environment")
def test_the_command_writes_the_page_and_prints_the_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logs: Path, tmp_path: Path
) -> None:
    """One command from logs to a page; with --json, for machines."""
    truth = tmp_path / "truth.json"
    truth.write_text('{"ctr": 0.3}', encoding="utf-8")
    code, out, _ = run(
        monkeypatch,
        capsys,
        "report",
        "--logs",
        str(logs),
        "--output",
        "pages",
        "--truth",
        str(truth),
        "--json",
    )
    found = json.loads(out)

    assert 0 == code
    assert 0.3 == found["comparisons"][0]["truth"]
    assert Path(found["page"]).is_file()
    monkeypatch.setenv("EXPERIMENT_LOGS", str(logs))
    code, out, _ = run(monkeypatch, capsys, "report", "--until", "2026-01-12")
    assert 0 == code
    assert ".demo/reports/uniecs-recall-2026-01-11.html" in out


@pytest.mark.usefixtures("_bare_environment")
@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["report", "--logs", "nowhere"], "no Parquet files under nowhere/exposures"),
        (["report", "nothing"], "no experiment 'nothing'; defined here: uniecs-recall"),
        (["report", "--until", "yesterday"], "'yesterday' is not a day"),
        (["assign", ""], "unit id is empty"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str], sentence: str
) -> None:
    """No traceback, nothing written."""
    code, out, err = run(monkeypatch, capsys, *argv)

    assert 2 == code
    assert "" == out
    assert err.startswith("error: ")
    assert sentence in err
    assert 1 == err.count("\n")


@pytest.mark.usefixtures("_bare_environment")
def test_check_and_assign_answer_from_the_definitions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], experiment: Experiment
) -> None:
    """What is defined, and what a shopper would get."""
    _, checked, _ = run(monkeypatch, capsys, "check", "--json")
    code, assigned, _ = run(monkeypatch, capsys, "assign", "用户12345", "--json")

    (found,) = json.loads(checked)
    assert ("uniecs-recall", experiment.signature, None, []) == tuple(found.values())
    assert 0 == code
    assert json.loads(assigned)["variant"] in ("control", "treatment")


@pytest.mark.parametrize("text", ["", "[1]", '{"ctr": "much"}', '{"ctr": true}'])
def test_a_truth_that_is_no_table_of_numbers_is_refused(tmp_path: Path, text: str) -> None:
    """Only numbers by metric."""
    file = tmp_path / "truth.json"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(InvalidData, match="the truth"):
        read_truth(file)
