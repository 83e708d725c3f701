"""The nearest products in the index that is served: what the channels of this project share.

Follows the alias: when the index is switched, the next requests ask the new
collection, without a restart. A collection of another model's vectors is never
searched: the answer is `off` until encoder and collection agree again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

import structlog

from experiments.exposure import QueryKind
from product_index.embedding import check_same_space
from product_index.encoder import Encoder, UnreadablePicture
from product_index.errors import ModelMismatch, Retryable, UnknownCollection
from product_index.vector_store import Hit, VectorDatabase, VectorStore
from recall_plugin.query import ChannelAnswer, ChannelRequest, Query, Status
from recall_plugin.query_vectors import DEFAULT_CAPACITY, QueryVectors, Vector
from recall_plugin.settings import Settings

log = structlog.get_logger(__name__)

NO_FLOOR = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the alias led to when last looked at: a store, or why there is none."""

    store: VectorStore | None = None
    status: Status = "ok"
    reason: str = ""


BEING_OPENED = Serving(status="off", reason="the index is being opened")


class NearestProducts:
    """Answers queries from the collection behind an alias.

    Args:
        encoder: gives queries their vectors.
        connect: opens the database; called when it is first needed, and again
            while it does not answer, so that the search can start before it.
        alias: the name of what is served.
        floors: by query kind, the cosine below which a hit is not relevant.
        follow_alias_s: how long an alias is trusted before it is looked up again.
        clock: monotonic seconds, as in the requests' deadlines.
    """

    def __init__(
        self,
        encoder: Encoder,
        connect: Callable[[], VectorDatabase],
        *,
        alias: str,
        floors: Mapping[QueryKind, float] | None = None,
        follow_alias_s: float = 1.0,
        cache_capacity: int = DEFAULT_CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._encoder = encoder
        self._connect = connect
        self._alias = alias
        self._floors = dict(floors or {})
        self._follow_alias_s = follow_alias_s
        self._vectors = QueryVectors(encoder, capacity=cache_capacity)
        self._clock = clock
        self._looking = Lock()
        self._database: VectorDatabase | None = None
        self._look_again_s = float("-inf")
        self._serving: Serving | None = None
        self._counting = Lock()
        self._users = 1

    def answer(self, query: Query, request: ChannelRequest) -> ChannelAnswer:
        """The nearest products above the floor for this query, which may be a part of the request's."""
        serving = self.follow()
        if serving.store is None:
            return ChannelAnswer(status=serving.status, reason=serving.reason)
        unread = ""
        try:
            vector = self._vector(query, request, serving.store)
        except UnreadablePicture as error:
            # The shopper's image is at fault, not the channel: what else was asked is answered.
            unread = str(error)
            if not query.has_text:
                return _said(serving.store, (), unread)
            query = Query(text=query.text, filters=query.filters, limit=query.limit)
            vector = self._vector(query, request, serving.store)
        if vector is None and query.similar_to is not None:
            unread = f"product {query.similar_to!r} is not in the index, so nothing is similar to it"
            return _said(serving.store, (), unread)
        if vector is None or self._clock() >= request.deadline_s:
            return ChannelAnswer(
                status="timeout", reason="no time left to search after the query was embedded"
            )
        hits = self._nearest(vector, query, request, serving, serving.store)
        floor = self._floors.get(query.kind, NO_FLOOR)
        relevant = tuple(hit for hit in hits if hit.score >= floor) if floor > NO_FLOOR else tuple(hits)
        return _said(serving.store, relevant, unread)

    def prepare(self, query: Query, *, wait_s: float) -> None:
        """Embed the query now, so that it is known when it is asked.

        Raises:
            UnreadablePicture: the image cannot be read.
        """
        self._vectors.vector(query, wait_s=wait_s)

    def follow(self) -> Serving:
        """What the alias means, looked up at most once per interval, by one thread; nobody waits for it."""
        known = self._serving
        if known is not None and self._clock() < self._look_again_s:
            return known
        if not self._looking.acquire(blocking=False):
            return known or BEING_OPENED
        try:
            serving = self._look(known)
            if serving.status == "off" and serving != known:
                log.warning("channel_off", alias=self._alias, why=serving.reason)
            self._look_again_s = self._clock() + self._follow_alias_s
            self._serving = serving
        finally:
            self._looking.release()
        return serving

    def lend(self) -> bool:
        """One more user; False if it is closed already. The last to close lets go of the database."""
        with self._counting:
            self._users += self._users > 0
            return self._users > 0

    def close(self) -> None:
        """One user less."""
        with self._counting:
            self._users -= 1
            if self._users == 0 and self._database is not None:
                self._database.close()

    def _vector(self, query: Query, request: ChannelRequest, store: VectorStore) -> Vector | None:
        if query.similar_to is None:
            return self._vectors.vector(query, wait_s=request.deadline_s - self._clock())
        row = store.get([query.similar_to]).get(query.similar_to)
        return None if row is None or row.fingerprint.deleted else row.vector

    def _nearest(
        self, vector: Vector, query: Query, request: ChannelRequest, serving: Serving, store: VectorStore
    ) -> list[Hit]:
        itself = query.similar_to
        try:
            limit = request.limit + (itself is not None)
            (hits,) = store.search(vector[None, :], limit=limit, where=query.filters)
        except (Retryable, UnknownCollection):
            # Switched and dropped, or no longer loaded: the next request opens it again.
            if self._serving is serving:
                self._serving = None
            raise
        return hits if itself is None else [hit for hit in hits if hit.product_id != itself][: request.limit]

    def _look(self, known: Serving | None) -> Serving:
        try:
            if self._database is None:
                self._database = self._connect()
            name = self._database.resolve(self._alias) or self._alias
            if known is not None and known.store is not None and known.store.name == name:
                return known
            store = self._database.open(name)
            check_same_space(self._encoder, store.spec, store.name)
        except Retryable as error:
            if known is not None and known.store is not None:
                return known  # the database does not answer just now: what was served is still right
            return Serving(status="error", reason=str(error))
        except (ModelMismatch, UnknownCollection) as error:
            return Serving(status="off", reason=str(error))
        log.info("index_followed", alias=self._alias, collection=store.name)
        return Serving(store=store)


class SharedNearest:
    """One model and one connection for all channels of a process that read the same index."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[str, NearestProducts] = {}

    def borrow(self, settings: Settings) -> NearestProducts:
        """What these settings describe, opened once; every borrower closes it."""
        from product_index.build import build_database, build_encoder
        from product_index.settings import read_settings

        index = read_settings()
        floors: dict[QueryKind, float] = {
            "text": settings.floor_text, "image": settings.floor_image, "both": settings.floor_both
        }  # fmt: skip
        name = repr((index, floors, settings.follow_alias_ms, settings.query_cache))
        with self._lock:
            if name in self._open and self._open[name].lend():
                return self._open[name]
            self._open[name] = NearestProducts(
                build_encoder(index),
                lambda: build_database(index),
                alias=index.product_alias,
                floors=floors,
                follow_alias_s=settings.follow_alias_ms / 1000,
                cache_capacity=settings.query_cache,
            )
            return self._open[name]


shared = SharedNearest()


def _said(store: VectorStore, hits: tuple[Hit, ...], unread: str) -> ChannelAnswer:
    return ChannelAnswer(
        status="partial" if unread else "ok",
        hits=hits,
        index_version=store.name,
        model_id=store.spec.model_id,
        reason=unread,
    )
