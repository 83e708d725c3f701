"""UniECS search as a channel: the query's vector, then the nearest products.

Text, an image or both are embedded as one; a product that is asked about
brings the vector it has in the index.
"""

from collections.abc import Callable
from typing import Any, Self

from product_index.encoder import Encoder
from product_index.vector_store import VectorDatabase
from recall_plugin.query import ChannelAnswer, ChannelRequest, Query
from recall_plugin.settings import Settings

from .nearest import BEING_OPENED, NearestProducts, Serving, shared

__all__ = ["BEING_OPENED", "Serving", "UniecsChannel", "from_settings"]


class UniecsChannel:
    """The channel `uniecs`.

    Args:
        encoder: gives queries their vectors.
        connect: opens the database, when it is first needed.
        options: of `NearestProducts`.
    """

    name = "uniecs"

    def __init__(
        self, encoder: Encoder, connect: Callable[[], VectorDatabase], *, alias: str, **options: Any
    ) -> None:
        self._nearest = NearestProducts(encoder, connect, alias=alias, **options)

    @classmethod
    def on(cls, nearest: NearestProducts) -> Self:
        """The channel on an index that others use too; closing it closes their common part last."""
        channel = cls.__new__(cls)
        channel._nearest = nearest
        return channel

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        """The nearest products above the floor."""
        return self._nearest.answer(request.query, request)

    def prepare(self, query: Query, *, wait_s: float) -> None:
        """Embed the query before it is asked."""
        if query.similar_to is None:
            self._nearest.prepare(query, wait_s=wait_s)

    def serving(self) -> Serving:
        """What is searched just now."""
        return self._nearest.follow()

    def close(self) -> None:
        """Let go of the database."""
        self._nearest.close()


def from_settings(settings: Settings) -> UniecsChannel:
    """The channel as the environment describes it; the entry point `uniecs`."""
    return UniecsChannel.on(shared.borrow(settings))
