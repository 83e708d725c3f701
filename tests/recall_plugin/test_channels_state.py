"""How fresh an index is, found with a few counts."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from product_index.encoder import Content
from product_index.errors import StoreUnavailable
from product_index.in_memory import InMemoryVectorDatabase
from recall_plugin.channels.limited import LimitedChannel
from recall_plugin.channels.state import ChannelState, state_of
from recall_plugin.channels.uniecs import UniecsChannel
from tests.recall_plugin.doubles import finds
from tests.recall_plugin.rows import ENCODER, SPEC, row

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def channel(*ages_s: float) -> LimitedChannel:
    """A channel on an index whose rows were written so long ago."""
    database = InMemoryVectorDatabase()
    rows = [row(f"p{number}", Content(text="mug")) for number in range(len(ages_s))]
    database.create("products_v1", SPEC).upsert(
        [
            replace(one, indexed_at_ms=int((NOW.timestamp() - age_s) * 1000))
            for one, age_s in zip(rows, ages_s, strict=True)
        ]
    )
    database.switch("products", "products_v1")
    return LimitedChannel(UniecsChannel(ENCODER, lambda: database, alias="products"))


@pytest.mark.parametrize(
    ("ages_s", "within_s", "last_hour"),
    [((4, 9_000), 5, 1), ((3_000, 50), 60, 2), ((4_000,), 21_600, 0), ((10**7,), -1, 0), ((), -1, 0)],
)
def test_the_newest_product_says_how_fresh_the_index_is(
    ages_s: tuple[float, ...], within_s: int, last_hour: int
) -> None:
    """By the shortest window that it was written in."""
    state = state_of(channel(*ages_s), now=NOW)

    assert (len(ages_s), within_s, last_hour) == (
        state.products,
        state.written_within_s,
        state.written_last_hour,
    )
    assert ("loaded", "products_v1", "hash-1", 0, 8) == (
        state.state,
        state.index_version,
        state.model_id,
        state.in_flight,
        state.limit,
    )


def test_a_channel_of_somebody_elses_need_not_have_an_index() -> None:
    """Loaded is all that is known of it."""
    assert ChannelState(state="loaded") == state_of(finds("mug"))


def test_an_index_that_does_not_answer_is_still_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freshness is for people: it fails nothing."""
    asked = channel(5)

    def away(*_: object, **__: object) -> int:
        raise StoreUnavailable("away")

    monkeypatch.setattr("product_index.in_memory.InMemoryVectorStore.count", away)
    state = state_of(asked, now=NOW)

    assert ("products_v1", -1, -1) == (state.index_version, state.products, state.written_within_s)
