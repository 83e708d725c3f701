"""A real, bursty, dirty stream of prices and texts, as changes of products.

`online_retail` by the rule of its SOURCE.md: rows with a price above nought and
a description; text is stripped and upper-cased; a row counts when it differs
from the row before of the same stock code.
"""

import csv
import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from product_index.product import Product, ProductChange

ROOT = Path(__file__).parents[1]
FILE = "online_retail/2010-12.csv.gz"


@dataclass(frozen=True, slots=True)
class RetailChange:
    """A row that changed something, and what.

    Attributes:
        only_white_space: of the text; the encoder sees no difference.
        before: the text of the row before, None for the first.
    """

    change: ProductChange
    created: bool
    text: bool
    only_white_space: bool
    price: bool
    before: str | None


def retail_file() -> Path | None:
    """The data, from SHARED_DATA or beside the checkout; None where it is not."""
    told = os.environ.get("SHARED_DATA")
    places = [Path(told)] if told else [ROOT.parent / "shared" / "data"]
    return next((place / FILE for place in places if (place / FILE).exists()), None)


def retail_changes(file: Path) -> Iterator[RetailChange]:
    """The rows that change something, in order; the version is the number of the row."""
    held: dict[str, tuple[str, float]] = {}
    with gzip.open(file, "rt", encoding="utf-8", newline="") as opened:
        for number, row in enumerate(csv.DictReader(opened), start=1):
            text, price = row["Description"].strip().upper(), float(row["UnitPrice"])
            if price <= 0 or not text:
                continue
            code = row["StockCode"]
            before, held[code] = held.get(code), (text, price)
            if before == (text, price):
                continue
            product = Product(product_id=code, title=text, price=price, currency="GBP")
            occurred_at = datetime.fromisoformat(row["InvoiceDate"]).replace(tzinfo=UTC)
            change = ProductChange(product_id=code, version=number, occurred_at=occurred_at, product=product)
            yield RetailChange(
                change,
                created=before is None,
                text=before is not None and before[0] != text,
                only_white_space=before is not None and before[0].split() == text.split(),
                price=before is not None and before[1] != price,
                before=None if before is None else before[0],
            )
