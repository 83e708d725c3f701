"""A search as many shops have it: words in, product ids out, ranked by BM25.

SQLite's FTS5. It sees what sellers wrote and nothing else: no pictures, no
meaning. It stands for the host's own funnel where there is none at hand, in the
console and in the demo, so it knows nothing of channels.
"""

import re
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path

from product_index.product import Product, ProductChange
from product_index.vector_store import Filter

# A word in the title says more about a product than one in the description.
# One weight per column of the FTS table, in its order.
_WEIGHTS = "8.0, 1.0, 3.0, 2.0, 3.0"
# A query of more words than this is a pasted text; its first words will do.
_MAX_WORDS = 32
_STOP_WORDS = frozenset(
    (
        "a",
        "an",
        "and",
        "at",
        "by",
        "for",
        "from",
        "in",
        "is",
        "it",
        "of",
        "on",
        "or",
        "some",
        "the",
        "to",
        "with",
    )
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shelf (
    number INTEGER PRIMARY KEY,
    product_id TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    occurred_at_ms INTEGER NOT NULL,
    on_sale INTEGER NOT NULL,
    title TEXT NOT NULL,
    category TEXT NOT NULL,
    brand TEXT NOT NULL,
    price REAL,
    currency TEXT NOT NULL,
    in_stock INTEGER NOT NULL,
    picture TEXT
);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    title, description, category, brand, attributes,
    tokenize = "porter unicode61 remove_diacritics 2"
);
"""
_COLUMNS = (
    "product_id", "version", "occurred_at_ms", "on_sale", "title", "category", "brand", "price", "currency",
    "in_stock", "picture",
)  # fmt: skip
_PUT_SHELF = f"""
INSERT INTO shelf ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
ON CONFLICT (product_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])}
RETURNING number
"""  # noqa: S608 - fixed names


class ShopSearch:
    """Full-text search in one SQLite file, or in memory; may be used from several threads."""

    def __init__(self, path: Path | None = None) -> None:
        """Open the file, made if need be."""
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False)
        # It is made again at will: no need to wait for the disk.
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_SCHEMA)

    def rebuild(self, products: Iterable[Product]) -> None:
        """Hold exactly these products, older than any change."""
        with self._lock, self._database:
            self._database.execute("DELETE FROM shelf")
            self._database.execute("DELETE FROM words")
            for product in products:
                self._put(product.product_id, product, version=0, occurred_at_ms=0)

    def put(self, products: Iterable[Product]) -> None:
        """Add products, older than any change; one that is there already stays as it is."""
        with self._lock, self._database:
            for product in products:
                if self._held(product.product_id) is None:
                    self._put(product.product_id, product, version=0, occurred_at_ms=0)

    def apply(self, change: ProductChange) -> None:
        """Take one change; an older one than what is held changes nothing."""
        with self._lock, self._database:
            number, *last = self._held(change.product_id) or (None, 0, 0)
            # A removal without a version follows whatever is held.
            version = last[0] if change.version is None else change.version
            if (version, change.occurred_at_ms) < tuple(last):
                return
            self._database.execute("DELETE FROM words WHERE rowid = ?", (number,))
            self._put(
                change.product_id, change.product, version=version, occurred_at_ms=change.occurred_at_ms
            )

    def search(self, text: str | None, *, limit: int = 100, where: Filter | None = None) -> list[str]:
        """Return the ids of products that share a word with the text, best first.

        A product that has more of the words, or rarer ones, comes first. What
        looks like query syntax is read as words. Without words (a query that is
        only a picture) the shop finds nothing.
        """
        words = _words_of(text)
        if not words or limit < 1:
            return []
        conditions, values = _conditions(where)
        # Quoted, a word is a word, whatever FTS5 would make of it.
        match = " OR ".join(f'"{word}"' for word in words)
        with self._lock:
            rows = self._database.execute(
                "SELECT shelf.product_id FROM words JOIN shelf ON shelf.number = words.rowid "  # noqa: S608
                f"WHERE words MATCH ? AND shelf.on_sale{conditions} "
                f"ORDER BY bm25(words, {_WEIGHTS}), shelf.product_id LIMIT ?",
                (match, *values, limit),
            ).fetchall()
        return [product_id for (product_id,) in rows]

    def __len__(self) -> int:
        """How many products are on sale."""
        with self._lock:
            return int(self._database.execute("SELECT count(*) FROM shelf WHERE on_sale").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _held(self, product_id: str) -> tuple[int, int, int] | None:
        """A product's number, version and moment."""
        asked = "SELECT number, version, occurred_at_ms FROM shelf WHERE product_id = ?"
        found: tuple[int, int, int] | None = self._database.execute(asked, (product_id,)).fetchone()
        return found

    def _put(self, product_id: str, product: Product | None, *, version: int, occurred_at_ms: int) -> None:
        """Write a product; of one that is gone the row stays, so that no older change brings it back."""
        on_sale = product is not None
        product = product or Product(product_id=product_id)
        row = (
            product_id, version, occurred_at_ms, on_sale, product.title, product.category, product.brand,
            product.price, product.currency, product.in_stock, next(iter(product.image_uris), None),
        )  # fmt: skip
        number = self._database.execute(_PUT_SHELF, row).fetchone()[0]
        if on_sale:
            attributes = " ".join(product.attributes.values())
            words = (product.title, product.description, product.category, product.brand, attributes)
            self._database.execute(
                "INSERT INTO words (rowid, title, description, category, brand, attributes) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (number, *words),
            )


def _words_of(text: str | None) -> list[str]:
    found = list(dict.fromkeys(re.findall(r"[^\W_]+", (text or "").lower())))
    telling = [word for word in found if word not in _STOP_WORDS]
    return (telling or found)[:_MAX_WORDS]


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
    return "".join(f" AND shelf.{rule}" for rule in asked), list(asked.values())
