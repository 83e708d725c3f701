"""Journey four: what was served and what it did become one weekly page."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from demo.home import Home
from demo.population import WEEKS
from demo.processes import StackError
from demo.stack import Stack
from demo.telling import Telling
from experiments.definition import Experiment

from .catalogue_to_index import run_dag

ARCHIVE_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The page, and its numbers."""

    page: Path
    numbers: Mapping[str, Any]


def archive_events(stack: Stack, telling: Telling, env: Mapping[str, str]) -> None:
    """Write what is on the topics to Parquet by day."""
    argv = [sys.executable, "-m", "streaming", "archive", "--until-caught-up"]
    telling.follow(stack.process("archive", argv, env=env), timeout_s=ARCHIVE_TIMEOUT_S)


def write_report(
    home: Home, stack: Stack, telling: Telling, experiment: Experiment, env: Mapping[str, str]
) -> Report:
    """Run the weekly DAG up to the end of the simulated weeks.

    Raises:
        StackError: it failed, or wrote no page.
    """
    until = (experiment.start + timedelta(weeks=WEEKS)).date().isoformat()
    conf = {"experiment": experiment.name, "until": until, "truth": str(home.truth.resolve())}
    run_dag(stack, telling, "report_experiments", conf, env)
    pages = sorted(home.reports.glob("*.html"))
    if not pages:
        raise StackError(f"report_experiments wrote no page into {home.reports}; see its log")
    return Report(
        page=pages[-1], numbers=json.loads(pages[-1].with_suffix(".json").read_text(encoding="utf-8"))
    )
