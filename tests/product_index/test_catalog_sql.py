"""A table as a catalogue: whole, of one moment, and with nothing said that should not be."""

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from product_index.build import build_pictures
from product_index.catalog import Catalogue, Report, open_catalogue
from product_index.catalog_sql import TableSource
from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from product_index.errors import (
    CatalogueUnavailable,
    InvalidCatalogue,
    PictureMissing,
    ProductIndexError,
    Retryable,
)
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.product import ProductChange
from product_index.rebuild import begin
from product_index.reconcile import reconcile
from product_index.refresh import refresh_page
from product_index.settings import Settings
from product_index.shards import read_changes

from .postgres import PASSWORD, NoPostgres, postgres

ROWS = [
    {"sku": f"p{n:04}", "name": f"Mug {n}", "price": None if n % 7 == 0 else f"{n}.50", "brand": "Acme",
     "stock": n % 3, "updated_at": "2026-11-20T10:00:00+00:00", "version": n, "image": f"{n}.jpg",
     "attributes": json.dumps({"material": "clay"})}
    for n in range(1, 24)
]  # fmt: skip
COLUMNS = {
    "sqlite": "sku TEXT PRIMARY KEY, name TEXT, price NUMERIC, brand TEXT, stock INTEGER, updated_at TEXT, "
    "version BIGINT, image TEXT, attributes TEXT, photo BLOB",
    "postgresql": "sku TEXT PRIMARY KEY, name TEXT, price NUMERIC(10, 2), brand TEXT, stock INTEGER, "
    "updated_at TIMESTAMPTZ, version BIGINT, image TEXT, attributes JSONB, photo BYTEA",
}


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    try:
        with postgres() as url:
            yield url
    except NoPostgres as why:
        pytest.skip(str(why))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        found = f"sqlite:///{tmp_path / 'shop.db'}"
        run(found, "PRAGMA journal_mode = WAL")
        yield found
        return
    found = str(request.getfixturevalue("postgres_url"))
    yield found
    run(found, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


def run(url: str, *statements: str, rows: list[dict[str, Any]] | None = None) -> None:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(sa.text(statement), rows or {})
        connection.commit()
    engine.dispose()


def fill(url: str, table: str = "products", rows: list[dict[str, Any]] = ROWS) -> None:
    kind = "sqlite" if url.startswith("sqlite") else "postgresql"
    run(url, f"CREATE TABLE {table} ({COLUMNS[kind]})")
    insert(url, rows, table)


def insert(url: str, rows: list[dict[str, Any]], table: str = "products") -> None:
    names = list(rows[0])
    cast = {} if url.startswith("sqlite") else {
        "price": "NUMERIC", "updated_at": "TIMESTAMPTZ", "attributes": "JSONB"
    }  # fmt: skip
    values = ", ".join(f"CAST(:{name} AS {cast[name]})" if name in cast else f":{name}" for name in names)
    run(url, f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})", rows=rows)  # noqa: S608 - own names


def read(catalogue: Catalogue, report: Report | None = None) -> list[ProductChange]:
    return [change for page in catalogue.pages(7, report=report) for change in page]


def in_pages_of(size: int, catalogue: Catalogue) -> Catalogue:
    assert isinstance(catalogue.source, TableSource)
    return replace(catalogue, source=replace(catalogue.source, page_rows=size))


def test_a_table_gives_what_a_file_of_the_same_rows_gives(url: str, tmp_path: Path) -> None:
    """Whatever types the database has for them."""
    fill(url)
    (tmp_path / "products.jsonl").write_text(
        "".join(json.dumps(row | {"attributes": {"material": "clay"}}) + "\n" for row in ROWS)
    )

    opened = open_catalogue(url)

    assert read(open_catalogue(tmp_path / "products.jsonl")) == read(opened)
    assert (("photo",), "sku", True) == (opened.columns.ignored, opened.source.key, opened.source.unique)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [1, 5, 23, 24, 1000])
def test_every_row_comes_once_whatever_the_page(url: str, size: int) -> None:
    fill(url)

    ids = [change.product_id for change in read(in_pages_of(size, open_catalogue(url)))]

    assert [row["sku"] for row in ROWS] == ids


def test_the_snapshot_is_of_one_moment(url: str) -> None:
    """What is written while pages are read belongs to the next snapshot."""
    fill(url)
    rows = in_pages_of(2, open_catalogue(url)).source.rows()
    first = next(rows)

    run(url, "DELETE FROM products WHERE sku = 'p0009'", "UPDATE products SET name = 'new'")
    insert(url, [ROWS[0] | {"sku": "p0010b"}])
    found = [first, *rows]

    assert [row["sku"] for row in ROWS] == [one.values["sku"] for one in found if one.values]
    assert "new" not in {one.values["name"] for one in found if one.values}
    assert "new" in {change.product.title for change in read(open_catalogue(url)) if change.product}


def test_parts_are_key_ranges_and_twice_is_the_same_bytes(url: str, tmp_path: Path) -> None:
    """So a shard is a pure function of snapshot, key range and model."""
    fill(url)
    plans = [
        begin(open_catalogue(url), HashEncoder(), alias="products", folder=tmp_path / place,
              now=datetime(2026, 11, 20, tzinfo=UTC), seed="night", part_rows=5)
        for place in ("one", "two")
    ]  # fmt: skip

    one, two = ([(plan.folder / part).read_bytes() for (part,) in plan.shards] for plan in plans)
    ranges = [
        [change.product_id for change in read_changes(plans[0].folder / part)] for (part,) in plans[0].shards
    ]

    assert one == two
    assert [5, 5, 5, 5, 3] == [len(ids) for ids in ranges]
    assert all(left[-1] < right[0] for left, right in pairwise(ranges))


def test_a_table_is_reconciled_as_a_file_is(url: str) -> None:
    """What the index misses, and what the shop no longer has, is told as changes for the stream."""
    fill(url)
    encoder = HashEncoder()
    store = InMemoryVectorDatabase().create("products_v1", spec_of(encoder))
    changes = read(open_catalogue(url))
    refresh_page(changes[1:], encoder, store, NoPictures(), now=datetime(2026, 11, 20, 12, tzinfo=UTC))
    run(
        url,
        "DELETE FROM products WHERE sku = 'p0023'",
        "UPDATE products SET name = 'new' WHERE sku = 'p0005'",
    )

    found = reconcile(open_catalogue(url), store, max_orphans=0.5)

    assert (["p0001"], ["p0005"], ["p0023"]) == tuple(
        [change.product_id for change in some] for some in (found.missing, found.differing, found.orphans)
    )


def test_a_view_without_a_promise_may_hold_an_id_twice_and_one_without(url: str) -> None:
    """Reported by row, as in a file; nothing is lost where a page ends between two of them."""
    fill(url)
    insert(url, [ROWS[0] | {"sku": f"q{n}", "name": "twice"} for n in range(4)])
    run(
        url,
        "CREATE VIEW shown AS SELECT CASE WHEN name = 'twice' THEN 'p0005' WHEN sku = 'p0002' THEN NULL "
        "ELSE sku END AS sku, name, price FROM products",
    )
    for size in (1, 2, 3, 5, 100):
        report = Report()

        found = read(in_pages_of(size, open_catalogue(f"{url}#shown")), report)

        assert (27, 22, 5) == (report.rows, len(found), report.bad), size
        said = " ".join(problem.sentence for problem in report.problems)
        assert "#shown, row 5: id 'p0005' came on row 4 already" in said
        assert "row 27: its key 'sku' is NULL" in said


@settings(max_examples=30)
@given(ids=st.lists(st.integers(0, 6), min_size=1, max_size=25), size=st.integers(1, 6))
def test_no_row_is_lost_or_doubled_by_paging(
    ids: list[int], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('paging') / 'shop.db'}"
    run(url, "CREATE TABLE products (id INTEGER, name TEXT)")
    run(url, "INSERT INTO products VALUES (:id, 'x')", rows=[{"id": one} for one in ids])

    rows = list(in_pages_of(size, open_catalogue(url)).source.rows())

    assert sorted(ids) == [row.values["id"] for row in rows if row.values]


def test_a_catalogue_toml_names_table_key_columns_and_pictures(url: str, tmp_path: Path) -> None:
    run(
        url,
        "CREATE TABLE goods (entity INTEGER PRIMARY KEY, code TEXT, article TEXT, front TEXT)",
        "INSERT INTO goods VALUES (2, 'a', 'Mug', 'm.jpg'), (1, 'b', 'Lamp', 'l.jpg')",
    )
    folder = tmp_path / "catalogue"
    (folder / "photos").mkdir(parents=True)
    (folder / "catalogue.toml").write_text(
        f'url = {json.dumps(url)}\ntable = "goods"\nkey = "entity"\npictures = "photos"\n'
        '[columns]\nproduct_id = "code"\ntitle = "article"\nimages = "front"\n'
    )

    opened = open_catalogue(folder)
    found = [change.product for change in read(opened)]

    assert [("b", "Lamp", ("l.jpg",)), ("a", "Mug", ("m.jpg",))] == [
        (one.product_id, one.title, one.image_uris) for one in found if one
    ]
    assert folder / "photos" == opened.picture_root


def test_where_pictures_are_is_known_without_the_database(tmp_path: Path) -> None:
    """A shard needs the pictures, not the tables: a hundred workers do not all knock there."""
    (tmp_path / "mug.jpg").write_bytes(b"photo")
    (tmp_path / "catalogue.toml").write_text('url = "postgresql+psycopg://127.0.0.1:1/shop"')

    beside = build_pictures(Settings(catalogue=tmp_path, picture_cache=tmp_path / "kept"))
    nowhere = build_pictures(Settings(catalogue="sqlite:///none.db", picture_cache=tmp_path / "kept"))

    assert b"photo" == beside.read("mug.jpg")
    with pytest.raises(PictureMissing):
        nowhere.read("mug.jpg")


@pytest.mark.parametrize(
    ("make", "pattern"),
    [(lambda url: url + "#nowhere", r"no table 'nowhere'; there are: goods"),
     (lambda url: url, r"no table 'products'; there are: goods, other; name one after #"),
     (lambda url: "klingon://host/shop", "'klingon' is no database"),
     (lambda url: "mysql+oursql://u:pw-in-url@host/shop", "oursql"),
     (lambda url: "sqlite:///nowhere.db#products", "no SQLite file 'nowhere.db'"),
     (lambda url: "postgresql://host:port/shop://", "cannot be read as one")],
)  # fmt: skip
def test_what_is_not_there_is_said_in_one_sentence(
    url: str, make: Callable[[str], str], pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(url, "CREATE TABLE goods (id INTEGER)", "CREATE TABLE other (id INTEGER)")

    with pytest.raises(InvalidCatalogue, match=pattern) as raised:
        open_catalogue(make(url))

    assert "pw-in-url" not in str(raised.value)
    assert not Path("nowhere.db").exists()


def test_a_column_that_changed_its_type_is_one_error(url: str, tmp_path: Path) -> None:
    """Not thousands of remarks: and the rebuild has no plan, so nothing is served of it."""
    fill(url)
    kind = "TEXT" if url.startswith("sqlite") else "TEXT USING 'see shop'"
    if url.startswith("sqlite"):
        run(url, "UPDATE products SET price = 'see shop'")
    else:
        run(url, f"ALTER TABLE products ALTER COLUMN price TYPE {kind}")

    with pytest.raises(InvalidCatalogue, match=r"'price' cannot be read as price in 23 of 23 rows.*see shop"):
        begin(open_catalogue(url), HashEncoder(), alias="products", folder=tmp_path / "rebuild",
              now=datetime(2026, 11, 20, tzinfo=UTC), seed="night")  # fmt: skip

    assert [] == list((tmp_path / "rebuild").rglob("plan.json"))


def test_an_empty_table_is_refused(url: str) -> None:
    fill(url)
    run(url, "DELETE FROM products")

    with pytest.raises(InvalidCatalogue, match="no usable product among 0 rows"):
        read(open_catalogue(url))


def everything_said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_a_password_is_never_told(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not in errors, their causes, records or logs."""
    caplog.set_level(logging.DEBUG)
    right, secret = postgres_url, "wr0ng-s3cret"
    broken = [
        (right.replace("shop:", f"shop:{secret}", 1), InvalidCatalogue),
        (right.rsplit("@", 1)[0] + "@127.0.0.1:1/shop", CatalogueUnavailable),
        (right.rsplit("@", 1)[0] + "@127.0.0.1:1/shop?password=wr0ng-s3cret", CatalogueUnavailable),
        (right.replace("/shop", "/nowhere"), InvalidCatalogue),
        (right + "#nowhere", InvalidCatalogue),
        (right.replace("127.0.0.1:", "127.0.0.1:x"), InvalidCatalogue),
    ]
    quoted = right.split("shop:")[1].split("@")[0]
    said = [repr(Settings(catalogue=right))]
    run(right, "CREATE TABLE products (id TEXT PRIMARY KEY)", "INSERT INTO products VALUES ('a')")
    opened = open_catalogue(right)
    said += [repr(opened), opened.name]
    run(right, "DROP TABLE products")
    for address, kind in [*broken, (right, InvalidCatalogue)]:
        with pytest.raises(kind) as raised:
            open_catalogue(address)
        said.append(everything_said(raised.value))
    with pytest.raises(InvalidCatalogue, match="products") as raised:  # the table is gone meanwhile
        read(opened)
    said += [everything_said(raised.value), caplog.text]

    for text in said:
        assert not any(one in text for one in (PASSWORD, quoted, secret)), text


def test_a_connection_that_breaks_is_worth_another_try(postgres_url: str) -> None:
    fill(postgres_url)
    rows = in_pages_of(2, open_catalogue(postgres_url)).source.rows()
    next(rows)

    run(postgres_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = 'shop'")  # fmt: skip
    with pytest.raises(Retryable, match="try again"):
        list(rows)

    assert issubclass(CatalogueUnavailable, ProductIndexError)
    run(postgres_url, "DROP TABLE products")
