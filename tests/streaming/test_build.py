"""What is put together follows the alias, and says what is missing."""

from typing import NoReturn

import pytest

from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from product_index.errors import StoreUnavailable, UnknownCollection
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.vector_store import VectorStore
from streaming.build import FollowAlias
from streaming.events import change_from_json
from streaming.settings import Settings

from .making import NOON, Bench, change_json, put


def test_a_consumer_follows_a_switch_of_the_alias_between_batches() -> None:
    """After the switch, changes go to the collection that is read."""
    encoder, database = HashEncoder(), InMemoryVectorDatabase()
    blue = database.create("blue", spec_of(encoder))
    green = database.create("green", spec_of(encoder))
    database.switch("products", "blue")
    follow = FollowAlias(database, "products", encoder, NoPictures(), now=lambda: NOON)
    follow([change_from_json(change_json("a"))])

    database.switch("products", "green")
    follow([change_from_json(change_json("b"))])

    assert (["a"], ["b"]) == (list(blue.fingerprints(["a", "b"])), list(green.fingerprints(["a", "b"])))


def test_a_store_that_was_away_is_opened_anew() -> None:
    """A server that was started again has forgotten what was loaded."""
    encoder, database = HashEncoder(), InMemoryVectorDatabase()
    database.create("blue", spec_of(encoder))
    database.switch("products", "blue")
    opened: list[str] = []

    class Forgetful(InMemoryVectorDatabase):
        def resolve(self, alias: str) -> str | None:
            return database.resolve(alias)

        def open(self, name: str) -> VectorStore:
            opened.append(name)
            store = database.open(name)
            if len(opened) == 1:
                store.fingerprints = away  # type: ignore[method-assign]
            else:
                del store.__dict__["fingerprints"]
            return store

    def away(_ids: object) -> NoReturn:
        raise StoreUnavailable("collection is released")

    follow = FollowAlias(Forgetful(), "products", encoder, NoPictures(), now=lambda: NOON)
    change = change_from_json(change_json())
    with pytest.raises(StoreUnavailable):
        follow([change])

    receipt = follow([change])

    assert (["blue", "blue"], 1) == (opened, receipt.embedded)


def test_without_an_index_the_worker_waits_and_then_catches_up(bench: Bench) -> None:
    """A consumer that was started before the first build loses nothing and says what is missing."""
    database = InMemoryVectorDatabase()
    follow = FollowAlias(database, "products", bench.encoder, NoPictures(), now=lambda: NOON)
    change = change_from_json(change_json())
    with pytest.raises(
        UnknownCollection, match="alias 'products' points to no collection; build the index first"
    ):
        follow([change])
    put(bench.topics, change_json())
    calls = 0

    def built_meanwhile(changes: list[object]) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            database.create("blue", spec_of(bench.encoder))
            database.switch("products", "blue")
        return follow(changes)  # type: ignore[arg-type]

    bench.run(apply=built_meanwhile)

    assert 1 == database.open("products").count()
    assert bench.changes.heartbeats > 0


def test_security_settings_are_passed_to_every_client() -> None:
    """Names of the environment on one side, of the client on the other; unset ones are left out."""
    settings = Settings(
        kafka_bootstrap="a:1, b:2",
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="index",
        kafka_sasl_password="hunter2",  # type: ignore[arg-type] # noqa: S106 - opens nothing
        kafka_ssl_cafile="/etc/ca.pem",  # type: ignore[arg-type]
    )

    assert {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "index",
        "sasl_plain_password": "hunter2",
        "ssl_cafile": "/etc/ca.pem",
    } == settings.connection()
    assert "hunter2" not in repr(settings)
