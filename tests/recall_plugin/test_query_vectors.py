"""One computation per question and model."""

from collections.abc import Sequence
from threading import Event, Thread

import numpy as np
import pytest

from product_index.encoder import Content, HashEncoder, UnreadablePicture, Vectors
from recall_plugin.query import Query
from recall_plugin.query_vectors import QueryVectors, normalised
from tests.recall_plugin.doubles import PATIENCE_S, wait_for


class Counting(HashEncoder):
    """Counts what it is asked, and can be held or made to fail."""

    def __init__(self, *, model_id: str = "hash-1") -> None:
        super().__init__(16, model_id=model_id)
        self.asked: list[Content] = []
        self.held: Event | None = None
        self.fails: BaseException | None = None

    def embed(self, contents: Sequence[Content]) -> Vectors:
        self.asked += contents
        if self.held is not None:
            self.held.wait(PATIENCE_S)
        if self.fails is not None:
            raise self.fails
        return super().embed(contents)


@pytest.fixture
def encoder() -> Counting:
    return Counting()


@pytest.fixture
def vectors(encoder: Counting) -> QueryVectors:
    return QueryVectors(encoder, capacity=3)


def test_the_same_question_in_another_spelling_is_computed_once(
    vectors: QueryVectors, encoder: Counting
) -> None:
    """Width, case and spaces; the vector does not depend on who asked first."""
    first = vectors.vector(Query(text="Red  Mug"), wait_s=0)
    second = vectors.vector(Query(text=" ｒｅｄ mug\n"), wait_s=0)

    assert 1 == len(encoder.asked)
    assert first is second
    assert "red mug" == encoder.asked[0].text


def test_other_text_other_image_or_both_are_other_questions(vectors: QueryVectors, encoder: Counting) -> None:
    """No two share a vector."""
    asked = [Query(text="mug"), Query(image=b"mug"), Query(text="mug", image=b"mug")]
    found = [vectors.vector(query, wait_s=0) for query in asked]

    assert 3 == len(encoder.asked)
    assert 3 == len({vector.tobytes() for vector in found if vector is not None})


def test_the_cache_is_bounded_and_keeps_what_was_used_last(vectors: QueryVectors, encoder: Counting) -> None:
    """A million shoppers do not fill the memory."""
    for text in ("a", "b", "c", "a", "d", "a"):
        vectors.vector(Query(text=text), wait_s=0)

    assert 3 == len(vectors)
    assert ["a", "b", "c", "d"] == [content.text for content in encoder.asked]


def test_nobody_can_change_a_vector_that_others_use(vectors: QueryVectors) -> None:
    """It is read-only."""
    vector = vectors.vector(Query(text="mug"), wait_s=0)

    assert vector is not None
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1


def test_many_who_ask_at_once_wait_for_one_computation(vectors: QueryVectors, encoder: Counting) -> None:
    """Single flight."""
    encoder.held = Event()
    found: list[np.ndarray | None] = []

    def asks() -> None:
        found.append(vectors.vector(Query(text="mug"), wait_s=PATIENCE_S))

    threads = [Thread(target=asks) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_for(lambda: bool(encoder.asked))
    encoder.held.set()
    for thread in threads:
        thread.join()

    assert 1 == len(encoder.asked)
    assert 1 == len({id(vector) for vector in found})


def test_whoever_has_no_time_left_does_not_wait_for_another(vectors: QueryVectors, encoder: Counting) -> None:
    """A hung encoder costs its own request, not everyone's."""
    encoder.held = Event()
    thread = Thread(target=lambda: vectors.vector(Query(text="mug"), wait_s=0))
    thread.start()
    wait_for(lambda: bool(encoder.asked))

    assert vectors.vector(Query(text="mug"), wait_s=-1) is None
    encoder.held.set()
    thread.join()


def test_an_image_that_cannot_be_read_is_decoded_once(vectors: QueryVectors, encoder: Counting) -> None:
    """And refused each time, with the encoder's own words."""
    for _ in range(3):
        with pytest.raises(UnreadablePicture, match="cannot be read"):
            vectors.vector(Query(image=b"broken"), wait_s=0)

    assert 1 == len(encoder.asked)


def test_a_failure_of_the_moment_is_not_remembered(vectors: QueryVectors, encoder: Counting) -> None:
    """The next request tries again."""
    encoder.fails = MemoryError("just now")
    with pytest.raises(MemoryError):
        vectors.vector(Query(text="mug"), wait_s=0)
    encoder.fails = None

    assert vectors.vector(Query(text="mug"), wait_s=0) is not None


def test_a_text_has_one_form() -> None:
    """Normalising twice changes nothing."""
    assert normalised("ＭＵＧ Straße") == normalised(normalised("ＭＵＧ Straße")) == "mug strasse"
