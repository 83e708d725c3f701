"""Every Monday: logs to aggregates, aggregates to the weekly page.

Tasks pass paths. The thinking is in `experiments.weekly`; this file says when.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow.sdk import Asset, Param, dag, get_current_context, task
from airflow.timetables.interval import CronDataIntervalTimetable

from dags._manners import manners

if TYPE_CHECKING:
    from experiments.experiment import Experiment
    from experiments.settings import Settings

REPORT = Asset(name="experiment_report", uri="experiments://weekly-report")


@dag(
    schedule=CronDataIntervalTimetable("0 6 * * 1", timezone="UTC"),
    start_date=datetime(2026, 1, 5, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["experiments", "report"],
    default_args=manners(hours=0.5),
    params={
        "experiment": Param(
            None, type=["null", "string"], description="Which experiment; RECALL_EXPERIMENT if empty."
        ),
        "logs": Param(
            None, type=["null", "string"], description="Archive of events; EXPERIMENT_LOGS if empty."
        ),
        "output": Param(None, type=["null", "string"], description="Folder for reports; REPORTS if empty."),
        "truth": Param(None, type=["null", "string"], description="Planted lifts (JSON); simulations only."),
        "until": Param(
            None,
            type=["null", "string"],
            description="Leave out this day and later (2026-02-02); the week if empty.",
        ),
    },
    doc_md=__doc__,
)
def report_experiments() -> None:
    """Turn the archived logs into the weekly report."""

    @task
    def collect_aggregates() -> str:
        """Scan the logs once; the aggregates are all that is kept."""
        from pathlib import Path

        from experiments import weekly
        from experiments.settings import Settings, last_complete_week_end, midnight

        settings = Settings()
        context = get_current_context()
        params = context["params"]
        asked = params["until"]
        # A run by hand has no interval: then the last complete week counts.
        end = context.get("data_interval_end") or datetime.now(UTC)
        until = midnight(asked) if asked else last_complete_week_end(end)
        file = weekly.collect_aggregates(
            _chosen(settings),
            Path(params["logs"] or settings.experiment_logs),
            Path(params["output"] or settings.reports),
            until=until,
        )
        return str(file.resolve())

    @task(outlets=[REPORT])
    def write_report(aggregates: str) -> str:
        """Pour the page; it appears whole or not at all."""
        from pathlib import Path

        from experiments.settings import Settings
        from experiments.signing import read_record
        from experiments.weekly import publish_report

        settings = Settings()
        context = get_current_context()
        params = context["params"]
        truth = params["truth"] or settings.report_truth
        experiment = _chosen(settings)
        result, written = publish_report(
            experiment,
            Path(aggregates),
            Path(params["output"] or settings.reports),
            truth=Path(truth) if truth else None,
            record=read_record(experiment.name, settings.experiments),
        )
        context["outlet_events"][REPORT].extra = {
            "page": str(written.page.resolve()),
            "verdict": result["verdict"]["word"],
        }
        return str(written.page.resolve())

    write_report(collect_aggregates())


def _chosen(settings: "Settings") -> "Experiment":
    """The one that the run names, else the setting; what is not defined now will not be in a minute."""
    from airflow.sdk.exceptions import AirflowFailException

    from experiments.definition import load_experiments
    from experiments.errors import InvalidExperiment, UnknownExperiment

    try:
        named = get_current_context()["params"]["experiment"]
        return load_experiments(settings.experiments)[named or settings.experiment]
    except (InvalidExperiment, UnknownExperiment) as error:
        raise AirflowFailException(str(error)) from error


report_experiments()
