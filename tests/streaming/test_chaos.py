"""Everything that may break, broken: a short walk through `benchmarks/chaos.py`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos import Land, broker_away, killed, milvus_away, three_came_and_went
from tests.product_index.real_milvus import NoRealMilvus

pytestmark = [pytest.mark.kafka, pytest.mark.milvus, pytest.mark.slow]

SEED = 20261120


@pytest.fixture
def land(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Land]:
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("KAFKA_BOOTSTRAP names a broker; this test stops and starts its own")
    opened = Land(tmp_path, products=60, seed=SEED, real_milvus=getattr(request, "param", False))
    try:
        opened.open()
        opened.consumer("one")
        yield opened
    except NoRealMilvus as why:
        pytest.skip(str(why))
    finally:
        opened.close()


def test_whatever_breaks_the_index_ends_as_the_last_version_of_every_product(land: Land) -> None:
    """Killed, joined and left, broker away, Milvus away; duplicates and old versions throughout."""
    for fault in (killed, broker_away, milvus_away, three_came_and_went):
        fault(land)
        land.settle()

        assert [] == land.differences(), fault.__name__

    assert land.counts["delivered"] > land.counts["new"]
    assert 60 == len(land.truth.last)


@pytest.mark.parametrize("land", [True], indirect=True, ids=["real"])
def test_on_a_real_milvus_a_killed_consumer_loses_nothing(land: Land) -> None:
    """Its strong reads wait for a clock of their own; it stopped for a minute is in the benchmark."""
    killed(land)
    land.settle()

    assert [] == land.differences()
