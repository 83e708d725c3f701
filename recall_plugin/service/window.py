"""Products of the catalogue, to show beside ids; and a plain word search over them to compare with.

For the console only; in memory.
"""

from collections.abc import Sequence

import structlog

from product_index.build import build_catalogue, build_pictures
from product_index.errors import PictureMissing, ProductIndexError
from product_index.pictures import Pictures
from product_index.settings import read_settings

from .problems import Problem
from .shop_search import ShopSearch

log = structlog.get_logger(__name__)

# A page to look at things needs no more, and half a gigabyte holds as many.
MAX_PRODUCTS = 200_000
MAX_CHOICES = 200
MAX_TRIES = 6
_BEGINNINGS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


class Window(ShopSearch):
    """The catalogue's products; empty until they are put in."""

    def __init__(self) -> None:
        """Empty."""
        super().__init__()
        self._pictures: Pictures | None = None
        self.state = "being read"

    def fill_from_settings(self) -> None:
        """Read the catalogue that CATALOGUE names; without one the window stays empty. Never raises."""
        settings = read_settings()
        if settings.catalogue is None:
            self.state = "CATALOGUE is not set, so there are no pictures and no word search here"
            return
        try:
            pictures = build_pictures(settings)
            for page in build_catalogue(settings).pages():
                self.put(change.product for change in page if change.product is not None)
                if len(self) >= MAX_PRODUCTS:
                    break
            self._pictures = pictures
            self.state = f"{len(self)} products"
        except ProductIndexError as error:
            self.state = str(error)
            log.warning("window_not_filled", why=str(error))

    def cards(self, product_ids: Sequence[str]) -> dict[str, dict[str, object]]:
        """What to show of these products; those that are not known are left out."""
        marks = ", ".join("?" * len(product_ids))
        with self._lock:
            rows = self._database.execute(
                "SELECT product_id, title, category, brand, price, currency, in_stock, "  # noqa: S608
                f"picture IS NOT NULL FROM shelf WHERE product_id IN ({marks})",
                tuple(product_ids),
            ).fetchall()
        names = ("title", "category", "brand", "price", "currency", "in_stock", "has_picture")
        return {
            row[0]: dict(zip(names, (*row[1:6], bool(row[6]), bool(row[7])), strict=True)) for row in rows
        }

    def choices(self) -> dict[str, list[str]]:
        """Categories and brands, the most frequent first."""
        with self._lock:
            return {
                column: [
                    value
                    for (value,) in self._database.execute(
                        f"SELECT {column} FROM shelf WHERE {column} != '' "  # noqa: S608 - a fixed name
                        f"GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {MAX_CHOICES}"
                    )
                ]
                for column in ("category", "brand")
            }

    def tries(self) -> list[str]:
        """A few titles that a shopper could have typed, spread over the catalogue."""
        with self._lock:
            rows = self._database.execute(
                "SELECT lower(title) FROM shelf WHERE title LIKE '% %' AND title NOT LIKE '% % % % %' "
                "AND title NOT GLOB '*[0-9]*' GROUP BY 1 ORDER BY max(number * 7919 % 104729) LIMIT ?",
                (MAX_TRIES,),
            ).fetchall()
        return [title for (title,) in rows]

    def picture(self, product_id: str) -> tuple[bytes, str]:
        """A product's main picture and its media type. Blocks.

        Raises:
            Problem: there is none (404).
        """
        with self._lock:
            row = self._database.execute(
                "SELECT picture FROM shelf WHERE product_id = ?", (product_id,)
            ).fetchone()
        if row is None or row[0] is None or self._pictures is None:
            raise Problem(404, f"product {product_id[:80]!r} has no picture here")
        try:
            picture = self._pictures.read(row[0])
        except (PictureMissing, ProductIndexError) as error:
            raise Problem(404, str(error)) from error
        kind = next((kind for start, kind in _BEGINNINGS.items() if picture.startswith(start)), None)
        if kind is None:
            raise Problem(404, f"the picture of {product_id[:80]!r} is none that a page shows")
        return picture, kind
