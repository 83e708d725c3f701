"""What the page explains, and that it says nothing which is not in the JSON."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from experiments.analysis import Result, analyse
from experiments.definition import Experiment
from experiments.report import render, render_markdown, render_slack
from experiments.settings import midnight
from experiments.warehouse import collect

from .logs import exposure, write_archive
from .search_shop import search_shop

HOSTILE = "<script>alert(1)</script> | *bold* `code`\n# head"
NUMBER = re.compile(r"[+−]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?%?")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory, experiment: Experiment) -> Path:
    """Queries, channels, a past, and an effect that wears off."""
    folder = tmp_path_factory.mktemp("logs")
    return write_archive(folder, *search_shop(experiment, units=1_500, seed=3, novelty=2.0))


@pytest.fixture(scope="module", params=["2026-02-02", "2026-01-20"])
def result(request: pytest.FixtureRequest, logs: Path, experiment: Experiment) -> Result:
    """At the end, and half-way."""
    return analyse(experiment, collect(experiment, logs, until=midnight(request.param)))


class Words(HTMLParser):
    """The text of a page, without drawings and their scale."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self._skipped = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipped or tag in ("svg", "style", "title") or ("class", "ends") in attrs:
            self._skipped += tag not in ("meta", "br", "line", "circle", "path")

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= bool(self._skipped) and tag not in ("line", "circle", "path")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.words.append(data)


def leaves(value: Any) -> Iterator[Any]:
    """Every number and every text of the JSON, keys too: a day is a key."""
    if isinstance(value, dict):
        for key, found in value.items():
            yield key
            yield from leaves(found)
    elif isinstance(value, list):
        for found in value:
            yield from leaves(found)
    else:
        yield value


def written(value: Any) -> Iterator[str]:
    """The ways in which the page writes a leaf."""
    if isinstance(value, str):
        yield from NUMBER.findall(value)
        for _, month, day in re.findall(r"(\d{4})-(\d\d)-(\d\d)", value):
            yield from (str(int(day)), str(int(month)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        for number in (value, abs(value), 1 - value):
            yield from (f"{number:,}", f"{number:.4g}", f"{number:,.4g}", f"{number:.3f}", f"{number:.4f}")
            for digits in (0, 1, 2):
                yield f"{number:.{digits}%}"
                yield f"{number:+.{digits}%}".replace("-", "−")
                yield f"{number:,.{digits}f}"
                yield f"{100 * number:+.{digits}f}".replace("-", "−")
                yield f"{number:+,.{digits}f}".replace("-", "−")


@pytest.mark.parametrize("form", [render, render_markdown, render_slack])
def test_every_number_on_the_page_is_a_key_of_the_json(result: Result, form: Any) -> None:
    """Nothing is worked out while pouring; a reader can look each one up."""
    numbers = json.loads(json.dumps(result))
    known = {shown for leaf in leaves(numbers) for shown in written(leaf)}
    # Counts of rows that the reader can count: checks by status, and what a small p is called.
    statuses = [check["status"] for check in numbers["checks"]]
    known |= {str(statuses.count(status)) for status in ("ok", "warn", "fail")}
    known |= {str(len(statuses) - statuses.count("none"))}
    known |= {"0.0001", "99.9%", "0.1%"}
    text = form(result)
    if form is render:
        text = " ".join(Words(text).words)

    assert set() == {found for found in NUMBER.findall(text) if found.rstrip(",") not in known}


def test_what_was_planted_is_found_and_said(result: Result) -> None:
    """The new channel earned it, the pages that changed carry it, and it wears off."""
    via = result["channels"][0]["clicks"]
    parts = {it["channel"]: it["part"] for it in via["parts"]}
    base = via["parts"][0]
    pages = result["changed_pages"][0]
    ctr = pages["metrics"][0]

    assert via["lift"] == pytest.approx(sum(parts.values()), abs=1e-9)
    assert parts["uniecs"] > 0.1
    assert base["low"] < 0 < base["high"]
    assert pages["ok"], pages["reason"]
    assert "by query" == pages["known"]
    assert ctr["changed"]["lift"] > ctr["plain"]["lift"] > 0
    assert ctr["variance_saved"] > 0.2
    assert ctr["diluted"]["lift_low"] < ctr["plain"]["lift"] < ctr["diluted"]["lift_high"]


def test_the_page_has_a_part_for_each_question(result: Result) -> None:
    """What moved since last week, where, by what, for which queries, and for how long."""
    text = " ".join(Words(render(result)).words)
    headings = ["Since the last look", "Where the page changed", "Which channel it came from"]

    for heading in [*headings, "For which queries", "Every check", "Chance that treatment is higher"]:
        assert heading in text
    assert ("Does it wear off?" in text) is bool(result["by_age"][0]["ages"])


def test_times_are_read_in_milliseconds_then_and_now(result: Result) -> None:
    """A share of next to nothing is large and says little; the main table shows a difference too."""
    since = render_markdown(result).partition("## Since the last look")[2]
    (row,) = [line for line in since.splitlines() if line.startswith("| Recall time")]

    assert row.count(" ms ") == 3


def test_hostile_words_stay_words_in_markdown_and_slack(experiment: Experiment, tmp_path: Path) -> None:
    """What people type and what logs hold cannot become a table, a heading or a tag."""
    hostile = replace(
        experiment,
        hypothesis=HOSTILE,
        metrics=tuple(replace(metric, title=HOSTILE) for metric in experiment.metrics),
    )
    exposures, outcomes = search_shop(hostile, units=60, seed=15)
    exposures.append(exposure(hostile, "x", HOSTILE, hours=3))
    found = analyse(hostile, collect(hostile, write_archive(tmp_path, exposures, outcomes)))
    text, slack = render_markdown(found), json.loads(render_slack(found))

    assert "<script" not in text
    assert "\n# head" not in text
    bars = {line.count("|") - line.count("\\|") for line in text.splitlines()}
    assert bars <= {0, 4, 5, 6, 8}  # no row has more cells than its table
    assert "<script" not in json.dumps(slack)
    assert len(slack["blocks"]) < 50
    assert all(len(block["text"]["text"]) <= 3_000 for block in slack["blocks"] if "text" in block)


def test_a_broken_experiment_names_no_winner_in_any_form(experiment: Experiment, tmp_path: Path) -> None:
    """The one-line form is read the most."""
    exposures, outcomes = search_shop(experiment, units=500, seed=5)
    lost = [it for n, it in enumerate(exposures) if it["variant"] == "control" or n % 2]
    kept = {it["unit_id"] for it in lost[: len(lost) * 9 // 10]} - {
        it["unit_id"] for n, it in enumerate(lost) if it["variant"] == "treatment" and n % 3
    }
    found = analyse(
        experiment,
        collect(
            experiment,
            write_archive(tmp_path, [it for it in exposures if it["unit_id"] in kept], outcomes),
        ),
    )

    assert "broken" == found["verdict"]["word"]
    for form in (render, render_markdown, render_slack):
        assert "improved" not in form(found)
        assert "Ship" not in form(found)
