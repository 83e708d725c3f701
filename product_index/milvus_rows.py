"""Rows, hits and filters in Milvus' words, and back.

Pure: nothing here asks a server, and nothing here imports its client.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from .errors import InvalidQuery, UnknownCollection
from .vector_store import IDENTITY_FIELDS, CollectionSpec, Filter, Fingerprint, Hit, ProductVector

# Lengths in bytes of UTF-8. Longer values are cut on a character's boundary:
# they are for filters and lists, the catalogue keeps the whole.
VARCHAR_BYTES = {
    "product_id": 256,
    "text_hash": 64,
    "image_digest": 96,
    "scalar_hash": 64,
    "model_id": 256,
    "preprocess_version": 256,
    "title": 1024,
    "category": 512,
    "brand": 256,
}
OTHER_TYPES = {
    "version": "INT64", "occurred_at_ms": "INT64", "indexed_at_ms": "INT64",
    "deleted": "BOOL", "in_stock": "BOOL", "price": "DOUBLE",
}  # fmt: skip
TYPES = dict.fromkeys(VARCHAR_BYTES, "VARCHAR") | OTHER_TYPES | {"vector": "FLOAT_VECTOR"}
# Prices are never negative, so this one says "not told". Nullable columns
# would say it better, but older servers do not have them.
NO_PRICE = -1.0

# Where a collection keeps its model's name. Servers keep both; milvus-lite
# forgets descriptions.
SPEC_PROPERTY = "uniecs.spec"
FINGERPRINT_FIELDS = [
    "product_id", "version", "occurred_at_ms", "text_hash", "image_digest", "scalar_hash", "model_id",
    "preprocess_version", "deleted",
]  # fmt: skip
HIT_FIELDS = ["product_id", "version", "title", "category", "brand", "price", "in_stock"]
ROW_FIELDS = [*dict.fromkeys(FINGERPRINT_FIELDS + HIT_FIELDS), "indexed_at_ms", "vector"]
# What an amendment leaves as it is stored.
KEPT_FIELDS = frozenset({*IDENTITY_FIELDS, "vector"})


def expression(where: Filter | None) -> str:
    """A filter in Milvus' language; values are quoted, so they stay values."""
    parts = ["deleted == false"]
    if where is None:
        return parts[0]
    if where.category is not None:
        parts.append(f"category == {quoted(_cut(where.category, 'category'))}")
    if where.brand is not None:
        parts.append(f"brand == {quoted(_cut(where.brand, 'brand'))}")
    if where.in_stock is not None:
        parts.append(f"in_stock == {str(where.in_stock).lower()}")
    if where.price_min is not None or where.price_max is not None:
        parts.append(f"price >= {_number(max(0.0, where.price_min or 0.0))}")
    if where.price_max is not None:
        parts.append(f"price <= {_number(where.price_max)}")
    return " and ".join(parts)


def spec_of(name: str, said: dict[str, Any]) -> CollectionSpec:
    """What a collection says of itself when it is described.

    Raises:
        UnknownCollection: it was not made here.
    """
    stamp = said.get("properties", {}).get(SPEC_PROPERTY) or said.get("description") or ""
    try:
        return CollectionSpec(**json.loads(stamp))
    except (ValueError, TypeError) as error:
        raise UnknownCollection(
            f"collection {name!r} does not say which model made it; rebuild it with refresh_product_index"
        ) from error


def columns(rows: Sequence[ProductVector]) -> dict[str, list[Any]]:
    """Whole rows as a request carries them: values by field."""
    vectors = np.stack([row.vector for row in rows]).astype(np.float32, copy=False)
    return _scalars(rows) | {"vector": vectors.tolist()}


def amendments(rows: Sequence[ProductVector]) -> dict[str, list[Any]]:
    """What changes of rows while their vectors stay."""
    return {name: values for name, values in _scalars(rows).items() if name not in KEPT_FIELDS}


def _scalars(rows: Sequence[ProductVector]) -> dict[str, list[Any]]:
    stamps = {
        name: [getattr(row.fingerprint, name) for row in rows]
        for name in FINGERPRINT_FIELDS
        if name != "product_id"
    }
    plain = ("product_id", "title", "category", "brand", "in_stock", "indexed_at_ms")
    told = stamps | {name: [getattr(row, name) for row in rows] for name in plain}
    return (
        told
        | {name: [_cut(text, name) for text in told[name]] for name in VARCHAR_BYTES}
        | {"price": [NO_PRICE if row.price is None else float(row.price) for row in rows]}
    )


def from_milvus(row: dict[str, Any]) -> ProductVector:
    """A row as an answer carries it, back to the bit."""
    return ProductVector(
        product_id=row["product_id"],
        vector=np.asarray(row["vector"], dtype=np.float32),
        fingerprint=fingerprint_of(row),
        title=row["title"],
        category=row["category"],
        brand=row["brand"],
        price=_price(row),
        in_stock=row["in_stock"],
        indexed_at_ms=row["indexed_at_ms"],
    )


def fingerprint_of(row: dict[str, Any]) -> Fingerprint:
    """The fingerprint in an answer."""
    return Fingerprint(**{name: row[name] for name in FINGERPRINT_FIELDS if name != "product_id"})


def _price(row: dict[str, Any]) -> float | None:
    return None if row["price"] < 0 else float(row["price"])


def best_hits(hits: Sequence[Any], limit: int) -> list[Hit]:
    """The best of an answer, equal scores in order of product id; the answer's rows are used up.

    msgspec makes 200 hits in a third of the time that 200 calls take, and a search waits for it.
    """
    rows = []
    for hit in hits:
        row = hit["entity"]
        row["score"] = float(hit["distance"])
        rows.append(row)
    # Equal vectors may differ in the last bit of their score, by where they lie in memory.
    rows.sort(key=lambda row: (-round(row["score"], 6), row["product_id"]))
    del rows[limit:]
    for row in rows:
        if row["price"] < 0:
            row["price"] = None
    return msgspec.convert(rows, list[Hit])


def _cut(text: str, field: str) -> str:
    if text.isascii() and len(text) <= VARCHAR_BYTES[field]:
        return text
    encoded = text.encode("utf-8", "replace")
    return encoded[: VARCHAR_BYTES[field]].decode("utf-8", "ignore")


def quoted(text: str) -> str:
    """A string literal that ends where it should, whatever is inside."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def _number(value: float) -> str:
    if math.isnan(value):
        raise InvalidQuery("a price of the filter is not a number; give one of at least 0")
    return repr(float(np.clip(value, -1e300, 1e300)))
