"""The same story on real parts: settings, entry point, milvus-lite server, swap."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from demo.processes import free_port
from experiments.exposure import InMemoryEventLog
from product_index.build import build_database, build_encoder
from product_index.embedding import spec_of
from product_index.settings import Settings as IndexSettings
from product_index.vector_store import Filter
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import Query
from tests.recall_plugin import doubles
from tests.recall_plugin.doubles import wait_for
from tests.recall_plugin.rows import row

pytestmark = pytest.mark.milvus

SHELF = {"red-mug": "striped red mug", "blue-mug": "plain blue mug", "green-rug": "green rug"}
BASE = ["b1", "b2", "b3", "b4", "b5"]


# The grace outlasts any answer.
ask = partial(doubles.ask, grace_ms=60_000)


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    milvus_lite_server: str,
    unique_name: Callable[[str], str],
) -> IndexSettings:
    """What a host sets: an address, a model, an alias."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILVUS_URI", milvus_lite_server)
    monkeypatch.setenv("MILVUS_TIMEOUT_S", "120")
    monkeypatch.setenv("UNIECS_MODEL", "hash")
    monkeypatch.setenv("PRODUCT_ALIAS", unique_name("recall").replace("-", "_"))
    monkeypatch.setenv("RECALL_BUDGET_MS", "60000")
    monkeypatch.setenv("RECALL_FOLLOW_ALIAS_MS", "1")
    monkeypatch.setenv("RECALL_STRICT_CHANNELS", "true")
    monkeypatch.setenv("RECALL_CHANNELS_IN", "process")
    return IndexSettings()


@pytest.fixture
def log() -> InMemoryEventLog:
    return InMemoryEventLog()


@pytest.fixture
def recall(environment: IndexSettings, log: InMemoryEventLog) -> Iterator[RecallPlugin]:
    made = RecallPlugin.from_settings(event_log=log)
    yield made
    made.close()


def serve(environment: IndexSettings, name: str, shelf: dict[str, str]) -> str:
    """Fill a collection and point the alias at it, as a refresh does."""
    encoder, database = build_encoder(environment), build_database(environment)
    collection = f"{environment.product_alias}_{name}"
    store = database.create(collection, spec_of(encoder))
    store.upsert(
        [
            row(key, text, encoder=encoder, title=text, in_stock=key != "blue-mug")
            for key, text in shelf.items()
        ]
    )
    store.flush()
    database.switch(environment.product_alias, collection)
    database.close()
    return collection


def test_a_host_adds_recall_by_settings_alone(
    environment: IndexSettings, recall: RecallPlugin, log: InMemoryEventLog
) -> None:
    """Entry point, alias, filter, exposure; the index is named in the log."""
    collection = serve(environment, "v1", SHELF)
    query = Query(text="Striped RED mug", filters=Filter(in_stock=True))
    result = ask(recall, lambda: BASE, query=query)

    assert ["b1", "b2", "b3", "b4", "red-mug", "b5", "green-rug"] == list(result.product_ids)
    assert {"uniecs": 1} == result.items[4].ranks
    assert (collection, "hash-1") == (log.exposures[0].index_version, log.exposures[0].model_id)


def test_a_switched_alias_is_followed_without_a_restart(
    environment: IndexSettings, recall: RecallPlugin
) -> None:
    """Blue to green, under a running funnel."""
    serve(environment, "v1", {"old-mug": "red mug"})
    before = ask(recall, BASE, query=Query(text="red mug"))
    serve(environment, "v2", {"new-mug": "red mug"})
    wait_for(lambda: "new-mug" in ask(recall, BASE, query=Query(text="red mug")).product_ids)

    assert "old-mug" in before.product_ids
    assert "old-mug" not in ask(recall, BASE, query=Query(text="red mug")).product_ids


def test_before_the_first_refresh_the_base_is_served(recall: RecallPlugin) -> None:
    """No collection under the alias yet."""
    result = ask(recall, BASE)

    assert result.product_ids is BASE
    assert "off" == result.channels["uniecs"].status


def test_with_milvus_away_from_the_start_the_base_is_served(
    environment: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The funnel starts, answers, and the log admits what is missing."""
    monkeypatch.setenv("MILVUS_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MILVUS_TIMEOUT_S", "1")
    log = InMemoryEventLog()
    away = RecallPlugin.from_settings(event_log=log)
    result = ask(away, BASE, grace_ms=0)
    away.close()

    assert result.product_ids is BASE
    assert result.degraded
    assert log.exposures[0].degraded
