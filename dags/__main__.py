"""Run one DAG of this folder here and now, whole, without a scheduler.

`run` prepares AIRFLOW_HOME (`.demo/airflow` unless it is set) and its database,
runs every task in this process, and says one line per task. What Airflow itself
says goes to a log file. Not for production: there, Airflow's own scheduler
reads this folder.
"""

import json
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from pluggy import HookimplMarker

# Airflow calls these methods of a listener; its own marker would import all of it.
hookimpl = HookimplMarker("airflow")

FOLDER = Path(__file__).parent.resolve()

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # of more than one paragraph it fills the lines anew
    help=__doc__,
)


class CannotRun(Exception):
    """The request cannot be met; the message says why and what to do."""


@app.command()
def run(
    dag_id: Annotated[str, typer.Argument(help="Name of a DAG of this folder.")],
    conf: Annotated[str, typer.Option(help="Parameters of the run, as a JSON object.")] = "{}",
) -> None:
    """Run a DAG whole; exit with 1 if it does not succeed, with 2 if it cannot be run."""
    _end_on_sigterm()
    try:
        parameters = _parameters(conf)
        _check_known(dag_id)
        home = _prepare_home()
        log = home / "logs" / f"{dag_id}-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
    except (CannotRun, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    with _chatter_to(log) as (said, complained):
        print(f"{dag_id}: Airflow starts, its log is {log}", file=said, flush=True)
        try:
            failure = _run_dag(dag_id, parameters, said)
        except Exception as error:  # whatever Airflow raises: in words here, whole in the log
            traceback.print_exc()
            failure = f"{type(error).__name__}: {error}"
        if failure is not None:
            sentence = " ".join(failure.split())
            print(f"error: {dag_id} did not succeed: {sentence}; see {log}", file=complained, flush=True)
    raise typer.Exit(0 if failure is None else 1)


@app.command()
def pools() -> None:
    """Make the pools that are missing in Airflow's database; those that are there keep their slots."""
    home = Path(os.environ.get("AIRFLOW_HOME") or ".demo/airflow").absolute()
    os.environ["AIRFLOW_HOME"] = str(home)
    from airflow.models.pool import Pool
    from airflow.utils import db

    from dags._manners import POOLS

    try:
        db.check_migrations(0)
    except TimeoutError:
        typer.echo(f"error: Airflow's database of {home} is not made; run `airflow db migrate`", err=True)
        raise typer.Exit(2) from None
    held = {pool.pool: pool.slots for pool in Pool.get_pools()}
    for name, (slots, description) in POOLS.items():
        if name not in held:
            Pool.create_or_update_pool(name, slots, description, include_deferred=False)
        has = held.get(name, slots)
        typer.echo(f"{name}: {has} slot{'' if has == 1 else 's'}{'' if name in held else ', made now'}")
    typer.echo(f"for the scheduler and the DAG processor: DAG_POOLS={','.join(POOLS)}")


@app.command()
def model() -> None:
    """Let UNIECS_MODELS/live point to the model of the collection that is served: after a rollback."""
    from dags._index import open_index
    from dags._models import follow, models_folder
    from product_index.errors import ProductIndexError
    from product_index.settings import read_settings

    models = models_folder()
    try:
        settings = read_settings()
        with open_index(settings) as database:
            served = database.open(settings.product_alias).spec.model_id
    except ProductIndexError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None
    if models is None or not (models / served).is_dir():
        where = models or "UNIECS_MODELS, which is not set"
        typer.echo(f"error: {served} is served, but is not kept in {where}; set UNIECS_MODEL to it", err=True)
        raise typer.Exit(2)
    moved = follow(models, served)
    typer.echo(f"{models}/live -> {served}{', restart what reads' if moved else ', as before'}")


def _end_on_sigterm() -> None:
    """End at once, whatever a task is doing: Airflow's tasks answer SIGTERM by going on."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # Airflow sets its own; either writes to the pipe
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def listen() -> None:
        while signal.SIGTERM not in os.read(heard, 64):
            pass
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=listen, name="end-on-sigterm", daemon=True).start()


def _parameters(conf: str) -> dict[str, Any]:
    try:
        parameters = json.loads(conf)
    except ValueError as error:
        raise CannotRun(f"--conf is {conf!r}, which is not JSON ({error}); give an object") from error
    if not isinstance(parameters, dict):
        raise CannotRun(f'--conf is {conf!r}, must be a JSON object such as {{"catalogue": "shop"}}')
    return parameters


def _check_known(dag_id: str) -> None:
    known = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
    if dag_id not in known:
        raise CannotRun(f"no DAG {dag_id!r} in {FOLDER}; there are: {', '.join(known)}")


def _prepare_home() -> Path:
    """Say where Airflow lives; it reads the environment when it is imported, so this goes first."""
    home = Path(os.environ.get("AIRFLOW_HOME") or ".demo/airflow").absolute()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(FOLDER)  # a DAG elsewhere would not be found
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ.setdefault("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{home / 'airflow.db'}")
    # Nothing listens in such a run, but Airflow warns of keys shorter than this.
    os.environ.setdefault("AIRFLOW__API_AUTH__JWT_SECRET", secrets.token_urlsafe(64))
    return home


@contextmanager
def _chatter_to(log: Path) -> Iterator[tuple[IO[str], IO[str]]]:
    """Send what this process prints to the log; yield streams to the person's output and error."""
    sys.stdout.flush()
    sys.stderr.flush()
    said = os.fdopen(os.dup(1), "w")
    complained = os.fdopen(os.dup(2), "w")
    with log.open("wb") as file, said, complained:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield said, complained
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(said.fileno(), 1)
            os.dup2(complained.fileno(), 2)


def _run_dag(dag_id: str, parameters: dict[str, Any], said: IO[str]) -> str | None:
    """Run it; return why it did not succeed, or None."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.listener import get_listener_manager
    from airflow.utils import db

    try:
        db.check_migrations(0)
    except TimeoutError:
        print("  preparing Airflow's database", file=said, flush=True)
        db.initdb()
    bag = DagBag(dag_folder=str(FOLDER / f"{dag_id}.py"))
    if bag.import_errors:
        return "; ".join(error.strip().splitlines()[-1] for error in bag.import_errors.values())
    dag = bag.dags.get(dag_id)
    if dag is None:
        return f"{dag_id}.py defines {', '.join(bag.dags) or 'no DAG'}, not {dag_id}"
    teller = _Teller(said)
    get_listener_manager().add_listener(teller)
    done = dag.test(run_conf=parameters)  # a failed run is returned, not raised
    if str(done.state) == "success":
        return None
    return teller.first_failure or f"the run ended as {done.state}"


class _Teller:
    """Says one line per task as it ends, and remembers the first failure."""

    def __init__(self, said: IO[str]) -> None:
        self._said = said
        self.first_failure = ""

    @hookimpl
    def on_task_instance_success(self, previous_state: object, task_instance: Any) -> None:
        self._say(task_instance, "done")

    @hookimpl
    def on_task_instance_skipped(self, previous_state: object, task_instance: Any) -> None:
        self._say(task_instance, "skipped")

    @hookimpl
    def on_task_instance_failed(self, previous_state: object, task_instance: Any, error: object) -> None:
        self.first_failure = self.first_failure or f"{task_instance.task_id}: {error}"
        self._say(task_instance, "failed")

    def _say(self, task_instance: Any, what: str) -> None:
        mapped = f"[{task_instance.map_index}]" if task_instance.map_index >= 0 else ""
        took = ""
        if task_instance.start_date is not None:
            took = f" in {(datetime.now(UTC) - task_instance.start_date).total_seconds():.1f} s"
        print(f"  {task_instance.task_id}{mapped} {what}{took}", file=self._said, flush=True)


if __name__ == "__main__":
    app()
