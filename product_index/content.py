"""The part of a product that the encoder sees, and the three hashes of a row.

Pure. The text is canonical: the same product gives the same text, whatever
the order of its attributes or the white space a seller typed. Change anything
here and every stored text hash differs, so every product is embedded again.

What a web page escaped (`&trade;`) is read as the sign it stands for, here and
nowhere before: catalogue and stream both come through, and a product that went
from the one to the other has not been read once already.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from html import unescape

from .product import Product

# The demo's encoder reads some 60 tokens; larger ones a few hundred. Beyond
# this many characters nobody reads, and a hash of it would only re-embed in vain.
MAX_TEXT_SEEN = 2_000
# An attribute is a word or two; longer ones are descriptions in disguise.
MAX_ATTRIBUTE_CHARACTERS = 200
# A product whose picture could not be had is told by this prefix of its digest.
MISSING = "missing:"

# Only what is ended as HTML wants it: browsers take "yes&nothing" for "yes¬hing".
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# A flag that is on is told by its name; one that is off says nothing.
_ON = frozenset({"yes", "true"})
_OFF = frozenset({"no", "false", "none", "null", "n/a"})


def text_seen(product: Product) -> str:
    """Return the text that stands for the product, the most telling part first.

    Title, brand, category, attributes by name, description, one per line: an
    encoder that reads only the beginning loses the description's end.

    >>> print(text_seen(Product(product_id="1", title=" Mug ", attributes={"colour": "red", "new": "no"})))
    Mug
    colour: red
    """
    lines = [_read(product.title), _read(product.brand), _read(product.category)]
    lines += [_attribute(_read(name), _read(value)) for name, value in sorted(product.attributes.items())]
    lines.append(_read(product.description))
    said: list[str] = []
    for line in map(_tidy, lines):
        if line and line not in said:  # a title repeated as the description says nothing new
            said.append(line)
    return "\n".join(said)[:MAX_TEXT_SEEN].rstrip()


def text_hash(text: str) -> str:
    """SHA-256 of the text seen, in hex; of the empty text too."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def image_digest(pictures: Sequence[bytes | None], uris: Sequence[str]) -> str:
    """Identify the pictures by their bytes, in order.

    "" where the product names none; SHA-256 in hex where all were read;
    `missing:` and a hash of names and bytes where one could not be had, so
    that the row shows it and the picture is asked for again.
    """
    if not uris:
        return ""
    parts = [
        f"missing {uri}" if picture is None else hashlib.sha256(picture).hexdigest()
        for picture, uri in zip(pictures, uris, strict=True)
    ]
    digest = hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
    return MISSING + digest if None in pictures else digest


def scalar_hash(product: Product) -> str:
    """SHA-256 of what the row carries beside the vector, as canonical JSON."""
    carried = [product.title, product.category, product.brand, product.price, product.in_stock]
    return hashlib.sha256(json.dumps(carried).encode()).hexdigest()


def _tidy(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _read(text: str) -> str:
    return _ENTITY.sub(lambda found: unescape(found.group()), text)


def _attribute(name: str, value: str) -> str:
    said = _tidy(value)[:MAX_ATTRIBUTE_CHARACTERS]
    shown = _tidy(name.replace("_", " "))
    if not said or said.casefold() in _OFF:
        return ""
    return shown if said.casefold() in _ON else f"{shown}: {said}"
