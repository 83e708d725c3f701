"""The UniECS channel on the twins of encoder and database."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from product_index.encoder import Vectors
from product_index.errors import StoreUnavailable
from product_index.in_memory import InMemoryVectorDatabase, InMemoryVectorStore
from product_index.vector_store import Filter, Hit
from recall_plugin.channels.uniecs import UniecsChannel
from recall_plugin.query import ChannelRequest, Query
from tests.recall_plugin.rows import ENCODER, SPEC, row


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database() -> InMemoryVectorDatabase:
    made = InMemoryVectorDatabase()
    made.create("products_v1", SPEC).upsert(
        [
            row("red-mug", "red mug", category="cups", price=5.0),
            row("blue-mug", "blue mug", category="cups", price=9.0, in_stock=False),
            row("red-rug", "red rug", category="rugs", price=90.0),
        ]
    )
    made.switch("products", "products_v1")
    return made


@pytest.fixture
def open_channel(database: InMemoryVectorDatabase, clock: Clock) -> Callable[..., UniecsChannel]:
    return lambda **options: UniecsChannel(
        ENCODER,
        options.pop("connect", lambda: database),
        alias="products",
        clock=clock,
        **options,
    )


def request(query: Query, *, deadline_s: float = 1e9, limit: int = 10) -> ChannelRequest:
    return ChannelRequest(query=query, limit=limit, deadline_s=deadline_s, request_id="q1", unit_id="u1")


def test_it_finds_the_nearest_products_and_says_which_index_and_model(
    open_channel: Callable[..., UniecsChannel],
) -> None:
    """The log must be able to tell one index from the next."""
    answer = open_channel().find(request(Query(text="Red MUG"), limit=2))

    assert "red-mug" == answer.hits[0].product_id
    assert 2 == len(answer.hits)
    assert ("ok", "products_v1", "hash-1") == (answer.status, answer.index_version, answer.model_id)


def test_filters_are_pushed_down(open_channel: Callable[..., UniecsChannel]) -> None:
    """The limit is spent on products that pass."""
    query = Query(text="red", filters=Filter(category="cups", in_stock=True))
    answer = open_channel().find(request(query, limit=1))

    assert ["red-mug"] == [hit.product_id for hit in answer.hits]


def test_below_the_floor_of_the_query_kind_nothing_is_relevant(
    open_channel: Callable[..., UniecsChannel],
) -> None:
    """Without a floor the nearest is always found, however far it is."""
    strict = open_channel(floors={"text": 0.99})

    assert ["red-mug"] == [hit.product_id for hit in strict.find(request(Query(text="red mug"))).hits]
    assert 3 == len(open_channel().find(request(Query(text="red mug"))).hits)
    assert 3 == len(strict.find(request(Query(image=b"a photo"))).hits)


def test_an_index_swap_is_followed_without_a_restart(
    open_channel: Callable[..., UniecsChannel], database: InMemoryVectorDatabase, clock: Clock
) -> None:
    """Within the interval; until then the old collection serves."""
    channel = open_channel(follow_alias_s=1.0)
    channel.find(request(Query(text="mug")))
    database.create("products_v2", SPEC).upsert([row("green-mug", "green mug")])
    database.switch("products", "products_v2")
    before = channel.find(request(Query(text="mug")))
    clock.now_s += 1.0
    after = channel.find(request(Query(text="mug")))

    assert ("products_v1", "products_v2") == (before.index_version, after.index_version)
    assert ["green-mug"] == [hit.product_id for hit in after.hits]


def test_another_models_collection_is_never_searched(
    open_channel: Callable[..., UniecsChannel], database: InMemoryVectorDatabase, clock: Clock
) -> None:
    """Off, and on again when encoder and collection agree."""
    channel = open_channel()
    database.create("products_v2", replace(SPEC, model_id="hash-2"))
    database.switch("products", "products_v2")
    off = channel.find(request(Query(text="mug")))
    database.switch("products", "products_v1")
    clock.now_s += 1.0
    on = channel.find(request(Query(text="mug")))

    assert ("off", ()) == (off.status, off.hits)
    assert "'hash-2'" in off.reason
    assert "ok" == on.status


def test_without_an_index_it_is_off_until_there_is_one(
    open_channel: Callable[..., UniecsChannel], database: InMemoryVectorDatabase, clock: Clock
) -> None:
    """A new shop starts the funnel before its first refresh."""
    empty = InMemoryVectorDatabase()
    channel = open_channel(connect=lambda: empty)
    off = channel.find(request(Query(text="mug")))
    empty.create("products_v1", SPEC)
    empty.switch("products", "products_v1")
    clock.now_s += 1.0

    assert "off" == off.status
    assert "'products'" in off.reason
    assert "ok" == channel.find(request(Query(text="mug"))).status


class Away(InMemoryVectorDatabase):
    """A database that can be unplugged."""

    away = False
    opened = 0

    def connect(self) -> "Away":
        self.resolve("products")
        return self

    def resolve(self, alias: str) -> str | None:
        if self.away:
            raise StoreUnavailable("no route to host")
        return super().resolve(alias)

    def open(self, name: str) -> InMemoryVectorStore:
        self.opened += 1
        return Moody(super().open(name))  # type: ignore[return-value]


class Moody:
    """A store that a restarted server may forget to load."""

    def __init__(self, store: InMemoryVectorStore) -> None:
        self._store = store
        self.name, self.spec = store.name, store.spec
        self.loaded = True

    def search(self, vectors: Vectors, *, limit: int, where: Filter | None = None) -> list[list[Hit]]:
        if not self.loaded:
            raise StoreUnavailable("collection not loaded")
        return self._store.search(vectors, limit=limit, where=where)


@pytest.fixture
def away() -> Away:
    made = Away()
    made.create("products_v1", SPEC).upsert([row("red-mug", "red mug")])
    made.switch("products", "products_v1")
    return made


def test_while_the_database_does_not_answer_what_was_served_goes_on(
    open_channel: Callable[..., UniecsChannel], away: Away, clock: Clock
) -> None:
    """The alias cannot be looked up; the collection may well be searched."""
    channel = open_channel(connect=away.connect)
    channel.find(request(Query(text="mug")))
    away.away = True
    clock.now_s += 10

    assert "ok" == channel.find(request(Query(text="mug"))).status


def test_the_search_may_start_before_the_database(
    open_channel: Callable[..., UniecsChannel], away: Away, clock: Clock
) -> None:
    """It is tried again once per interval, not once per request."""
    away.away = True
    attempts: list[float] = []

    def connect() -> Away:
        attempts.append(clock.now_s)
        return away.connect()

    channel = open_channel(connect=connect)
    early = [channel.find(request(Query(text="mug"))).status for _ in range(3)]
    away.away = False
    clock.now_s += 1.0

    assert ["error"] * 3 == early
    assert "ok" == channel.find(request(Query(text="mug"))).status
    assert [0.0, 1.0] == attempts


def test_a_collection_that_fails_is_opened_again(
    open_channel: Callable[..., UniecsChannel], away: Away
) -> None:
    """A restarted server does not keep the channel down until the next swap."""
    channel = open_channel(connect=away.connect)
    channel.find(request(Query(text="mug")))
    serving = channel._nearest._serving
    assert serving is not None
    serving.store.loaded = False  # type: ignore[union-attr]
    with pytest.raises(StoreUnavailable, match="not loaded"):
        channel.find(request(Query(text="mug")))

    assert "ok" == channel.find(request(Query(text="mug"))).status
    assert 2 == away.opened


def test_past_its_deadline_it_gives_up_before_the_search(open_channel: Callable[..., UniecsChannel]) -> None:
    """Nobody waits for it any more."""
    assert "timeout" == open_channel().find(request(Query(text="mug"), deadline_s=0.0)).status


def test_an_image_that_cannot_be_read_leaves_the_text(open_channel: Callable[..., UniecsChannel]) -> None:
    """A partial answer; a fault of the shopper's file is none of the channel."""
    both = open_channel().find(request(Query(text="red mug", image=b"broken")))
    alone = open_channel().find(request(Query(image=b"broken")))

    assert ("partial", "red-mug") == (both.status, both.hits[0].product_id)
    assert ("partial", ()) == (alone.status, alone.hits)
    assert "cannot be read" in alone.reason
