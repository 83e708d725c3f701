"""Keep the index fresh, publish changes, archive events."""

import gc
import json
import logging
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Annotated, BinaryIO

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.errors import ExperimentsError
from product_index.errors import ProductIndexError

from . import build
from .archive import Archiver
from .archive_lines import LineEvents
from .change_log import TopicReader
from .compaction import compact as join_files
from .dead_letters import SUFFIX, account, waiting
from .dead_letters import replay as put_back
from .errors import StreamingError
from .pace import ask_freshness, freshness_figures, freshness_lines
from .publishing import publish as publish_lines
from .settings import Settings, read_settings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # of more than one paragraph it fills the lines anew
    help=__doc__,
)
errors = Console(stderr=True)

STATUS_PATIENCE_MS = 3_000  # a person waits for the answer


@app.command()
def consume(
    max_idle_s: Annotated[
        float | None, typer.Option(min=0, help="End after so many seconds without a message.")
    ] = None,
    freshness_log: Annotated[
        Path | None, typer.Option(help="Append one JSON line per change: its class and its milliseconds.")
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Answer /metrics and /healthz on loopback; 0 for any port."),
    ] = None,
    stall_after_s: Annotated[
        float,
        typer.Option(min=1, help="/healthz fails once a partition with work has not moved for so long."),
    ] = 60.0,
) -> None:
    """Bring the index up to the change log, until SIGTERM or Ctrl-C.

    Told to stop, it takes nothing more, finishes the batch at hand, acknowledges it (10 s at most) and
    leaves the group (10 s at most). While the index is away it goes without, and the batch comes again.
    """
    settings = read_settings()
    opened = build.open_worker(
        settings, freshness_log=freshness_log, metrics_port=metrics_port, stall_after_s=stall_after_s
    )
    with stop_on_signal() as stopped, opened as worker:
        log = structlog.get_logger()
        gc.freeze()  # model and clients live as long as the process; looking through them delays batches
        log.info("consuming", topic=settings.changes_topic, group=settings.consumer_group, pid=os.getpid())
        totals = worker.run(stop=stopped, max_idle_s=max_idle_s)
        log.info("consumed", messages=totals.messages, batches=totals.batches, **totals.by_class)


@app.command()
def publish(
    file: Annotated[str, typer.Argument(help="JSON Lines, one change per line; - reads standard input.")],
    topic: Annotated[str | None, typer.Option(help="Instead of the topic of changes.")] = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Publish lines unchecked, to try what happens to bad ones.")
    ] = False,
) -> None:
    """Publish changes and wait until the broker has answered for each."""
    settings = read_settings()
    with _opened(file) as (lines, size), build.open_sink(settings) as sink:
        build.ensure_topics(settings, [topic or settings.changes_topic])
        with _progress() as progress:
            task = progress.add_task("publishing", total=size)
            count = publish_lines(
                lines,
                sink,
                topic=topic or settings.changes_topic,
                as_is=as_is,
                told=lambda more: progress.advance(task, more),
            )
    where = topic or settings.changes_topic
    print(f"{_counted(count, 'change')} published to {where}; the broker answered for each")


@app.command()
def status(
    over_s: Annotated[float, typer.Option(min=0.1, max=60, help="Watch for so long to tell rates.")] = 1.0,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of a consumer on this machine, for its freshness.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")
    ] = False,
) -> None:
    """Print how far the consumer and the archive are behind, how fast they move, how fresh the index is."""
    settings = read_settings()
    asked = [
        (settings.consumer_group, [settings.changes_topic]),
        (settings.archive_group, [settings.exposures_topic, settings.outcomes_topic]),
        (_replay_group(settings), [settings.changes_topic + SUFFIX]),
    ]
    impatient = {**settings.connection(), "bootstrap_timeout_ms": STATUS_PATIENCE_MS}
    paces = build.group_paces(impatient, asked, over_s=over_s)
    dead_letters = paces.pop(_replay_group(settings)).behind
    if as_json:
        told = {
            "groups": [pace.figures(group) for group, pace in paces.items()],
            "dead_letters_not_replayed": dead_letters,
        }
        if metrics_port is not None:
            told["freshness"] = freshness_figures(ask_freshness(metrics_port))
        print(json.dumps(told, allow_nan=False))
        return
    for group, pace in paces.items():
        print("\n".join(pace.lines(group)))
    print(f"dead letters not replayed: {dead_letters}")
    if metrics_port is not None:
        print("\n".join(freshness_lines(ask_freshness(metrics_port))))


@app.command()
def archive(
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="JSON Lines instead of Kafka: the folder of RECALL_EVENTS, or one file of it."
        ),
    ] = None,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="End once everything there is now is archived.")
    ] = False,
    chunk_wait_s: Annotated[float, typer.Option(min=0.1, help="Write files at least this often.")] = 60.0,
) -> None:
    """Write exposures and outcomes to Parquet under EXPERIMENT_LOGS, each exactly once."""
    settings = read_settings()
    lines = None if source is None else LineEvents(source)
    with stop_on_signal() as stopped, ExitStack() as closing:
        events = lines or closing.enter_context(build.open_topic_events(settings))
        archiver = Archiver(events, settings.experiment_logs, chunk_wait_s=chunk_wait_s)
        with errors.status(f"archiving to {settings.experiment_logs}"):
            totals = archiver.run(stop=stopped, until_caught_up=until_caught_up)
    rows = ", ".join(_counted(count, kind.removesuffix("s")) for kind, count in sorted(totals.rows.items()))
    print(f"{rows or 'nothing new'} in {_counted(totals.files, 'file')} under {settings.experiment_logs}")
    if totals.unreadable:
        aside = settings.experiment_logs / "unreadable"
        print(f"{_counted(totals.unreadable, 'event')} could not be read; see {aside}")
    for remark in lines.remarks() if lines is not None else ():
        print(remark)


@app.command()
def compact() -> None:
    """Join the archive's small files of days that have ended; end the archiver first."""
    settings = read_settings()
    done = join_files(settings.experiment_logs, keep_day=datetime.now(UTC).date().isoformat())
    print(f"{done.files_before} files are now {done.files_after} under {settings.experiment_logs}")


@app.command()
def replay() -> None:
    """Put dead letters back into the topic they came from, each once."""
    settings = read_settings()
    with _set_aside(settings) as reader, build.open_sink(settings) as sink:
        count = put_back(reader, sink)
    print(f"{_counted(count, 'dead letter')} put back into the topic they came from")


@app.command("dead-letters")
def dead_letters(
    json_: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Say what is set aside and was not put back: whose it is, where it failed, and why."""
    settings, count = read_settings(), 0
    with _set_aside(settings) as reader:
        for message in chain.from_iterable(waiting(reader)):
            count += 1
            said = account(message)
            print(json.dumps(said, ensure_ascii=False) if json_ else _in_words(said))
    if not json_:
        after = "; after a fix, python -m streaming replay puts them back" if count else ""
        print(f"{_counted(count, 'dead letter')} not put back{after}")


@contextmanager
def _set_aside(settings: Settings) -> Iterator[TopicReader]:
    """Reads the dead letters from where the last replay ended."""
    dead = settings.changes_topic + SUFFIX
    build.ensure_topics(settings, [dead])
    reader = build.kafka_adapter().KafkaTopicReader(
        settings.connection(), [dead], group=_replay_group(settings)
    )
    try:
        yield reader
    finally:
        reader.close()


def _in_words(told: Mapping[str, str]) -> str:
    """One line; what came from outside stays on it."""
    said = defaultdict(lambda: "?", {name: v if v.isprintable() else repr(v) for name, v in told.items()})
    cut = f" (kept by its beginning: {said['cut']})" if "cut" in told else ""
    place = f"{said['topic']}/{said['partition']} at {said['offset']}, {said['at']}"
    return f"{said['key'] or 'no key'}: {said['stage']}: {said['reason']}{cut} [{place}]"


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Ask instead of end: SIGTERM and Ctrl-C only raise a flag; a second Ctrl-C ends at once."""
    asked = False

    def ask(_sign: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {sign: signal.signal(sign, ask) for sign in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file's lines and how many there are, where that can be told."""
    if file == "-":
        yield sys.stdin.buffer, None
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise StreamingError(
            f"{file}: {error.strerror}; name a file of JSON lines, or - for standard input"
        ) from error
    with opened:
        size = sum(1 for line in opened if line.strip())
        opened.seek(0)
        yield opened, size


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _replay_group(settings: Settings) -> str:
    return f"{settings.consumer_group}-replay"


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=errors, transient=True)


def _log_to_stderr() -> None:
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        processors.append(structlog.dev.ConsoleRenderer())
    else:
        processors.append(structlog.processors.JSONRenderer())
    structlog.configure(processors=processors, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("kafka").setLevel(logging.ERROR)  # it tells every reconnect; we tell what it means


def main() -> None:
    """Run; what goes wrong on purpose is one line and exit code 2."""
    _log_to_stderr()
    try:
        app()
    except (StreamingError, ProductIndexError, ExperimentsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
