"""The nightly run and the consumer give the same product the same vector, bit for bit."""

from pathlib import Path

import numpy as np

from product_index.catalog import Catalogue
from product_index.embedding import spec_of
from product_index.pictures import LocalPictures

from .conftest import Parts
from .walking import consume, publish, rebuild


def test_batch_and_stream_agree(
    parts: Parts, catalogue: Catalogue, pictures: LocalPictures, tmp_path: Path
) -> None:
    """One embedding path: only who wrote a row, and when, may differ."""
    rebuild(catalogue, parts.database, parts.encoder, pictures, alias=parts.alias, folder=tmp_path)
    nightly = parts.database.open(parts.alias)
    streamed = parts.database.create(f"{parts.alias}_streamed", spec_of(parts.encoder))
    topic = parts.topic("product-changes")

    publish(parts, topic, [change for page in catalogue.pages() for change in page])
    consume(parts, topic, streamed, pictures)

    night = {row.product_id: row for page in nightly.rows() for row in page}
    stream = {row.product_id: row for page in streamed.rows() for row in page}
    assert {"mug", "lamp", "scarf", "vase"} == set(night) == set(stream)
    for product_id, row in night.items():
        assert np.array_equal(row.vector, stream[product_id].vector), product_id
        assert row.fingerprint == stream[product_id].fingerprint, product_id


def test_what_batch_has_written_costs_the_stream_nothing(
    parts: Parts, catalogue: Catalogue, pictures: LocalPictures, tmp_path: Path
) -> None:
    """The same versions again are stale; newer ones with the same content call no encoder."""
    rebuild(catalogue, parts.database, parts.encoder, pictures, alias=parts.alias, folder=tmp_path)
    topic = parts.topic("product-changes")
    rows = [change for page in catalogue.pages() for change in page]

    publish(parts, topic, rows)
    again = consume(parts, topic, None, pictures)

    assert {"stale": 4} == dict(again.by_class)
