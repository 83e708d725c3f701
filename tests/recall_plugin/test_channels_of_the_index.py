"""Similar products, same style, and one model for both channels."""

import pytest

from product_index.encoder import Content
from product_index.in_memory import InMemoryVectorDatabase
from product_index.vector_store import Filter
from recall_plugin.channels.nearest import NearestProducts, SharedNearest
from recall_plugin.channels.same_style import SameStyleChannel
from recall_plugin.channels.uniecs import UniecsChannel
from recall_plugin.query import ChannelRequest, Query
from recall_plugin.settings import Settings
from tests.recall_plugin.rows import ENCODER, SPEC, row


@pytest.fixture
def nearest() -> NearestProducts:
    database = InMemoryVectorDatabase()
    database.create("products_v1", SPEC).upsert(
        [
            row("red-mug", Content(text="red mug"), category="cups"),
            row("blue-mug", Content(text="blue mug"), category="cups"),
            row("red-rug", Content(text="red rug"), category="rugs"),
            row("pictured", Content(pictures=(b"a photo",)), category="rugs"),
            row("gone", Content(text="red mug"), deleted=True),
        ]
    )
    database.switch("products", "products_v1")
    return NearestProducts(ENCODER, lambda: database, alias="products")


def request(query: Query, limit: int = 3) -> ChannelRequest:
    return ChannelRequest(query=query, limit=limit, deadline_s=1e12, request_id="q1", unit_id="u1")


def test_what_is_similar_to_a_product_is_near_its_own_vector(nearest: NearestProducts) -> None:
    """No encoder is asked, the product itself is left out, and the page is full all the same."""
    answer = UniecsChannel.on(nearest).find(request(Query(similar_to="red-mug")))

    assert {"red-rug", "blue-mug", "pictured"} == {hit.product_id for hit in answer.hits}
    assert "ok" == answer.status


def test_filters_hold_for_similar_products_too(nearest: NearestProducts) -> None:
    """Pushed down."""
    query = Query(similar_to="red-mug", filters=Filter(category="rugs"))

    found = UniecsChannel.on(nearest).find(request(query, 1))

    assert ["red-rug"] == [hit.product_id for hit in found.hits]


@pytest.mark.parametrize("name", ["nowhere", "gone"])
def test_a_product_that_is_not_in_the_index_has_nothing_similar(nearest: NearestProducts, name: str) -> None:
    """Said in words; the channel is well."""
    answer = UniecsChannel.on(nearest).find(request(Query(similar_to=name)))

    assert ("partial", ()) == (answer.status, answer.hits)
    assert f"product '{name}' is not in the index" in answer.reason


def test_same_style_looks_at_the_picture_and_not_at_the_words(nearest: NearestProducts) -> None:
    """The words may point away from the very product in the photo."""
    channel = SameStyleChannel(nearest)
    both = channel.find(request(Query(text="red rug red rug red rug", image=b"a photo"), 1))
    product = channel.find(request(Query(similar_to="red-mug"), 2))

    assert ["pictured"] == [hit.product_id for hit in both.hits]
    assert 2 == len(product.hits)


def test_text_alone_has_no_style(nearest: NearestProducts) -> None:
    """Nothing to say is an answer, not a failure."""
    answer = SameStyleChannel(nearest).find(request(Query(text="mug")))

    assert ("ok", ()) == (answer.status, answer.hits)


def test_channels_of_one_process_share_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading it twice would take its memory twice; the last one to close closes it."""
    monkeypatch.setenv("UNIECS_MODEL", "hash")
    shared, settings = SharedNearest(), Settings(_env_file=None)
    first = shared.borrow(settings)

    assert shared.borrow(settings) is first
    first.close()
    assert shared.borrow(settings) is first
    first.close()
    first.close()
    assert shared.borrow(settings) is not first
