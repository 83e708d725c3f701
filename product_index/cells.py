"""One cell of a catalogue: text, a list, a price, a stock, a time, as files and databases write them.

Pure. What cannot be read is left out, with a notice that says so; only a version
that is none refuses its row, for an order cannot be guessed.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

from .errors import InvalidProduct
from .product import MAX_VERSION

_IN = frozenset({"true", "yes", "y", "t", "instock", "available", "onstock", "limitedavailability", "in",
                 "ja", "oui", "si", "sí", "sì", "sim"})  # fmt: skip
_OUT = frozenset({"false", "no", "n", "f", "outofstock", "unavailable", "soldout", "discontinued", "out",
                  "nein", "nee", "nej", "non", "nao", "não"})  # fmt: skip
_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "₹": "INR"}
_NUMBER = re.compile(r"^\d[\d.,' ]*$|^[.,]\d+$")


class Notice(NamedTuple):
    """A value that could not be used: of which field, and a sentence about it."""

    target: str
    sentence: str


def record_of(value: object) -> object:
    """A record written as JSON text, as CSV files and some databases have to; else the value."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def plain(name: str) -> str:
    """Letters and digits alone, in lower case: so names and words are compared."""
    return re.sub(r"[\W_]+", "", name).casefold()


def words_of(value: object) -> str:
    """A scalar, a list or a record of scalars as text; "" for nothing."""
    if value is None or isinstance(value, bytes):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words_of(part)}" for name, part in value.items() if words_of(part))
    if isinstance(value, (list, tuple)):
        return ", ".join(
            said for part in value if not isinstance(part, (dict, list)) and (said := words_of(part))
        )
    return str(value).strip()


def list_of(value: object) -> list[str]:
    """A list of scalars as texts; a scalar is a list of one."""
    if isinstance(value, (list, tuple)):
        return [said for part in value if (said := words_of(part))]
    said = words_of(value)
    return [said] if said else []


def uris_of(value: object) -> list[str]:
    """A name, a list of names, a list in JSON's or a spreadsheet's way."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("url", "uri", "src", "path", "file") if key in value), None)
    if isinstance(value, (list, tuple)):
        return [uri for part in value for uri in uris_of(part)]
    said = words_of(value)
    if said.startswith("[") and said.endswith("]"):
        said = re.sub(r"[\[\]\"']", "", said)
        return [part.strip() for part in said.split(",") if part.strip()]
    return [part.strip() for part in re.split(r"[|;\n]", said) if part.strip()]


def price_of(value: object, notices: list[Notice]) -> tuple[float | None, str]:
    """A price and the currency its sign tells; `$` is read as USD unless a column says otherwise."""
    if isinstance(value, Mapping):
        value = value.get("amount", value.get("value"))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if isfinite(value) and value >= 0:
            return float(value), ""
        if isfinite(value):
            notices.append(
                Notice("price", f"price {value!r} is negative, left out; give a number of at least 0")
            )
        return None, ""
    said = words_of(value)
    if said.casefold() in {"", "none", "null", "n/a", "nan", "na", "-"}:
        return None, ""
    code = re.search(r"\b[A-Z]{3}\b", said)
    sign = next((symbol for symbol in _SYMBOLS if symbol in said), "")
    digits = re.sub(r"[A-Za-z$€£₹¥]+\.?", "", said).replace("\u00a0", " ").strip()
    if not _NUMBER.match(digits):
        notices.append(Notice("price", f"price {said[:40]!r} is no number, left out; write it like 1299.00"))
        return None, ""
    return _decimal(digits), (code.group() if code else _SYMBOLS.get(sign, ""))


def _decimal(digits: str) -> float:
    """`1,299.00`, `1.299,00`, `1 299`, `12,5`: the last sign that is not of thousands is the point."""
    plain = re.sub(r"[' ]", "", digits)
    last = max(plain.rfind("."), plain.rfind(","))
    if last < 0:
        return float(plain)
    mark, tail = plain[last], plain[last + 1 :]
    other = "," if mark == "." else "."
    of_thousands = plain.count(mark) > 1 or (mark == "," and len(tail) == 3 and other not in plain)
    head = re.sub(r"[.,]", "", plain[:last])
    return float(head + tail) if of_thousands else float(f"{head or 0}.{tail or 0}")


def in_stock_of(value: object, notices: list[Notice]) -> bool:
    """A flag, a word for one, or how many are left; in stock where nothing is told."""
    if value is None or isinstance(value, bool):
        return value is not False
    if isinstance(value, (int, float)):
        return not value <= 0  # NaN: unknown, so sold as before
    said = plain(str(value).rsplit("/", 1)[-1])
    if not said or said in _IN:
        return True
    if said in _OUT:
        return False
    try:
        return float(str(value).replace(",", "")) > 0
    except ValueError:
        said = str(value)[:40]
        notices.append(
            Notice(
                "in_stock",
                f"stock {said!r} is neither a number nor yes or no, read as in stock; "
                "write true or false, yes or no, or how many are left",
            )
        )
        return True


def version_of(value: object, product_id: str) -> int | None:
    """A whole number; None for nothing.

    Raises:
        InvalidProduct: it is none.
    """
    said = words_of(value)
    if not said:
        return None
    if not said.isdecimal() or int(said) > MAX_VERSION:
        raise InvalidProduct(
            f"product {product_id!r}: version is {said[:40]!r}, must be a whole number from 0"
        )
    return int(said)


def moment_of(value: object, notices: list[Notice]) -> datetime | None:
    """An ISO 8601 date or time, or seconds or milliseconds since 1970; UTC where no zone is given."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, datetime):
            found = value
        elif isinstance(value, (int, float)) or str(value).strip().isdecimal():
            number = float(str(value))
            found = datetime.fromtimestamp(number / 1000 if number > 1e11 else number, UTC)
        else:
            found = datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError, OSError):
        sentence = f"time {str(value)[:40]!r} cannot be read, left out; write it like 2026-11-20T10:00:00Z"
        notices.append(Notice("updated_at", sentence))
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
