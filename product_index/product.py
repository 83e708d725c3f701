"""What is sold, and a version of it.

Pure records that check themselves once, at birth. Nothing here knows where a
change came from (a catalogue or a topic) or where it goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite

from .errors import InvalidProduct

# A key longer than this would not fit the index's varchar key (bytes of UTF-8).
MAX_PRODUCT_ID_BYTES = 256
# Longer text is a mistake upstream: the encoder reads far less.
MAX_TEXT_CHARACTERS = 100_000
MAX_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What is sold.

    Attributes:
        product_id: the shop's key, 1 to 256 bytes of UTF-8.
        image_uris: names or URIs of pictures, the main one first.
        price: in `currency`, or None where the shop does not tell.
    """

    product_id: str
    title: str = ""
    description: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    category: str = ""
    brand: str = ""
    price: float | None = None
    currency: str = ""
    in_stock: bool = True
    image_uris: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_product_id(self.product_id)
        if len(self.title) + len(self.description) > MAX_TEXT_CHARACTERS:
            raise InvalidProduct(
                f"product {self.product_id!r}: title and description have "
                f"{len(self.title) + len(self.description)} characters, "
                f"at most {MAX_TEXT_CHARACTERS} are read"
            )
        if self.price is not None and not (isfinite(self.price) and self.price >= 0):
            raise InvalidProduct(
                f"product {self.product_id!r}: price is {self.price}, must be a finite number of at least 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductChange:
    """A version of a product, or its removal.

    Attributes:
        version: rises per product; None for a removal that carries no version
            (a null value on the topic): it follows whatever version is stored.
        occurred_at: when the source changed, with a time zone.
        product: the product as of this version; None is a removal.
    """

    product_id: str
    version: int | None
    occurred_at: datetime
    product: Product | None

    def __post_init__(self) -> None:
        check_product_id(self.product_id)
        if self.version is None and self.product is not None:
            raise InvalidProduct(f"product {self.product_id!r}: only a removal may come without a version")
        if self.version is not None and not 0 <= self.version <= MAX_VERSION:
            raise InvalidProduct(
                f"product {self.product_id!r}: version is {self.version}, must be in [0, {MAX_VERSION}]"
            )
        if self.occurred_at.tzinfo is None:
            raise InvalidProduct(
                f"product {self.product_id!r}: occurred_at {self.occurred_at} has no time zone"
            )
        if self.product is not None and self.product.product_id != self.product_id:
            raise InvalidProduct(f"change of {self.product_id!r} carries product {self.product.product_id!r}")

    @property
    def is_removal(self) -> bool:
        """Whether this change takes the product off the shelf."""
        return self.product is None

    @property
    def occurred_at_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return int(self.occurred_at.timestamp() * 1000)


def check_product_id(product_id: str) -> None:
    """Refuse an id that no index could hold.

    Raises:
        InvalidProduct: not a string, empty, too long, or with control characters.
    """
    if not isinstance(product_id, str) or not product_id.strip():
        raise InvalidProduct(f"product id is {product_id!r}, must be a non-empty string")
    if len(product_id.encode("utf-8", "surrogatepass")) > MAX_PRODUCT_ID_BYTES:
        raise InvalidProduct(f"product id {product_id[:40]!r}... is longer than {MAX_PRODUCT_ID_BYTES} bytes")
    if not product_id.isprintable():
        raise InvalidProduct(f"product id {product_id!r} has control characters; use printable ones")
