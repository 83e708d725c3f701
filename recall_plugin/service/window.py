"""Products of the catalogue, to show beside ids; and a plain word search to compare with.

For the console only. The word search stands in for the host's own where there
is none at hand: SQLite's full-text index over the catalogue, in memory.
"""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from threading import Lock

import structlog

from product_index.build import build_catalogue, build_pictures
from product_index.errors import PictureMissing, ProductIndexError
from product_index.pictures import Pictures
from product_index.product import Product
from product_index.settings import read_settings
from product_index.vector_store import Filter

from .problems import Problem

log = structlog.get_logger(__name__)

# A page to look at things needs no more, and half a gigabyte holds as many.
MAX_PRODUCTS = 200_000
MAX_CHOICES = 200
MAX_TRIES = 6
_MAX_WORDS = 32
_SCHEMA = """
CREATE TABLE card (
    number INTEGER PRIMARY KEY, product_id TEXT UNIQUE, title TEXT, category TEXT, brand TEXT,
    price REAL, currency TEXT, in_stock INTEGER, picture TEXT
);
CREATE VIRTUAL TABLE words USING fts5 (title, text, category, brand, tokenize = "porter unicode61");
"""
# A word in the title says more about a product than one in the description.
_WEIGHTS = "8.0, 1.0, 3.0, 3.0"
_BEGINNINGS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


class Window:
    """The catalogue's products; empty until they are put in."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.executescript(_SCHEMA)
        self._pictures: Pictures | None = None
        self.state = "being read"

    def fill_from_settings(self) -> None:
        """Read the catalogue that CATALOGUE names; without one the window stays empty. Never raises."""
        settings = read_settings()
        if settings.catalogue is None:
            self.state = "CATALOGUE is not set, so there are no pictures and no word search here"
            return
        try:
            pictures = build_pictures(settings)
            for page in build_catalogue(settings).pages():
                self.put(change.product for change in page if change.product is not None)
                if len(self) >= MAX_PRODUCTS:
                    break
            self._pictures = pictures
            self.state = f"{len(self)} products"
        except ProductIndexError as error:
            self.state = str(error)
            log.warning("window_not_filled", why=str(error))

    def put(self, products: Iterable[Product]) -> None:
        """Add products; one that is there already stays as it is."""
        with self._lock, self._database:
            for product in products:
                row = (
                    product.product_id, product.title, product.category, product.brand, product.price,
                    product.currency, product.in_stock, next(iter(product.image_uris), None),
                )  # fmt: skip
                made = self._database.execute(
                    "INSERT OR IGNORE INTO card (product_id, title, category, brand, price, currency, "
                    "in_stock, picture) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
                if made.rowcount:
                    more = " ".join((product.description, *product.attributes.values()))
                    self._database.execute(
                        "INSERT INTO words (rowid, title, text, category, brand) VALUES (?, ?, ?, ?, ?)",
                        (made.lastrowid, product.title, more, product.category, product.brand),
                    )

    def __len__(self) -> int:
        with self._lock:
            return int(self._database.execute("SELECT count(*) FROM card").fetchone()[0])

    def search(self, text: str | None, *, limit: int, where: Filter | None) -> list[str]:
        """Ids of products that share a word with the text, best first; none without words."""
        words = list(dict.fromkeys(re.findall(r"[^\W_]+", (text or "").lower())))[:_MAX_WORDS]
        if not words:
            return []
        conditions, values = _conditions(where)
        match = " OR ".join(f'"{word}"' for word in words)  # quoted, a word is a word
        with self._lock:
            rows = self._database.execute(
                "SELECT product_id FROM words JOIN card ON number = words.rowid "  # noqa: S608
                f"WHERE words MATCH ?{conditions} ORDER BY bm25(words, {_WEIGHTS}), product_id LIMIT ?",
                (match, *values, limit),
            ).fetchall()
        return [product_id for (product_id,) in rows]

    def cards(self, product_ids: Sequence[str]) -> dict[str, dict[str, object]]:
        """What to show of these products; those that are not known are left out."""
        marks = ", ".join("?" * len(product_ids))
        with self._lock:
            rows = self._database.execute(
                "SELECT product_id, title, category, brand, price, currency, in_stock, "  # noqa: S608
                f"picture IS NOT NULL FROM card WHERE product_id IN ({marks})",
                tuple(product_ids),
            ).fetchall()
        names = ("title", "category", "brand", "price", "currency", "in_stock", "has_picture")
        return {
            row[0]: dict(zip(names, (*row[1:6], bool(row[6]), bool(row[7])), strict=True)) for row in rows
        }

    def choices(self) -> dict[str, list[str]]:
        """Categories and brands, the most frequent first."""
        with self._lock:
            return {
                column: [
                    value
                    for (value,) in self._database.execute(
                        f"SELECT {column} FROM card WHERE {column} != '' "  # noqa: S608 - a fixed name
                        f"GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {MAX_CHOICES}"
                    )
                ]
                for column in ("category", "brand")
            }

    def tries(self) -> list[str]:
        """A few titles that a shopper could have typed, spread over the catalogue."""
        with self._lock:
            rows = self._database.execute(
                "SELECT lower(title) FROM card WHERE title LIKE '% %' AND title NOT LIKE '% % % % %' "
                "AND title NOT GLOB '*[0-9]*' GROUP BY 1 ORDER BY max(number * 7919 % 104729) LIMIT ?",
                (MAX_TRIES,),
            ).fetchall()
        return [title for (title,) in rows]

    def picture(self, product_id: str) -> tuple[bytes, str]:
        """A product's main picture and its media type. Blocks.

        Raises:
            Problem: there is none (404).
        """
        with self._lock:
            row = self._database.execute(
                "SELECT picture FROM card WHERE product_id = ?", (product_id,)
            ).fetchone()
        if row is None or row[0] is None or self._pictures is None:
            raise Problem(404, f"product {product_id[:80]!r} has no picture here")
        try:
            picture = self._pictures.read(row[0])
        except (PictureMissing, ProductIndexError) as error:
            raise Problem(404, str(error)) from error
        kind = next((kind for start, kind in _BEGINNINGS.items() if picture.startswith(start)), None)
        if kind is None:
            raise Problem(404, f"the picture of {product_id[:80]!r} is none that a page shows")
        return picture, kind

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._database.close()


def _conditions(where: Filter | None) -> tuple[str, list[str | float | bool]]:
    if where is None:
        return "", []
    wanted = {
        "category = ?": where.category,
        "brand = ?": where.brand,
        "price >= ?": where.price_min,
        "price <= ?": where.price_max,
        "in_stock = ?": where.in_stock,
    }
    asked = {rule: value for rule, value in wanted.items() if value is not None}
    return "".join(f" AND card.{rule}" for rule in asked), list(asked.values())
