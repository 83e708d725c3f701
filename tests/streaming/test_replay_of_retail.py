"""Four weeks of a real shop through the real worker: the encoder is asked for texts alone."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog

from benchmarks.retail import RetailChange, retail_changes, retail_file
from product_index.encoder import Content, HashEncoder, Vectors
from streaming.change_log import Outgoing
from streaming.events import encode_change
from streaming.worker import Pace

from .making import TOPIC, Bench


class CountingEncoder(HashEncoder):
    """Remembers every text it was asked to embed."""

    def __init__(self) -> None:
        super().__init__(dimension=8)
        self.texts: list[str] = []

    def embed(self, contents: Sequence[Content]) -> Vectors:
        """Embed, and remember."""
        self.texts += [content.text or "" for content in contents]
        return super().embed(contents)


@pytest.fixture(scope="module")
def rows() -> list[RetailChange]:
    file = retail_file()
    if file is None:
        pytest.skip("online_retail is not here; set SHARED_DATA to the folder that holds online_retail/")
    return list(retail_changes(Path(file)))


@pytest.fixture
def counting() -> Bench:
    """A bench whose encoder counts; without a log line per batch."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    return Bench(encoder=CountingEncoder())


def publish(bench: Bench, rows: list[RetailChange]) -> None:
    for row in rows:
        key, value = encode_change(row.change)
        bench.topics.append(Outgoing(topic=TOPIC, key=key, value=value))


def latest(rows: list[RetailChange]) -> dict[str, tuple[int, str, float | None]]:
    held = {}
    for row in rows:
        product = row.change.product
        assert product is not None
        held[row.change.product_id] = (row.change.version or 0, product.title, product.price)
    return held


def indexed(bench: Bench, ids: Sequence[str]) -> dict[str, tuple[int, str, float | None]]:
    found = bench.store.get(ids)
    return {key: (row.fingerprint.version, row.title, row.price) for key, row in found.items()}


def test_the_stream_is_the_one_its_source_describes(rows: list[RetailChange]) -> None:
    """Counted by the rule of SOURCE.md, before any of our code has judged it."""
    counts = Counter({"create": 0, "text": 0, "price": 0})
    for row in rows:
        counts.update(create=row.created, text=row.text, price=row.price)

    assert {"create": 2_799, "text": 53, "price": 16_402} == dict(counts)
    assert 2_799 + 16_425 == len(rows)


def waves(rows: list[RetailChange]) -> Iterator[list[RetailChange]]:
    """Stretches of the stream in which no product comes twice: nothing is superseded."""
    wave: dict[str, RetailChange] = {}
    for row in rows:
        if row.change.product_id in wave:
            yield list(wave.values())
            wave = {}
        wave[row.change.product_id] = row
    yield list(wave.values())


def test_creates_and_text_changes_are_embedded_and_prices_never(
    rows: list[RetailChange], counting: Bench
) -> None:
    """Of 2,799 creates and 53 texts the encoder is asked 2,850; two differ in white space alone.

    None of the price changes asks it.
    """
    by_class: Counter[str] = Counter()
    for wave in waves(rows):
        publish(counting, wave)
        by_class.update(counting.run(pace=Pace(batch_size=1024, batch_wait_s=0.0)).by_class)

    texts = counting.encoder.texts
    blank = [row for row in rows if row.text and row.only_white_space]
    assert 2 == len(blank)
    assert 2_852 == len(texts) + len(blank)
    assert len(texts) == by_class["new"] + by_class["text"]
    assert {"new": 2_799, "text": 53 - 2, "scalar": 16_425 - 53 + 2} == by_class
    titles = {row.change.product.title for row in rows if row.change.product}
    assert (2_747, 2_745) == (len(titles), len(set(texts)))
    assert latest(rows) == indexed(counting, list(latest(rows)))


def test_batches_ask_for_less_and_end_the_same(rows: list[RetailChange], counting: Bench) -> None:
    """The latest of a product in a batch stands for it: never more embeddings, the same index."""
    publish(counting, rows)

    totals = counting.run(pace=Pace(batch_size=64, batch_wait_s=0.0))

    assert len(rows) == totals.messages
    assert len(latest(rows)) <= len(counting.encoder.texts) <= 2_852
    assert latest(rows) == indexed(counting, list(latest(rows)))
