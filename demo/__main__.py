"""Walk the four journeys; with `train`, make the encoder again; with `servers`, run Kafka and Milvus."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated

import structlog
import typer
from rich.console import Console

from experiments.errors import ExperimentsError
from product_index.errors import ProductIndexError
from streaming.errors import StreamingError

from .home import alone_in, open_home
from .processes import StackError
from .tastes import NothingWantedError

app = typer.Typer(
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # of more than one paragraph it fills the lines anew
    help=__doc__,
)

Products = Annotated[int, typer.Option(min=50, envvar="DEMO_PRODUCTS", help="How many are rendered.")]
Shoppers = Annotated[int, typer.Option(min=20, envvar="DEMO_SHOPPERS", help="How many are simulated.")]


@app.callback()
def main(context: typer.Context, products: Products = 2_000, shoppers: Shoppers = 4_000) -> None:
    """Walk the four journeys with real parts, and write a weekly report."""
    if context.invoked_subcommand is None:
        with _one_sentence_errors():
            from .walk import walk

            home = open_home(os.environ)
            with alone_in(home.folder), _log_lines_to(home.folder / "logs" / "demo.log"):
                walk(home, Console(highlight=False), products=products, shoppers=shoppers)


@app.command()
def train() -> None:
    """Render shops, make pairs, train the encoder and export it to demo/model."""
    with _one_sentence_errors():
        from .training import train_encoder

        train_encoder(Console(highlight=False))


@app.command()
def servers(
    kafka_port: Annotated[int, typer.Option(min=1, max=65535, help="Of Kafka.")] = 9092,
    milvus_port: Annotated[int, typer.Option(min=1, max=65535, help="Of Milvus.")] = 19530,
) -> None:
    """Serve an empty Kafka, and Milvus on DEMO_HOME/index.db, on loopback until Ctrl-C: to try things on.

    What KAFKA_BOOTSTRAP or MILVUS_URI names already is used, not started. What is in Kafka goes with it; the
    index stays.
    """
    with _one_sentence_errors(again="`python -m demo servers`"):
        from .home import DEFAULT_HOME
        from .stack import Stack

        folder = Path(os.environ.get("DEMO_HOME") or DEFAULT_HOME)
        folder.mkdir(parents=True, exist_ok=True)
        with alone_in(folder), Stack(folder) as stack:
            stack.check_named()
            milvus, kafka = stack.milvus(port=milvus_port), stack.kafka(port=kafka_port)
            with suppress(KeyboardInterrupt):  # from here on it is how one ends it, and no mishap
                print("both answer; in every other terminal:")
                print(f"export MILVUS_URI={milvus.uri} KAFKA_BOOTSTRAP={kafka.bootstrap}", flush=True)
                Event().wait()


@contextmanager
def _log_lines_to(path: Path) -> Iterator[None]:
    """The rooms' log lines go to a file; the screen is for people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.WriteLoggerFactory(file),
        )
        try:
            yield
        finally:
            structlog.reset_defaults()


@contextmanager
def _one_sentence_errors(*, again: str = "`make demo`") -> Iterator[None]:
    """What goes wrong is one sentence and an exit code: 2, or 128 and the signal that ended us."""
    interrupted = False

    def interrupt(_sign: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True  # a module that is being imported turns what we raise into an error of its own
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except SystemExit as error:
        if error.code in _STOPPED:
            _complain(_GOODBYE.format(again=again))
        raise
    except BaseException as error:
        if interrupted:
            _complain("\n" + _GOODBYE.format(again=again))
            raise SystemExit(128 + signal.SIGINT) from None
        if (sentence := _sentence(error)) is None:
            raise
        _complain(f"error: {sentence}")
        raise SystemExit(2) from None


_GOODBYE = "stopped; everything that was started has been ended. {again} starts again"
_STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGHUP)
_ON_PURPOSE = (StackError, ProductIndexError, ExperimentsError, StreamingError, NothingWantedError)


def _sentence(error: BaseException) -> str | None:
    """What a person is told; None for what nobody has foreseen."""
    if isinstance(error, _ON_PURPOSE):
        return str(error)
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror or error}; is the disk full or read-only? Then try again"
    return None


def _complain(line: str) -> None:
    with suppress(OSError):  # the terminal may have been closed
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    app(prog_name="python -m demo")
