"""Which column is what, and one row of a catalogue as a product.

Columns are recognised by their common names, case and separators ignored, or
mapped by hand. Pure: rows come in as mappings, whatever file they were in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .cells import (
    Notice,
    in_stock_of,
    list_of,
    moment_of,
    plain,
    price_of,
    record_of,
    uris_of,
    version_of,
    words_of,
)
from .errors import InvalidCatalogue, InvalidProduct
from .product import MAX_TEXT_CHARACTERS, Product

# Field -> names it goes by, the surest first; letters and digits only, lower case.
KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "product_id": (
        "productid", "sku", "id", "itemid", "productcode", "itemcode", "code", "stockcode", "articleid",
        "articlenumber", "productnumber", "itemnumber", "asin", "gtin", "ean", "uniqid", "handle", "uid",
        "key",
    ),
    "title": (
        "title", "producttitle", "productname", "name", "itemname", "productdisplayname", "displayname",
    ),
    "description": (
        "description", "productdescription", "longdescription", "shortdescription", "desc", "body",
        "bodyhtml", "details", "about", "text",
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
    "imagefile", "imagepath", "imagename", "iconicimage", "picture", "pictures", "photo", "photos", "img",
    "filename",
    "moreimages", "additionalimages", "additionalimagelink", "thumbnail",
)  # fmt: skip


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
            by_plain_name.setdefault(plain(name), name)
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
    product_id = words_of(value.get("product_id"))
    if not product_id or isinstance(value.get("product_id"), (bool, dict, list)):
        raise InvalidProduct(
            f"column {columns.fields['product_id']!r} is {value.get('product_id')!r}, "
            "must hold the product's id; fill it in"
        )
    price, currency = price_of(value.get("price"), notices)
    categories = list_of(value.get("category"))
    title = words_of(value.get("title"))
    description = words_of(value.get("description"))[: max(0, MAX_TEXT_CHARACTERS - len(title))]
    return ReadRow(
        product=Product(
            product_id=product_id,
            title=title,
            description=description,
            attributes=_attributes(row, value, categories[1:], columns),
            category=categories[0] if categories else "",
            brand=words_of(value.get("brand")),
            price=price,
            currency=words_of(value.get("currency")) or currency,
            in_stock=in_stock_of(value.get("in_stock"), notices),
            image_uris=tuple(
                dict.fromkeys(uri for name in columns.pictures for uri in uris_of(row.get(name)))
            ),
        ),
        version=version_of(value.get("version"), product_id),
        updated_at=moment_of(value.get("updated_at"), notices),
        notices=tuple(notices),
    )


def _attributes(
    row: Mapping[str, Any], value: Mapping[str, Any], more_categories: Sequence[str], columns: Columns
) -> dict[str, str]:
    found = {name: words_of(row.get(name)) for name in columns.attributes}
    given = record_of(value.get("attributes"))
    if isinstance(given, Mapping):
        found |= {str(name): words_of(part) for name, part in given.items()}
    elif given is not None:
        found["attributes"] = words_of(given)
    found["colour"] = words_of(value.get("colour")) or found.get("colour", "")
    found["more_categories"] = ", ".join(more_categories)
    return {name: said for name, said in found.items() if said}
