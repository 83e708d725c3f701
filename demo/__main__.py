"""`python -m demo`: walk the four journeys; `python -m demo train`: make the encoder again."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

from experiments.errors import ExperimentsError
from product_index.errors import ProductIndexError
from streaming.errors import StreamingError

from .home import open_home
from .processes import StackError
from .tastes import NothingWantedError

app = typer.Typer(
    add_completion=False, invoke_without_command=True, pretty_exceptions_enable=False, help=__doc__
)

Products = Annotated[int, typer.Option(min=50, envvar="DEMO_PRODUCTS", help="How many are rendered.")]
Shoppers = Annotated[int, typer.Option(min=20, envvar="DEMO_SHOPPERS", help="How many are simulated.")]


@app.callback()
def main(context: typer.Context, products: Products = 2_000, shoppers: Shoppers = 4_000) -> None:
    """Walk the four journeys with real parts, and write a weekly report."""
    if context.invoked_subcommand is None:
        from .walk import walk

        with _one_sentence_errors():
            home = open_home(os.environ)
            with _log_lines_to(home.folder / "logs" / "demo.log"):
                walk(home, Console(highlight=False), products=products, shoppers=shoppers)


@app.command()
def train() -> None:
    """Render shops, make pairs, train the encoder and export it to demo/model."""
    from .training import train_encoder

    with _one_sentence_errors():
        train_encoder(Console(highlight=False))


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
def _one_sentence_errors() -> Iterator[None]:
    try:
        yield
    except (StackError, ProductIndexError, ExperimentsError, StreamingError, NothingWantedError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        print(
            f"error: {named}{error.strerror or error}; is the disk full or read-only? Then try again",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(
            "\nstopped; everything that was started has been ended. `make demo` starts again", file=sys.stderr
        )
        raise SystemExit(130) from None


if __name__ == "__main__":
    app(prog_name="python -m demo")
