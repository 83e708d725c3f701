"""What can be set from outside: environment variables and `.env`, read once at the door."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import InvalidData


class Settings(BaseSettings):
    """Where definitions and logs are, and where reports go.

    Attributes:
        experiment: whose report or assignment is meant where none is named: the flag that decides.
        experiments: folder of definitions, *.toml; the packaged ones without.
        experiment_logs: the archive of events.
        reports: where reports are written.
        report_truth: a JSON file of planted lifts; only a simulation has one.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    experiment: str = Field(default="uniecs-recall", validation_alias="RECALL_EXPERIMENT")
    experiments: Path | None = None
    experiment_logs: Path = Path(".demo/experiment-logs")
    reports: Path = Path(".demo/reports")
    report_truth: Path | None = None


def midnight(text: str) -> datetime:
    """A day as `2026-02-02`: its first moment in UTC.

    Raises:
        InvalidData: not such a day.
    """
    try:
        return datetime.combine(date.fromisoformat(text), time(), tzinfo=UTC)
    except ValueError as error:
        raise InvalidData(f"{text!r} is not a day; write one like 2026-02-02") from error


def week_end(text: str) -> datetime:
    """An ISO week as `2026-W47`: the Monday 00:00 UTC after it.

    >>> week_end("2026-W05").date().isoformat()
    '2026-02-02'

    Raises:
        InvalidData: not such a week.
    """
    year, _, week = text.partition("-W")
    try:
        return datetime.combine(
            date.fromisocalendar(int(year), int(week), 7) + timedelta(days=1), time(), tzinfo=UTC
        )
    except (ValueError, OverflowError) as error:
        raise InvalidData(f"{text!r} is not a week; write one like 2026-W47") from error


def last_complete_week_end(now: datetime) -> datetime:
    """The Monday 00:00 UTC at or before a moment: what a weekly report runs up to.

    >>> last_complete_week_end(datetime(2026, 2, 4, 15, 30, tzinfo=UTC)).date().isoformat()
    '2026-02-02'
    """
    today = datetime.combine(now.astimezone(UTC).date(), time(), tzinfo=UTC)
    return today - timedelta(days=today.weekday())
