"""Changes and rows as Parquet files: how they travel between the steps of a rebuild."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import numpy as np

from .build_files import Place, reading, write_whole
from .product import Product, ProductChange
from .vector_store import Fingerprint, ProductVector

_ROWS_AT_A_TIME = 1_000
_PRODUCT_FIELDS = tuple(one.name for one in fields(Product))


def write_changes(path: "Place", changes: Sequence[ProductChange]) -> None:
    """Write a part of a snapshot; removals have no place in one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {name: getattr(change.product, name) for name in _PRODUCT_FIELDS}  # asdict copies deeply: slow
        | {
            "attributes": json.dumps(dict(change.product.attributes)),
            "image_uris": list(change.product.image_uris),
            "version": change.version,
            "occurred_at": change.occurred_at.astimezone(UTC),
        }
        for change in changes
        if change.product is not None
    ]
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("product_id", "title", "description", "attributes")),
            *((name, pa.string()) for name in ("category", "brand", "currency")),
            ("price", pa.float64()),
            ("in_stock", pa.bool_()),
            ("image_uris", pa.list_(pa.string())),
            ("version", pa.int64()),
            ("occurred_at", pa.timestamp("us", tz="UTC")),
        ]
    )
    write_whole(path, lambda part: pq.write_table(pa.Table.from_pylist(rows, schema=schema), part))


def read_changes(path: "Place") -> Iterator[ProductChange]:
    """Read a part of a snapshot."""
    for row in _rows(path):
        version, occurred_at = row.pop("version"), row.pop("occurred_at")
        row["attributes"] = json.loads(row["attributes"])
        row["image_uris"] = tuple(row["image_uris"])
        product = Product(**row)
        yield ProductChange(
            product_id=product.product_id,
            version=version,
            occurred_at=_as_utc(occurred_at),
            product=product,
        )


def write_rows(path: "Place", rows: Sequence[ProductVector], *, dimension: int) -> None:
    """Write rows of the index, by the row contract."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = np.stack([row.vector for row in rows]) if rows else np.empty((0, dimension), np.float32)
    flat = pa.array(vectors.astype(np.float32).reshape(-1))
    plain: dict[str, Any] = {
        name: pa.array([getattr(row, name) for row in rows], type_())
        for name, type_ in _row_types(pa).items()
    }
    stamps = {
        name: pa.array([getattr(row.fingerprint, name) for row in rows], type_())
        for name, type_ in _fingerprint_types(pa).items()
    }
    table = pa.table(plain | stamps | {"vector": pa.FixedSizeListArray.from_arrays(flat, dimension)})
    # Nearly no value comes twice: a dictionary takes longer than the rest, and room.
    write_whole(path, lambda part: pq.write_table(table, part, use_dictionary=False))


def read_rows(path: "Place") -> Iterator[list[ProductVector]]:
    """Read rows of the index, a page at a time."""
    import pyarrow.parquet as pq

    names = [one.name for one in fields(Fingerprint)]
    with reading(path) as stream, pq.ParquetFile(stream) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_A_TIME):
            vectors = batch.column("vector")
            flat = vectors.flatten().to_numpy(zero_copy_only=False)
            matrix = flat.reshape(len(batch), -1) if len(batch) else flat.reshape(0, 1)
            page = []
            for vector, row in zip(matrix, batch.drop_columns(["vector"]).to_pylist(), strict=True):
                stamp = {name: row.pop(name) for name in names}
                page.append(ProductVector(**row, vector=vector, fingerprint=Fingerprint(**stamp)))
            yield page


def _rows(path: "Place") -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with reading(path) as stream, pq.ParquetFile(stream) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_A_TIME):
            yield from batch.to_pylist()


def _as_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _row_types(pa: Any) -> dict[str, Any]:
    texts = dict.fromkeys(("product_id", "title", "category", "brand"), pa.string)
    return texts | {"price": pa.float64, "in_stock": pa.bool_, "indexed_at_ms": pa.int64}


def _fingerprint_types(pa: Any) -> dict[str, Any]:
    names = ("text_hash", "image_digest", "scalar_hash", "model_id", "preprocess_version")
    numbers = {"version": pa.int64, "occurred_at_ms": pa.int64, "deleted": pa.bool_}
    return dict.fromkeys(names, pa.string) | numbers
