"""The twin: a channel that answers from a dictionary. For tests, examples and a first try."""

from collections.abc import Mapping, Sequence

from product_index.vector_store import Hit
from recall_plugin.query import ChannelAnswer, ChannelRequest


class InMemoryChannel:
    """Answers by the query's text; the fields and the order are the hits' own."""

    def __init__(self, hits: Mapping[str, Sequence[Hit]], *, name: str = "uniecs") -> None:
        self._hits = hits
        self._name = name

    @property
    def name(self) -> str:
        """As plans and provenance call it."""
        return self._name

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        """What was put in for this text and passes the filters, up to the limit."""
        filters = request.query.filters
        hits = [
            hit
            for hit in self._hits.get(request.query.text or "", ())
            if filters is None or filters.allows(hit)
        ]
        return ChannelAnswer(
            status="ok", hits=tuple(hits[: request.limit]), index_version="memory", model_id="none"
        )

    def close(self) -> None:
        """Nothing to let go of."""
