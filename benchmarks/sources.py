"""How fast a snapshot is taken from each kind of catalogue: rows a second into parts of a rebuild.

    python -m benchmarks.sources --rows 50000

The same rows as JSON Lines, CSV, Parquet, SQLite and (where it is installed) PostgreSQL.
One process, as `begin` is.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import sqlalchemy as sa

from benchmarks.goods import write_goods
from product_index.catalog import open_catalogue
from product_index.encoder import HashEncoder
from product_index.rebuild import begin
from tests.product_index.postgres import NoPostgres, postgres

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def places(folder: Path, rows: int, stack: ExitStack) -> Iterator[tuple[str, Path | str]]:
    """Each kind of catalogue, filled."""
    file = write_goods(folder / "jsonl", rows, pictures=1) / "products.jsonl"
    table = pa_json.read_json(file)
    pq.write_table(table, folder / "products.parquet")
    pa_csv.write_csv(table, folder / "products.csv")
    yield from (
        ("JSON Lines", file),
        ("CSV", folder / "products.csv"),
        ("Parquet", folder / "products.parquet"),
    )
    yield "SQLite", _filled(f"sqlite:///{folder / 'shop.db'}", file)
    try:
        yield "PostgreSQL", _filled(stack.enter_context(postgres()), file)
    except NoPostgres as why:
        print(why)


def _filled(url: str, file: Path) -> str:
    columns = ("id", "title", "version", "updated_at", "image", "description", "price", "category", "colour")
    types = {"id": "TEXT PRIMARY KEY", "version": "BIGINT", "price": "NUMERIC"}
    declared = ", ".join(f"{name} {types.get(name, 'TEXT')}" for name in columns)
    engine = sa.create_engine(url)
    with engine.begin() as connection, file.open(encoding="utf-8") as lines:
        connection.execute(sa.text(f"CREATE TABLE products ({declared})"))
        connection.execute(
            sa.table("products", *map(sa.column, columns)).insert(), [json.loads(line) for line in lines]
        )
    engine.dispose()
    return url


def main() -> None:
    """Measure and print."""
    said = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    said.add_argument("--rows", type=int, default=50_000)
    rows = said.parse_args().rows
    print("| catalogue | rows | rows/s |\n|---|--:|--:|")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        for kind, place in places(Path(name), rows, stack):
            began = time.perf_counter()
            plan = begin(
                open_catalogue(place), HashEncoder(), alias="products", folder=Path(name) / kind, now=NOW,
                seed=kind,
            )  # fmt: skip
            print(
                f"| {kind} | {plan.products:,} | {plan.products / (time.perf_counter() - began):,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
