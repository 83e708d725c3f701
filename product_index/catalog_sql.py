"""Any SQL database as a catalogue: one table or view, by URL, streamed by key range.

    CATALOGUE=postgresql+psycopg://reader@db.shop/shop#catalog.products
    CATALOGUE=sqlite:////srv/shop/catalogue.db

SQLAlchemy's URLs; after `#` the table, where it is not called `products`. Pages
follow the key (`key > last`), all in one read-only transaction, so that a page
costs the same wherever it is and all are of one moment, where the database can.
What takes a join is a view. A password in the URL is never logged nor told:
better still, leave it to PGPASSWORD, a .pgpass file or their like.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from .catalog_files import RawRow
from .columns import Columns, recognise
from .errors import CatalogueUnavailable, InvalidCatalogue

# A page is some megabytes: a round trip more or less no longer shows.
PAGE_ROWS = 5_000
CONNECT_TIMEOUT_S = 10
# How each database is asked for one moment throughout; SQLite's transactions are that anyway.
_SNAPSHOT = {
    "postgresql": "REPEATABLE READ", "mysql": "REPEATABLE READ", "mariadb": "REPEATABLE READ",
    "oracle": "SERIALIZABLE",
}  # fmt: skip
_TABLE_NAMES = ("products", "product")
# What drivers say when asking again will not help.
_HOPELESS = ("authentication", "password", "does not exist", "no such", "access denied", "unknown database",
             "permission denied", "not a database")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A table whose columns are known."""

    source: "TableSource"
    columns: Columns
    at: datetime
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSource:
    """The rows of one table or view, in the order of its key.

    Attributes:
        unique: whether the database promises that no key comes twice.
    """

    url: sa.URL = field(repr=False)
    schema: str | None
    table: str
    names: tuple[str, ...]
    key: str
    unique: bool
    page_rows: int = PAGE_ROWS

    @property
    def name(self) -> str:
        """Database and table, without user, password and options."""
        return f"{_shown(self.url)}#{_full(self.schema, self.table)}"

    @property
    def unit(self) -> str:
        """Tables are counted in rows."""
        return "row"

    def unchanged(self) -> bool:
        """What is read is of one transaction."""
        return True

    def rows(self) -> Iterator[RawRow]:
        """Every row, page by page, in one transaction; those without a key at the end.

        Raises:
            CatalogueUnavailable: the database did not answer.
            InvalidCatalogue: it answered that this cannot be read.
        """
        number = 0
        with _asking(self.url, f"reading {self.name}"), _snapshot(self.url) as connection:
            for page in self._pages(connection):
                for values in page:
                    number += 1
                    yield RawRow(line=number, values=values)
            for _ in range(self._without_key(connection)):
                number += 1
                yield RawRow(line=number, problem=f"its key {self.key!r} is NULL; fill it in")

    def _pages(self, connection: sa.Connection) -> Iterator[list[dict[str, Any]]]:
        key: sa.ColumnClause[Any] = sa.column(self.key)
        last: Any = None
        done_at_last = 0  # rows of the last key that were given out
        while True:
            asked = self._select().where(key.is_not(None) if last is None else self._from(key, last))
            rows = connection.execute(asked.order_by(key).limit(self.page_rows + done_at_last)).all()
            fresh = _after([dict(row._mapping) for row in rows], self.key, last, done_at_last)
            if not fresh:
                return
            yield [{name: _plain(value) for name, value in row.items()} for row in fresh]
            again = last is not None and fresh[-1][self.key] == last
            last = fresh[-1][self.key]
            if not self.unique:
                here = sum(row[self.key] == last for row in fresh)
                done_at_last = here + (done_at_last if again else 0)
            if len(rows) < self.page_rows:
                return

    def _from(self, key: sa.ColumnClause[Any], last: Any) -> sa.ColumnElement[bool]:
        """What follows; where a key may come twice, the page before may have ended between the two."""
        return key.__gt__(last) if self.unique else key.__ge__(last)

    def _select(self) -> sa.Select[*tuple[Any, ...]]:
        # Without types: values come as the driver gives them, for one odd value must not cost a page.
        return sa.select(*map(sa.column, dict.fromkeys([*self.names, self.key]))).select_from(self._from_())

    def _from_(self) -> sa.TableClause:
        return sa.table(self.table, schema=self.schema)

    def _without_key(self, connection: sa.Connection) -> int:
        if self.unique:
            return 0
        counted = sa.select(sa.func.count()).select_from(self._from_()).where(sa.column(self.key).is_(None))
        return int(connection.execute(counted).scalar_one())


def open_table(
    place: str, *, table: str | None, key: str | None, mapping: Mapping[str, str | Sequence[str]]
) -> Opened:
    """Find the table and recognise its columns.

    Args:
        place: SQLAlchemy's URL; the table may follow after `#`.
        table: its name, or schema.name.
        key: the column to read along; the primary key without.
        mapping: field -> column, as in catalogue.toml.

    Raises:
        InvalidCatalogue: the URL, the driver, the table or a column is not there.
        CatalogueUnavailable: the database did not answer.
    """
    url, named = _split(place)
    _check_there(url)
    with _asking(url, f"looking into {_shown(url)}"), _snapshot(url) as connection:
        inspector = sa.inspect(connection)
        schema, name = _find(inspector, url, table or named)
        declared = inspector.get_columns(name, schema=schema)
        primary = inspector.get_pk_constraint(name, schema=schema)["constrained_columns"] or []
        uniques = inspector.get_unique_constraints(name, schema=schema)
    binary = tuple(one["name"] for one in declared if isinstance(one["type"], sa.LargeBinary))
    names = tuple(one["name"] for one in declared if one["name"] not in binary)
    columns = replace(recognise(names, mapping=mapping), ignored=binary)
    if key is not None and key not in {one["name"] for one in declared}:
        raise InvalidCatalogue(f"{_shown(url)}#{_full(schema, name)} has no column {key!r}; correct `key`")
    chosen = key or (primary[0] if len(primary) == 1 else columns.fields["product_id"])
    required = {one["name"] for one in declared if not one["nullable"]} | set(primary)
    promised = [primary, *(one["column_names"] for one in uniques)]
    source = TableSource(
        url=url,
        schema=schema,
        table=name,
        names=names,
        key=chosen,
        unique=[chosen] in promised and chosen in required,
    )
    remarks = []
    if url.get_backend_name() not in {*_SNAPSHOT, "sqlite"}:
        remarks.append(f"{url.get_backend_name()} is not read as of one moment; read it while nobody writes")
    return Opened(source=source, columns=columns, at=datetime.now(UTC), remarks=tuple(remarks))


def _after(rows: list[dict[str, Any]], key: str, last: Any, done: int) -> list[dict[str, Any]]:
    """Leave out the rows of the last key that were given out before."""
    given_out = 0
    while given_out < min(done, len(rows)) and rows[given_out][key] == last:
        given_out += 1
    return rows[given_out:]


def _split(place: str) -> tuple[sa.URL, str | None]:
    address, _, table = place.partition("#")
    try:
        return sa.make_url(address), table or None
    except (exc.ArgumentError, ValueError):
        raise InvalidCatalogue(
            "the catalogue's URL cannot be read as one; write it like postgresql+psycopg://host/shop#products"
        ) from None  # the cause may hold the password


def _check_there(url: sa.URL) -> None:
    """Asking must not make an empty database."""
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise InvalidCatalogue(
            f"there is no SQLite file {url.database!r}; give its path: sqlite:///relative or sqlite:////absolute"
        )


def _find(inspector: sa.Inspector, url: sa.URL, named: str | None) -> tuple[str | None, str]:
    schema, _, name = (named or "").rpartition(".")
    there = [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]
    if not name:
        name = next((one for one in _TABLE_NAMES if one in there), there[0] if len(there) == 1 else "")
    if name not in there:
        said = f"no table {named!r}" if named else "no table 'products'"
        raise InvalidCatalogue(
            f"{_shown(url)} has {said}; there are: {', '.join(sorted(there)) or 'none'}; "
            "name one after # in the URL, or as `table` in catalogue.toml"
        )
    return schema or None, name


@contextmanager
def _snapshot(url: sa.URL) -> Iterator[sa.Connection]:
    """A connection in one read-only transaction."""
    engine = _engine(url)
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


def _engine(url: sa.URL) -> sa.Engine:
    backend = url.get_backend_name()
    options: dict[str, Any] = {"isolation_level": _SNAPSHOT[backend]} if backend in _SNAPSHOT else {}
    if backend in {"postgresql", "mysql", "mariadb"} and "connect_timeout" not in url.query:
        options["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT_S}
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool, hide_parameters=True, **options)
    if backend == "sqlite":
        event.listen(engine, "connect", _read_only_sqlite)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    if backend == "postgresql":
        event.listen(
            engine, "begin", lambda connection: connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        )
    return engine


def _read_only_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin no transaction for a SELECT
    connection.execute("PRAGMA query_only = ON")


@contextmanager
def _asking(url: sa.URL, what: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidCatalogue(
            f"{url.drivername!r} needs the package {error.name!r}, which is not installed; install it, "
            "or name another driver: postgresql+psycopg://"
        ) from None
    except exc.NoSuchModuleError:
        raise InvalidCatalogue(
            f"{url.drivername!r} is no database that SQLAlchemy knows; write postgresql+psycopg, "
            "mysql+pymysql, sqlite, ..."
        ) from None
    except exc.DBAPIError as error:
        said = _said(error.orig, url)
        away = isinstance(error, (exc.OperationalError, exc.InterfaceError, exc.InternalError))
        if away and not any(word in said.casefold() for word in _HOPELESS):
            raise CatalogueUnavailable(f"{what}: {said}; try again when it answers") from None
        raise InvalidCatalogue(f"{what}: {said}; correct the URL, the table or its rights") from None
    except exc.SQLAlchemyError as error:
        raise InvalidCatalogue(f"{what}: {_said(error, url)}; correct the URL or the table") from None


def _said(error: BaseException | None, url: sa.URL) -> str:
    """The driver's words on one line; the cause is not chained, for it may hold the password."""
    words = " ".join(str(error).split())
    secrets = [url.password, *(value for values in url.normalized_query.values() for value in values)]
    for secret in secrets:
        if secret:
            words = words.replace(secret, "***")
    return words[:300]


def _shown(url: sa.URL) -> str:
    return sa.URL.create(
        url.drivername, host=url.host, port=url.port, database=url.database
    ).render_as_string()


def _full(schema: str | None, table: str) -> str:
    return f"{schema}.{table}" if schema else table


def _plain(value: object) -> object:
    """A driver's value as a row of JSON would have it."""
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if whole else float(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, (bytes, memoryview)) else value
