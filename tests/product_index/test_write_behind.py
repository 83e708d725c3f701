"""What is written behind the encoder keeps the manners of what is written in front of it."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from product_index.encoder import Content, HashEncoder, Vectors
from product_index.in_memory import InMemoryVectorStore
from product_index.pictures import NoPictures
from product_index.refresh import PAGE_PRODUCTS, apply_changes
from product_index.vector_store import ProductVector
from product_index.write_behind import WriteBehind
from tests.product_index.rows import NOON, SPEC, change


def fail(said: str) -> None:
    raise OSError(said)


def write_both(first: Callable[[], None], second: Callable[[], None], before: Callable[[], None]) -> None:
    """The second only if `before` lets it."""
    with WriteBehind() as write:
        write(first)
        write(second, before=before)


def test_pieces_are_done_in_order_and_all_are_done_at_the_end() -> None:
    done: list[int] = []

    with WriteBehind() as write:
        for number in range(20):
            write(partial(done.append, number))

    assert list(range(20)) == done


def test_one_is_begun_only_when_the_one_before_is_done() -> None:
    """Never two writers; and who asks right before a write asks when nothing else is being written."""
    at_work: list[str] = []
    let_go = threading.Event()

    def work() -> None:
        at_work.append("begun")
        assert let_go.wait(300)
        at_work.append("done")

    with WriteBehind() as write:
        write(work)
        let_go.set()
        write(partial(at_work.append, "next"), before=lambda: at_work.append("asked"))

    assert ["begun", "done", "asked", "next"] == at_work


def test_what_a_piece_raises_comes_out_at_the_next_which_is_not_begun() -> None:
    done: list[str] = []

    with pytest.raises(OSError, match="full"):
        write_both(partial(fail, "full"), partial(done.append, "next"), partial(done.append, "asked"))

    assert [] == done


def test_what_the_last_piece_raises_comes_out_at_the_end() -> None:
    with pytest.raises(OSError, match="full"), WriteBehind() as write:
        write(partial(fail, "full"))


def test_what_may_not_be_written_is_not_and_the_one_before_is_not_left_in_doubt() -> None:
    """The fence of a consumer raises; what it let through before is done when its error is told."""
    done: list[str] = []

    with pytest.raises(OSError, match="another has it"):
        write_both(
            partial(done.append, "allowed"), partial(done.append, "refused"), partial(fail, "another has it")
        )

    assert ["allowed"] == done
    assert [] == [one.name for one in threading.enumerate() if one.name.startswith("write")]


def test_a_page_is_written_while_the_next_one_is_embedded() -> None:
    """The first write waits for the second page's encoder, or this never ends."""
    embedding_goes_on, log = threading.Event(), []

    class Slow(InMemoryVectorStore):
        def upsert(self, rows: Sequence[ProductVector]) -> None:
            assert embedding_goes_on.wait(300)
            super().upsert(rows)
            log.append(f"wrote {len(rows)}")

    class Noting(HashEncoder):
        embedded = 0

        def embed(self, contents: Sequence[Content]) -> Vectors:
            self.embedded += len(contents)
            if self.embedded > PAGE_PRODUCTS:
                embedding_goes_on.set()
            return super().embed(contents)

    store = Slow("products_v1", SPEC)
    changes = [change(f"p{n}") for n in range(2 * PAGE_PRODUCTS + 1)]
    apply_changes(
        changes, Noting(16), store, NoPictures(), now=NOON, before_writing=lambda: log.append("asked")
    )

    pages = [PAGE_PRODUCTS, PAGE_PRODUCTS, 1]
    assert [said for size in pages for said in ("asked", f"wrote {size}")] == log
