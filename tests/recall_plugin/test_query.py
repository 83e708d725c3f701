"""What a shopper may ask."""

import pytest

from recall_plugin.errors import InvalidQuery
from recall_plugin.query import MAX_IMAGE_BYTES, MAX_TEXT_CHARACTERS, Query


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        (Query(text="mug"), "text"),
        (Query(image=b"jpeg"), "image"),
        (Query(text=" \n", image=b"jpeg"), "image"),
        (Query(text="like this, in red", image=b"jpeg"), "both"),
        (Query(similar_to="mug"), "both"),
        (Query(text="x" * MAX_TEXT_CHARACTERS, limit=1), "text"),
    ],
)
def test_a_query_knows_which_sides_it_has(query: Query, kind: str) -> None:
    """Floors and reports go by it; blank text is no text."""
    assert kind == query.kind


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "neither text nor image"),
        ({"text": "  \t"}, "neither text nor image"),
        ({"text": "x" * (MAX_TEXT_CHARACTERS + 1)}, "2001 characters, at most 2000"),
        ({"text": "half a pair \ud83d"}, "lone surrogate at 12"),
        ({"text": 7}, "text is a int"),
        ({"similar_to": ""}, "similar_to: "),
        ({"similar_to": 7}, "similar_to: "),
        ({"similar_to": "mug", "text": "red"}, "text and image must be absent"),
        ({"similar_to": "mug", "image": b"jpeg"}, "text and image must be absent"),
        ({"image": b""}, "0 bytes"),
        ({"image": "photo.jpg"}, "image is a str"),
        ({"image": bytes(MAX_IMAGE_BYTES + 1)}, "20000001 bytes, at most 20000000"),
        ({"text": "mug", "limit": 0}, "limit is 0"),
        ({"text": "mug", "limit": 10**9}, "limit is 1000000000"),
        ({"text": "mug", "limit": True}, "limit is True"),
        ({"text": "mug", "limit": 2.5}, "limit is 2.5"),
    ],
)
def test_a_query_that_no_channel_could_take_is_refused_in_one_sentence(
    fields: dict[str, object], says: str
) -> None:
    """The value and the rule, at birth, before any channel sees it."""
    with pytest.raises(InvalidQuery, match=says):
        Query(**fields)  # type: ignore[arg-type]


def test_the_log_names_an_image_by_its_bytes() -> None:
    """The same photo has the same name; the photo itself stays out of the log."""
    assert Query(image=b"jpeg").for_the_log == Query(image=b"jpeg", limit=5).for_the_log
    assert Query(image=b"jpeg").for_the_log != Query(image=b"other").for_the_log
    assert "jpeg" not in repr(Query(image=b"jpeg"))
    assert "product:mug" == Query(similar_to="mug").for_the_log
