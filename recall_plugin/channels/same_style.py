"""Same-style products as a channel: what looks like the picture, whatever was typed beside it.

"The same in blue" with a photo asks two things at once. UniECS search answers
the whole; this channel answers the picture alone, so that the product in the
photo itself is found even where the words point away from it. For a product
that is asked about, its own vector is the picture. Text alone has no style:
the answer is empty, and `ok`.
"""

from recall_plugin.query import ChannelAnswer, ChannelRequest, Query
from recall_plugin.settings import Settings

from .nearest import NearestProducts, shared


class SameStyleChannel:
    """The channel `same_style`.

    Args:
        nearest: the index, and the encoder of its vectors; closed with the channel.
    """

    name = "same_style"

    def __init__(self, nearest: NearestProducts) -> None:
        self._nearest = nearest

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        """The nearest products to the picture alone."""
        query = request.query
        if query.image is not None and query.has_text:
            query = Query(image=query.image, filters=query.filters, limit=query.limit)
        if query.image is None and query.similar_to is None:
            return ChannelAnswer(status="ok", reason="no picture, so no style to look for")
        return self._nearest.answer(query, request)

    def close(self) -> None:
        """Let go of the index."""
        self._nearest.close()


def from_settings(settings: Settings) -> SameStyleChannel:
    """The channel as the environment describes it; the entry point `same_style`."""
    return SameStyleChannel(shared.borrow(settings))
