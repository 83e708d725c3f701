"""The weekly report in two steps, each from paths to paths, for a schedule or a command.

collect   logs -> an aggregates file
publish   the aggregates file -> the page and its numbers
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from .analysis import Result, analyse
from .errors import InvalidData
from .experiment import Experiment
from .metrics import Aggregates
from .report import WrittenReport, write_report, write_whole
from .signing import Record, hold
from .warehouse import collect


def collect_aggregates(
    experiment: Experiment, logs: Path, folder: Path, *, until: datetime | None = None
) -> Path:
    """Scan the logs and keep what they add up to."""
    aggregates = collect(experiment, logs, until=until)
    last_day = (aggregates.until - timedelta(microseconds=1)).date()
    file = folder / f"{experiment.name}-{last_day.isoformat()}.aggregates.json"
    write_whole(file, aggregates.to_json())
    return file


def publish_report(
    experiment: Experiment,
    aggregates: Path,
    folder: Path,
    *,
    truth: Path | None = None,
    record: Record | None = None,
) -> tuple[Result, WrittenReport]:
    """Work out the result, held against the signed plan where there is one, and write the page."""
    try:
        text = aggregates.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidData(f"{aggregates} cannot be read: {error}; collect the logs first") from error
    result = analyse(
        experiment,
        Aggregates.from_json(text),
        truth=None if truth is None else read_truth(truth),
        held=hold(experiment, record),
    )
    return result, write_report(result, folder)


def read_truth(file: Path) -> Mapping[str, float]:
    """Planted lifts: a JSON object from metric to lift, as {"ctr": 0.05}.

    Raises:
        InvalidData: not such a file.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InvalidData(f"the truth {file} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict) or not all(_is_number(lift) for lift in found.values()):
        raise InvalidData(f'the truth {file} must be an object of numbers by metric, like {{"ctr": 0.05}}')
    return {metric: float(lift) for metric, lift in found.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
