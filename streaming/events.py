"""From the bytes of a message to a ProductChange, and back.

The contract is `docs/schemas/product_change.json`; a test keeps the two alike.
Pure. Whatever breaks the contract is `Unreadable`, with the value, the rule and
the next step; fields it does not know are passed over, so versions may grow.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from product_index.errors import InvalidProduct
from product_index.product import Product, ProductChange

from .change_log import Message
from .errors import UnknownSchema, Unreadable

SCHEMA_VERSION = 1
OPERATIONS = ("upsert", "delete")
# How much of a bad value a message repeats.
SHOWN_CHARACTERS = 120
# A product in full is some kilobytes; a megabyte is what brokers take unless told otherwise.
MAX_VALUE_BYTES = 2**20
MAX_KEY_BYTES = 4 * 2**10


def decode_change(message: Message) -> ProductChange:
    """Return the change that a message carries.

    A null value is a removal without a version, at the time the message was written.

    Raises:
        Unreadable: it breaks the contract.
    """
    check_size(message)
    key = _key(message)
    if message.value is None:
        return removal(key, message)
    return change_from_json(message.value, key=key)


def removal(product_id: str, message: Message) -> ProductChange:
    """Return the removal without a version that a null value stands for.

    Raises:
        Unreadable: the id breaks the contract.
    """
    occurred_at = datetime.fromtimestamp(message.timestamp_ms / 1000, tz=UTC)
    return _checked(product_id=product_id, version=None, occurred_at=occurred_at, product=None)


def check_size(message: Message) -> None:
    """Refuse what is too large to be a product, before anything is parsed.

    Raises:
        Unreadable: with the size and the limit.
    """
    for name, held, most in (("key", message.key, MAX_KEY_BYTES), ("value", message.value, MAX_VALUE_BYTES)):
        if held is not None and len(held) > most:
            raise Unreadable(
                f"the {name} has {len(held):,} bytes, at most {most:,} are read; "
                "send pictures and documents by their address, not inside the change"
            )


def change_from_json(value: bytes, *, key: str | None = None) -> ProductChange:
    """Return the change in a JSON value; a key, where there is one, must name the same product.

    Raises:
        Unreadable: it breaks the contract.
    """
    return change_from_fields(json_object(value), key=key)


def change_from_fields(fields: Mapping[str, Any], *, key: str | None = None) -> ProductChange:
    """Return the change that the fields of the contract tell.

    Raises:
        Unreadable: they break the contract.
    """
    schema = _present(fields, "schema_version", f'write "schema_version": {SCHEMA_VERSION}')
    if schema != SCHEMA_VERSION or isinstance(schema, bool):
        raise UnknownSchema(
            f"schema_version is {shown(schema)}, this program reads {SCHEMA_VERSION}; "
            "publish in that version, or upgrade the consumer and replay"
        )
    product_id = _required(fields, "product_id", str, "a string")
    if key is not None and key != product_id:
        raise Unreadable(
            f"key {shown(key)} differs from product_id {shown(product_id)}; "
            "key messages by product_id, so that one partition keeps the order of a product"
        )
    operation = _present(fields, "op", " or ".join(OPERATIONS))
    if operation not in OPERATIONS:
        raise Unreadable(f"op is {shown(operation)}, must be one of {', '.join(OPERATIONS)}")
    version = _required(fields, "version", int, "a whole number that rises per product")
    occurred_at = _moment(fields)
    product = None
    if operation == "upsert":
        product = _product(product_id, fields)
    return _checked(product_id=product_id, version=version, occurred_at=occurred_at, product=product)


def encode_change(change: ProductChange) -> tuple[bytes, bytes | None]:
    """Return the key and the value of a change; None for a removal without a version."""
    key = change.product_id.encode()
    if change.version is None:
        return key, None
    fields: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "op": "delete" if change.product is None else "upsert",
        "product_id": change.product_id,
        "version": change.version,
        "occurred_at": change.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    product = change.product
    if product is not None:
        fields |= {
            "title": product.title,
            "description": product.description,
            "attributes": dict(product.attributes),
            "category": product.category,
            "brand": product.brand,
            "price": product.price,
            "currency": product.currency,
            "in_stock": product.in_stock,
            "image_uris": list(product.image_uris),
        }
    return key, json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _key(message: Message) -> str:
    if message.key is None:
        raise Unreadable("the message has no key; key messages by product_id")
    try:
        return message.key.decode()
    except UnicodeDecodeError:
        raise Unreadable(f"key {message.key[:SHOWN_CHARACTERS]!r} is not UTF-8; use the product_id") from None


def json_object(value: bytes) -> dict[str, Any]:
    """Return the fields of a JSON object.

    Raises:
        Unreadable: it is not JSON in UTF-8, or no object.
    """
    try:
        fields = _JSON.decode(value.decode(json.detect_encoding(value)))
        if b"\\u" in value:  # half a surrogate pair is no text that a store could keep
            json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Unreadable(
            f"the value is not JSON in UTF-8 ({error}): {shown(value)}; publish one JSON object per message"
        ) from error
    if not isinstance(fields, dict):
        raise Unreadable(f"the value is {_kind(fields)}, must be a JSON object: {shown(value)}")
    return fields


def _product(product_id: str, fields: Mapping[str, Any]) -> Product:
    attributes = _optional(fields, "attributes", dict, "an object", {})
    for name, value in attributes.items():
        if not isinstance(value, str):
            raise Unreadable(f"attribute {shown(name)} is {shown(value)}, must be a string")
    image_uris = _optional(fields, "image_uris", list, "a list of strings", [])
    for uri in image_uris:
        if not isinstance(uri, str):
            raise Unreadable(f"image_uris holds {shown(uri)}, must hold strings")
    try:
        return Product(
            product_id=product_id,
            title=_text(fields, "title"),
            description=_text(fields, "description"),
            attributes=attributes,
            category=_text(fields, "category"),
            brand=_text(fields, "brand"),
            price=_price(fields),
            currency=_text(fields, "currency"),
            in_stock=_optional(fields, "in_stock", bool, "true or false", True),
            image_uris=tuple(image_uris),
        )
    except InvalidProduct as error:
        raise Unreadable(str(error)) from error


def _checked(
    *, product_id: str, version: int | None, occurred_at: datetime, product: Product | None
) -> ProductChange:
    try:
        return ProductChange(product_id=product_id, version=version, occurred_at=occurred_at, product=product)
    except InvalidProduct as error:
        raise Unreadable(str(error)) from error


def _moment(fields: Mapping[str, Any]) -> datetime:
    told = _required(fields, "occurred_at", str, "a time like 2026-11-20T10:00:00Z")
    try:
        moment = datetime.fromisoformat(told)
        if moment.tzinfo is not None:
            moment.astimezone(UTC)  # the edge of the calendar has no UTC
    except (ValueError, OverflowError):
        raise Unreadable(f"occurred_at is {shown(told)}, must be a time like 2026-11-20T10:00:00Z") from None
    if moment.tzinfo is None:
        raise Unreadable(f"occurred_at {shown(told)} has no time zone; end it in Z or +hh:mm")
    return moment


def _price(fields: Mapping[str, Any]) -> float | None:
    price = fields.get("price")
    if price is None:
        return None
    if isinstance(price, bool) or not isinstance(price, int | float):
        raise Unreadable(f"price is {shown(price)}, must be a number or null")
    try:
        return float(price)
    except OverflowError:
        raise Unreadable(f"price is {shown(price)}, larger than any number a store keeps") from None


def _text(fields: Mapping[str, Any], name: str) -> str:
    text: str = _optional(fields, name, str, "a string", "")
    return text


def _optional(fields: Mapping[str, Any], name: str, kind: type, rule: str, absent: object) -> Any:
    value = fields.get(name)
    if value is None:
        return absent
    if not isinstance(value, kind):
        raise Unreadable(f"{name} is {shown(value)}, must be {rule} or null")
    return value


def _required(fields: Mapping[str, Any], name: str, kind: type, rule: str) -> Any:
    value = _present(fields, name, rule)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Unreadable(f"{name} is {shown(value)}, must be {rule}")
    return value


def _present(fields: Mapping[str, Any], name: str, rule: str) -> Any:
    value = fields.get(name)
    if value is None:
        raise Unreadable(f"there is no {name}; every change needs one: {rule}")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# Made once: to make it takes as long as to read a small change.
_JSON = json.JSONDecoder(parse_constant=_no_constant)


def _kind(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def shown(value: object) -> str:
    """A value as a message repeats it: cut, so that a reason stays one line."""
    if isinstance(value, str | bytes):
        value = value[: SHOWN_CHARACTERS + 1]
    try:
        said = repr(value)
    except RecursionError:
        return f"{_kind(value)} nested too deeply to show"
    return said if len(said) <= SHOWN_CHARACTERS else said[:SHOWN_CHARACTERS] + "..."
