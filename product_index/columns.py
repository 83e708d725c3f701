"""Which column is what, and one row of a catalogue as a product.

Columns are recognised by their common names, case and separators ignored, or
mapped by hand. Pure: rows come in as mappings, whatever file they were in.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any, NamedTuple

from .errors import InvalidCatalogue, InvalidProduct
from .product import MAX_TEXT_CHARACTERS, MAX_VERSION, Product

# Field -> names it goes by, the surest first; letters and digits only, lower case.
KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "product_id": (
        "productid", "sku", "id", "itemid", "productcode", "itemcode", "code", "stockcode",
        "articleid",
        "articlenumber", "productnumber", "itemnumber", "asin", "gtin", "ean", "uniqid", "handle", "uid",
        "key",
    ),
    "title": (
        "title", "producttitle", "productname", "name", "itemname", "productdisplayname", "displayname",
    ),
    "description": (
        "description", "productdescription", "longdescription", "shortdescription", "desc", "body",
        "bodyhtml",
        "details", "about", "text",
    ),
    "category": (
        "category", "categories", "productcategory", "categoryname", "producttype", "type", "articletype",
        "department", "subcategory", "mastercategory",
    ),
    "brand": ("brand", "brandname", "manufacturer", "vendor", "maker"),
    "price": ("price", "unitprice", "saleprice", "currentprice", "sellingprice", "listprice"),
    "currency": ("currency", "currencycode", "pricecurrency"),
    "in_stock": (
        "instock", "stock", "availability", "available", "quantity", "qty", "inventory", "stockquantity",
    ),
    "updated_at": (
        "updatedat", "modifiedat", "lastmodified", "lastupdated", "updated", "modified", "occurredat",
    ),
    "version": ("version", "revision", "rev"),
    "colour": ("colour", "color", "basecolour", "basecolor", "colourname", "colorname"),
    "attributes": ("attributes", "properties", "specs", "specifications", "features"),
}  # fmt: skip
# Every column of these names holds pictures, the main one first.
PICTURE_NAMES = (
    "image", "mainimage", "images", "imageuris", "imageuri", "imageurl", "imageurls", "imagelink",
    "imagefile",
    "imagepath", "imagename", "iconicimage", "picture", "pictures", "photo", "photos", "img", "filename",
    "moreimages", "additionalimages", "additionalimagelink", "thumbnail",
)  # fmt: skip

_IN = frozenset({"true", "yes", "y", "t", "instock", "available", "onstock", "limitedavailability", "in"})
_OUT = frozenset({"false", "no", "n", "f", "outofstock", "unavailable", "soldout", "discontinued", "out"})
_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "₹": "INR"}
_NUMBER = re.compile(r"^\d[\d.,' ]*$|^[.,]\d+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What was recognised: field -> column; pictures and attributes may be many.

    Attributes:
        ignored: columns that hold what no product carries (lists of records, ...).
    """

    fields: dict[str, str]
    pictures: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


class Notice(NamedTuple):
    """A value that could not be used: of which field, and a sentence about it."""

    target: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRow:
    """A row as a product, with what in it could not be used."""

    product: Product
    version: int | None
    updated_at: datetime | None
    notices: tuple[Notice, ...] = field(default=())


def recognise(
    names: Iterable[str], *, mapping: Mapping[str, str | Sequence[str]], ignored: Iterable[str] = ()
) -> Columns:
    """Find out which column is what.

    Args:
        names: of all columns.
        mapping: field -> column (for `images`: or columns), from catalogue.toml; it goes first.
        ignored: columns whose values no product can carry.

    Raises:
        InvalidCatalogue: a mapped column is not there, or no column holds the id.
    """
    names = list(names)
    taken, pictures = _mapped(names, mapping)
    by_plain_name: dict[str, str] = {}
    for name in names:
        if name not in taken.values() and name not in pictures:
            by_plain_name.setdefault(_plain(name), name)
    for target, aliases in KNOWN_NAMES.items():
        found = next((by_plain_name[alias] for alias in aliases if alias in by_plain_name), None)
        if target not in taken and found is not None:
            taken[target] = found
    if "images" not in mapping:
        pictures = [by_plain_name[alias] for alias in PICTURE_NAMES if alias in by_plain_name]
    if "product_id" not in taken:
        raise InvalidCatalogue(
            f"no column holds the product id among: {', '.join(names) or 'none'}; name one 'product_id' "
            'or map it in catalogue.toml: [columns] product_id = "..."'
        )
    useless = [name for name in ignored if name not in taken.values() and name not in pictures]
    rest = [name for name in names if name not in {*taken.values(), *pictures, *useless}]
    return Columns(fields=taken, pictures=tuple(pictures), attributes=tuple(rest), ignored=tuple(useless))


def _mapped(
    names: Sequence[str], mapping: Mapping[str, str | Sequence[str]]
) -> tuple[dict[str, str], list[str]]:
    """The columns that were mapped by hand: by field, and those of pictures."""
    taken: dict[str, str] = {}
    pictures: list[str] = []
    for target, chosen in mapping.items():
        columns = [chosen] if isinstance(chosen, str) else list(chosen)
        if target not in {*KNOWN_NAMES, "images"}:
            fields = ", ".join([*sorted(KNOWN_NAMES), "images"])
            raise InvalidCatalogue(
                f"catalogue.toml maps {target!r}, which is no field; the fields are: {fields}"
            )
        missing = next((column for column in columns if column not in names), None)
        if missing is not None or not columns:
            raise InvalidCatalogue(
                f"catalogue.toml maps {target!r} to column {missing!r}, which is not there; "
                f"the columns are: {', '.join(names)}"
            )
        if target == "images":
            pictures = columns
        else:
            taken[target] = columns[0]
    return taken, pictures


def is_ignorable(value: object) -> bool:
    """Whether no attribute could carry the value: a list of records, for example."""
    return isinstance(value, (list, tuple)) and any(isinstance(part, (dict, list)) for part in value)


def read_row(row: Mapping[str, Any], columns: Columns) -> ReadRow:
    """Read one row.

    Raises:
        InvalidProduct: it cannot be a product; says why and what to do.
    """
    notices: list[Notice] = []
    value = {target: row.get(column) for target, column in columns.fields.items()}
    product_id = _words(value.get("product_id"))
    if not product_id or isinstance(value.get("product_id"), (bool, dict, list)):
        raise InvalidProduct(
            f"column {columns.fields['product_id']!r} is {value.get('product_id')!r}, "
            "must hold the product's id; fill it in"
        )
    price, currency = _price(value.get("price"), notices)
    categories = _list(value.get("category"))
    title = _words(value.get("title"))
    description = _words(value.get("description"))[: max(0, MAX_TEXT_CHARACTERS - len(title))]
    return ReadRow(
        product=Product(
            product_id=product_id,
            title=title,
            description=description,
            attributes=_attributes(row, value, categories[1:], columns),
            category=categories[0] if categories else "",
            brand=_words(value.get("brand")),
            price=price,
            currency=_words(value.get("currency")) or currency,
            in_stock=_in_stock(value.get("in_stock"), notices),
            image_uris=tuple(dict.fromkeys(uri for name in columns.pictures for uri in _uris(row.get(name)))),
        ),
        version=_version(value.get("version"), product_id),
        updated_at=_moment(value.get("updated_at"), notices),
        notices=tuple(notices),
    )


def _attributes(
    row: Mapping[str, Any], value: Mapping[str, Any], more_categories: Sequence[str], columns: Columns
) -> dict[str, str]:
    found = {name: _words(row.get(name)) for name in columns.attributes}
    given = _record(value.get("attributes"))
    if isinstance(given, Mapping):
        found |= {str(name): _words(part) for name, part in given.items()}
    elif given is not None:
        found["attributes"] = _words(given)
    found["colour"] = _words(value.get("colour")) or found.get("colour", "")
    found["more_categories"] = ", ".join(more_categories)
    return {name: said for name, said in found.items() if said}


def _record(value: object) -> object:
    """A record written as JSON text, as CSV files and some databases have to; else the value."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _words(value: object) -> str:
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
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items() if _words(part))
    if isinstance(value, (list, tuple)):
        return ", ".join(
            said for part in value if not isinstance(part, (dict, list)) and (said := _words(part))
        )
    return str(value).strip()


def _list(value: object) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [said for part in value if (said := _words(part))]
    said = _words(value)
    return [said] if said else []


def _uris(value: object) -> list[str]:
    """A name, a list of names, a list in JSON's or a spreadsheet's way."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("url", "uri", "src", "path", "file") if key in value), None)
    if isinstance(value, (list, tuple)):
        return [uri for part in value for uri in _uris(part)]
    said = _words(value)
    if said.startswith("[") and said.endswith("]"):
        said = re.sub(r"[\[\]\"']", "", said)
        return [part.strip() for part in said.split(",") if part.strip()]
    return [part.strip() for part in re.split(r"[|;\n]", said) if part.strip()]


def _price(value: object, notices: list[Notice]) -> tuple[float | None, str]:
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
    said = _words(value)
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


def _in_stock(value: object, notices: list[Notice]) -> bool:
    if value is None or isinstance(value, bool):
        return value is not False
    if isinstance(value, (int, float)):
        return not value <= 0  # NaN: unknown, so sold as before
    said = _plain(str(value).rsplit("/", 1)[-1])
    if not said or said in _IN:
        return True
    if said in _OUT:
        return False
    try:
        return float(str(value).replace(",", "")) > 0
    except ValueError:
        said = str(value)[:40]
        notices.append(
            Notice("in_stock", f"stock {said!r} is neither a number nor yes or no, read as in stock")
        )
        return True


def _version(value: object, product_id: str) -> int | None:
    said = _words(value)
    if not said:
        return None
    if not said.isdecimal() or int(said) > MAX_VERSION:
        raise InvalidProduct(
            f"product {product_id!r}: version is {said[:40]!r}, must be a whole number from 0"
        )
    return int(said)


def _moment(value: object, notices: list[Notice]) -> datetime | None:
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
