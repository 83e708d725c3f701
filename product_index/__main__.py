"""Ask the index, see what is served, read a catalogue, roll back."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import structlog
import typer
from rich.console import Console
from rich.table import Table

from . import publish
from .build import build_database, build_encoder, build_local_pictures
from .catalog import PAGE_SIZE, Report, open_catalogue
from .embedding import check_same_space
from .errors import InvalidQuery, ModelMismatch, ProductIndexError, UnknownCollection
from .pictures import Sought
from .search import check_question, search_products
from .settings import Settings, read_settings
from .vector_store import Filter, Hit, VectorDatabase

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
out = Console()

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")]


# Enough to see that the folder is the wrong one; more would be a build's work.
PICTURES_LOOKED_FOR = 1_000


@app.command()
def search(  # noqa: PLR0917 - the options of a command line
    text: Annotated[str | None, typer.Argument(help="What a shopper would type.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture file to search by, alone or with the text.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many, 1 to 1000.")] = 10,
    category: Annotated[str | None, typer.Option(help="Only of this category.")] = None,
    brand: Annotated[str | None, typer.Option(help="Only of this brand.")] = None,
    price_min: Annotated[float | None, typer.Option(help="Only at this price or above.")] = None,
    price_max: Annotated[float | None, typer.Option(help="Only at this price or below.")] = None,
    in_stock: Annotated[bool, typer.Option("--in-stock", help="Only what is in stock.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find products by words, by a picture, or by both."""
    with _one_sentence_errors():
        where = Filter(
            category=category,
            brand=brand,
            price_min=price_min,
            price_max=price_max,
            in_stock=in_stock or None,
        )
        picture = None if image is None else _read_image(image)
        check_question(text=text, image=picture, limit=limit)
        settings = read_settings()
        encoder = build_encoder(settings)
        with _open_database(settings) as database:
            hits = search_products(
                database,
                encoder,
                alias=settings.product_alias,
                text=text,
                image=picture,
                limit=limit,
                where=where,
            )
    if as_json:
        print(json.dumps([asdict(hit) for hit in hits], ensure_ascii=False, indent=1))
        return
    out.print(_hits_table(hits) if hits else "nothing found; try without filters")


@app.command()
def catalogue(
    path: Annotated[
        str, typer.Argument(help="A folder with products.*, a file, a catalogue.toml, or a database's URL.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show what is recognised in a catalogue, which rows are bad, and whether its pictures are there."""
    report = Report()
    with _one_sentence_errors():
        opened = open_catalogue(path)
        settings = read_settings().model_copy(update={"catalogue": path})
        sought = Sought(build_local_pictures(settings), at_most=PICTURES_LOOKED_FOR)
        for page in opened.pages(PAGE_SIZE, report=report):
            for change in page:
                sought.look(change.product.image_uris if change.product else ())
    columns = opened.columns
    if as_json:
        problems = [asdict(problem) for problem in report.problems]
        counts = {"rows": report.rows, "usable": report.usable, "bad": report.bad, "noticed": report.noticed}
        found = {"named": sought.named, "missing": sought.missing, "addresses": sought.addresses}
        said = {"source": opened.name, **asdict(columns), **counts, "pictures_looked_for": found}
        said |= {"remarks": opened.remarks, "problems": problems}
        print(json.dumps(said, ensure_ascii=False, indent=1))
        return
    table = Table("field", "column")
    for field, column in columns.fields.items():
        table.add_row(field, column)
    for field, names in (
        ("pictures", columns.pictures), ("more attributes", columns.attributes), ("ignored", columns.ignored)
    ):  # fmt: skip
        table.add_row(field, ", ".join(names) or "-")
    out.print(table)
    out.print(
        f"{report.rows} rows: {_counted(report.usable, 'product')}, {_counted(report.bad, 'bad row')}, "
        f"{_counted(report.noticed, 'value')} not used"
    )
    if pictures := sought.sentence():
        out.print(f"pictures: {pictures}", markup=False, highlight=False, soft_wrap=True)
    for sentence in [*opened.remarks, *(problem.sentence for problem in report.problems[:20])]:
        out.print(f"  {sentence}", markup=False, highlight=False, soft_wrap=True)
    if report.bad + report.noticed > 20:
        out.print(f"  ... and {report.bad + report.noticed - 20} more; --json shows them")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show which collection is served, of which model, and what else is there."""
    with _one_sentence_errors():
        settings = read_settings()
        alias = settings.product_alias
        with _open_database(settings) as database:
            live, before = database.resolve(alias), database.resolve(publish.previous_alias(alias))
            rows = []
            for name in database.names():
                store = database.open(name)
                role = "live" if name == live else "previous" if name == before else ""
                rows.append(
                    {"collection": name, "role": role, "products": store.count(), **asdict(store.spec)}
                )
            if live is not None:
                _warn_of_another_model(settings, database, alias)
    if as_json:
        print(json.dumps({"alias": alias, "live": live, "previous": before, "collections": rows}, indent=1))
        return
    table = Table("collection", "role", "products", "model", title=f"{settings.milvus_uri}, alias {alias}")
    for row in rows:
        table.add_row(str(row["collection"]), str(row["role"]), str(row["products"]), str(row["model_id"]))
    out.print(
        table if rows else f"no collections at {settings.milvus_uri} yet; refresh_product_index builds one"
    )


@app.command()
def rollback(as_json: AsJson = False) -> None:
    """Serve again the collection that was served before the last switch."""
    with _one_sentence_errors():
        settings = read_settings()
        with _open_database(settings) as database:
            done = publish.rollback(database, settings.product_alias)
    if as_json:
        print(json.dumps({"alias": settings.product_alias, "live": done.live, "previous": done.before}))
        return
    out.print(f"{settings.product_alias} -> {done.live} (was {done.before})", highlight=False, soft_wrap=True)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _hits_table(hits: list[Hit]) -> Table:
    table = Table("score", "product", "title", "category", "price")
    for hit in hits:
        price = "" if hit.price is None else f"{hit.price:.2f}"
        table.add_row(f"{hit.score:.3f}", hit.product_id, hit.title, hit.category, price)
    return table


def _read_image(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidQuery(
            f"image {str(path)!r} cannot be read ({error.strerror}); give a picture file"
        ) from error


def _warn_of_another_model(settings: Settings, database: VectorDatabase, alias: str) -> None:
    store = database.open(alias)
    try:
        check_same_space(build_encoder(settings), store.spec, store.name)
    except ModelMismatch as error:
        typer.echo(f"warning: {error}", err=True)


@contextmanager
def _open_database(settings: Settings) -> Iterator[VectorDatabase]:
    uri = settings.milvus_uri
    if uri.endswith(".db") and "://" not in uri and not Path(uri).exists():
        raise UnknownCollection(  # asking must not make an empty one
            f"there is no index at MILVUS_URI={uri}; `make demo` makes one, or set MILVUS_URI to yours"
        )
    database = build_database(settings)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _one_sentence_errors() -> Iterator[None]:
    try:
        yield
    except ProductIndexError as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"error: {' '.join(sentence.split())}", err=True)
    raise typer.Exit(2)


def _log_to_stderr() -> None:
    factory: Callable[..., structlog.PrintLogger] = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(logger_factory=factory)


if __name__ == "__main__":
    _log_to_stderr()
    app()
