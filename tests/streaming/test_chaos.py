"""Everything that may break, broken: a short walk through `benchmarks/chaos.py`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos import Land, broker_away, joined_and_left, killed, milvus_away

pytestmark = [pytest.mark.kafka, pytest.mark.milvus, pytest.mark.slow]

SEED = 20261120


@pytest.fixture
def land(tmp_path: Path) -> Iterator[Land]:
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("KAFKA_BOOTSTRAP names a broker; this test stops and starts its own")
    opened = Land(tmp_path, products=60, seed=SEED)
    try:
        opened.open()
        opened.consumer("one")
        yield opened
    finally:
        opened.close()


def test_whatever_breaks_the_index_ends_as_the_last_version_of_every_product(land: Land) -> None:
    """Killed, joined and left, broker away, Milvus away; duplicates and old versions throughout."""
    for fault in (killed, broker_away, milvus_away, joined_and_left):
        fault(land)
        land.settle()

        assert [] == land.differences(), fault.__name__

    assert land.counts["delivered"] > land.counts["new"]
    assert 60 == len(land.truth.last)
