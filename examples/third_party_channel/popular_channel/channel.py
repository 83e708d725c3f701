"""The channel `popular`: the best-selling products that have a word of the query in their title.

Everything that a channel must do is here. It is asked on a thread of its own,
several questions at a time. It may be slow, raise or be wrong: the plugin
leaves it alone after a while, and the shopper gets the base meanwhile.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from product_index.vector_store import Hit
from recall_plugin.query import ChannelAnswer, ChannelRequest
from recall_plugin.settings import Settings


@dataclass(frozen=True)
class PopularChannel:
    """Products in the order in which they sell, best first."""

    products: tuple[Hit, ...]
    version: str
    name: str = "popular"

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        """The first that match, up to the limit, in the time that there is."""
        query, found = request.query, list[Hit]()
        words = set((query.text or "").lower().split())
        status = "ok"
        for hit in self.products:
            if len(found) == request.limit:
                break
            if time.monotonic() >= request.deadline_s:
                status = "partial"  # what was found in time is still of use
                break
            # Push filters down: what does not pass is dropped later, and was looked for in vain.
            if (query.filters is None or query.filters.allows(hit)) and words & set(
                hit.title.lower().split()
            ):
                found.append(hit)
        return ChannelAnswer(status=status, hits=tuple(found), index_version=self.version, model_id="sales")

    def close(self) -> None:
        """Nothing to let go of."""


def from_settings(_: Settings) -> PopularChannel:
    """The channel of this environment: POPULAR_FILE is a JSON list of products, best-selling first.

    What is raised here keeps this channel out, says why, and harms no other.
    """
    file = Path(os.environ["POPULAR_FILE"])
    products = json.loads(file.read_text(encoding="utf-8"))
    hits = tuple(
        Hit(
            product_id=product["product_id"],
            score=1 / rank,
            version=1,
            title=product["title"],
            category=product.get("category", ""),
            brand=product.get("brand", ""),
            price=product.get("price"),
            in_stock=product.get("in_stock", True),
        )
        for rank, product in enumerate(products, start=1)
    )
    return PopularChannel(hits, version=f"{file.name}@{int(file.stat().st_mtime)}")
