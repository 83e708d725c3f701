"""From a row that Debezium captured to a ProductChange, by a mapping of columns.

Pure. A row is first told in the fields of our own contract, then goes through
the same door as everything else (`events.change_from_fields`), so that one set
of rules judges both.

The order of a product's changes is (version, occurred_at): the version is a
column of the row, occurred_at is `source.ts_ms`, when the database changed; not
the outer `ts_ms`, when the connector saw it. A delete carries the version of the
row it removed and comes a moment (1 ms) after it, so that it wins over that
version, also within one transaction, and loses to the row's second life.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from product_index.product import ProductChange

from .change_log import Message
from .errors import Unreadable
from .events import (
    OPERATIONS,
    SCHEMA_VERSION,
    change_from_fields,
    check_size,
    json_object,
    removal,
    shown,
)
from .mapping import ColumnMapping

UPSERTS = ("c", "u", "r")  # created, updated, read by a snapshot
DELETE = "d"
# What Postgres' connector writes for a large column that an update did not touch.
UNAVAILABLE = "__debezium_unavailable_value"
# A delete comes this long after the version that it removes.
MOMENT_MS = 1


@dataclass(frozen=True, slots=True)
class _Row:
    """What was captured: the operation, its time, and the row before and after."""

    op: str
    at_ms: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def now(self) -> Mapping[str, Any]:
        return self.before if self.op == DELETE else self.after


def change_from_row(message: Message, mapping: ColumnMapping) -> ProductChange | None:
    """Return the change that a message carries; None for a tombstone that only follows a delete.

    Our own form is read as well, so that what is put back or repaired can go
    into the same topic.

    Raises:
        Unreadable: it is no row of that form, or breaks the contract.
    """
    check_size(message)
    if message.value is None:
        return removal(_key(message, mapping), message) if mapping.tombstones == "remove" else None
    told = json_object(message.value)
    key = _key(message, mapping)
    if "schema_version" in told and told.get("op") in OPERATIONS:
        return change_from_fields(told, key=key)
    held = _unwrapped(told)
    row = _from_envelope(held) if mapping.form == "envelope" else _from_flattened(held, mapping)
    if row.op == DELETE:
        return _delete(row, key, mapping)
    fields = _fields(row, mapping)
    try:
        return change_from_fields(fields, key=key)
    except Unreadable as error:
        raise Unreadable(f"{error} (columns by CHANGES_MAPPING)") from error


def _unwrapped(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the schema that Connect's JSON converter may put beside the payload."""
    if set(told) != {"schema", "payload"}:
        return told
    payload = told["payload"]
    if not isinstance(payload, dict):
        raise Unreadable(f"payload is {shown(payload)}, must be an object")
    return payload


def _from_envelope(told: Mapping[str, Any]) -> _Row:
    op = told.get("op")
    if op in ("t", "m"):
        what = "truncated the table" if op == "t" else "is a logical message, no row"
        raise Unreadable(f"op {op!r} {what}; keep it out of the topic, and reconcile the index by its DAG")
    if op not in (*UPSERTS, DELETE):
        raise Unreadable(
            f"op is {shown(op)}, an envelope's is one of c, u, r, d; "
            "if the connector unwraps rows, set form = 'flattened' in CHANGES_MAPPING"
        )
    source = told.get("source")
    at_ms = source.get("ts_ms") if isinstance(source, dict) else None
    row = _Row(op, _milliseconds(at_ms, "source.ts_ms"), _image(told, "before"), _image(told, "after"))
    if not row.now:
        name = "before" if op == DELETE else "after"
        raise Unreadable(f"op {op!r} without {name!r}: nothing tells which product; check REPLICA IDENTITY")
    return row


def _from_flattened(told: Mapping[str, Any], mapping: ColumnMapping) -> _Row:
    names = mapping.flattened
    if "before" in told and "after" in told and "source" in told:
        raise Unreadable("the value is an envelope; set form = 'envelope' in CHANGES_MAPPING")
    at_ms = _milliseconds(told.get(names.occurred_at_ms), names.occurred_at_ms)
    deleted = told.get(names.deleted) in (True, "true") or told.get(names.op) == DELETE
    if deleted:
        return _Row(DELETE, at_ms, told, {})
    return _Row(str(told.get(names.op) or "u"), at_ms, {}, told)


def _image(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    image = told.get(name)
    if image is None:
        return {}
    if not isinstance(image, dict):
        raise Unreadable(f"{name} is {shown(image)}, must be an object or null")
    return image


def _milliseconds(told: object, name: str) -> int:
    if isinstance(told, bool) or not isinstance(told, int) or not 0 < told < 253_402_300_799_000:
        raise Unreadable(
            f"{name} is {shown(told)}, must be milliseconds since 1970; "
            "for flattened rows add it with add.fields=op,source.ts_ms"
        )
    return told


def _delete(row: _Row, key: str, mapping: ColumnMapping) -> ProductChange:
    """The removal of a version, a moment later; without a version where the row's past is not told."""
    product_id = _identity(_required(row, mapping.columns.product_id, "product_id"))
    version = _value(row, mapping.columns.version)
    fields = {
        "schema_version": SCHEMA_VERSION,
        "op": "delete",
        "product_id": product_id,
        "version": 0 if version is None else version,
        "occurred_at": _moment(row.at_ms + MOMENT_MS),
    }
    change = change_from_fields(fields, key=key)
    if version is not None:
        return change
    # Only the key is told (REPLICA IDENTITY DEFAULT): it follows whatever is stored, by its time.
    occurred_at = change.occurred_at - timedelta(milliseconds=MOMENT_MS)
    return ProductChange(product_id=product_id, version=None, occurred_at=occurred_at, product=None)


def _fields(row: _Row, mapping: ColumnMapping) -> dict[str, Any]:
    columns = mapping.columns
    texts = ("title", "description", "category", "brand", "currency")
    fields: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "op": "upsert",
        "product_id": _identity(_required(row, columns.product_id, "product_id")),
        "version": _required(row, columns.version, "version"),
        "occurred_at": _moment(row.at_ms),
        "price": _price(_value(row, columns.price), columns.price_scale),
        "in_stock": _in_stock(_value(row, columns.in_stock)),
        "image_uris": _image_uris(_value(row, columns.image_uris)),
        "attributes": _attributes(row, columns.attributes),
        **{name: _value(row, getattr(columns, name)) for name in texts},
    }
    return fields | {name: said for name, said in mapping.constants.items() if fields.get(name) is None}


def _required(row: _Row, names: Sequence[str], what: str) -> Any:
    value = _value(row, names)
    if value is None:
        raise Unreadable(
            f"{what} (column {' or '.join(names)}) is null; every row needs one, "
            f"or correct the column in CHANGES_MAPPING; the row has: {', '.join(sorted(row.now))[:300]}"
        )
    return value


def _value(row: _Row, names: Sequence[str] | None) -> Any:
    """The first of these columns that the row has; None where it has none of them and is a delete."""
    if names is None:
        return None
    for name in names:
        if name in row.now:
            value = row.now[name]
            if value != UNAVAILABLE:
                return value
            if row.before.get(name, UNAVAILABLE) != UNAVAILABLE:
                return row.before[name]  # untouched, and told there
            raise Unreadable(
                f"column {name!r} was left out by the database because the change did not touch it; "
                "set REPLICA IDENTITY FULL on the table, and snapshot its rows again"
            )
    if row.op == DELETE:
        return None
    raise Unreadable(
        f"the row has no column {' or '.join(map(repr, names))}, it has: {', '.join(sorted(row.now))[:300]}; "
        "correct CHANGES_MAPPING (a list names the old and the new name of a column), then replay"
    )


def _identity(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Unreadable(f"product_id is {shown(value)}, must be a string or a whole number")
    return str(value)


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat()


def _price(value: object, scale: int | None) -> object:
    """A number; decimals also come as text, as whole numbers of cents, or as the bytes of those."""
    try:
        if isinstance(value, str):
            return float(value) if scale is None else _unscaled(value) / 10**scale
        if scale is not None and isinstance(value, int) and not isinstance(value, bool):
            return value / 10**scale
    except (ValueError, OverflowError):
        raise Unreadable(
            f"price is {shown(value)}; set decimal.handling.mode=string or double in the connector, "
            "or price_scale in CHANGES_MAPPING for decimals as bytes"
        ) from None
    return value


def _unscaled(value: str) -> int:
    held = base64.b64decode(value, validate=True)
    if not held:
        raise ValueError("no digits")
    return int.from_bytes(held, signed=True)


def _in_stock(value: object) -> object:
    """True or false, or how many are left; some databases keep a flag as 0 and 1."""
    return value > 0 if isinstance(value, int) and not isinstance(value, bool) else value


def _image_uris(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _parsed(value, "image_uris")
    return [value] if value.strip() else []


def _attributes(row: _Row, columns: Sequence[str] | Mapping[str, str] | None) -> object:
    if isinstance(columns, Mapping):
        found = {name: _value(row, (column,)) for name, column in columns.items()}
    else:
        value = _value(row, columns)
        told = _parsed(value, "attributes") if isinstance(value, str) else value
        if not isinstance(told, dict):
            return told
        found = told
    return {name: _said(value) for name, value in found.items() if value is not None}


def _said(value: object) -> object:
    """Numbers and flags as words; anything else is judged at the door."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _parsed(value: str, name: str) -> Any:
    try:
        told = json.loads(value)
        json.dumps(told, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{name} is {shown(value)}, no JSON ({error}); map another column") from error
    return told


def _key(message: Message, mapping: ColumnMapping) -> str:
    """The product id in the key: a JSON object of the key's columns, or plain text."""
    if message.key is None:
        raise Unreadable("the message has no key; give the table a primary key, or set message.key.columns")
    try:
        text = message.key.decode()
    except UnicodeDecodeError:
        raise Unreadable(f"key {shown(message.key)} is not UTF-8; use the JSON or string converter") from None
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(told, dict):
        told = _unwrapped(told)
        for name in mapping.columns.product_id:
            if name in told:
                return _identity(told[name])
        raise Unreadable(
            f"key {shown(text)} has no column {' or '.join(mapping.columns.product_id)}; "
            "set message.key.columns to the product's id, so that one partition keeps its order"
        )
    return told if isinstance(told, str) else text
