"""POST /recall/ahead: begun when the shopper asks, joined when the host's base is there."""

from threading import Event

import httpx

from experiments.exposure import InMemoryEventLog
from tests.recall_plugin.doubles import PATIENCE_S, TREATED, UNTREATED, Hangs, finds, wait_for
from tests.recall_plugin.serving import ASKED, STEERING, client_of, refusal

# Nothing here is about time: the join may take what it needs, and what was begun waits for it.
PATIENT = {"grace_ms": 10_000, "ahead_ms": 60_000}


def begin(client: httpx.Client, query_id: str) -> httpx.Response:
    asked = {name: ASKED[name] for name in ("text", "unit_id", "session_id")}
    return client.post("/recall/ahead", json=asked | {"query_id": query_id})


def join(client: httpx.Client, query_id: str, *, unit_id: str = TREATED) -> httpx.Response:
    """The base alone: the question was asked ahead."""
    asked = {name: ASKED[name] for name in ("base", "session_id")}
    return client.post("/recall", json=asked | {"query_id": query_id, "unit_id": unit_id, "wait_ms": 0})


def served(answer: httpx.Response) -> list[str]:
    return [item["product_id"] for item in answer.json()["items"]]


def test_recall_begun_ahead_is_joined_when_the_base_is_there() -> None:
    """The join rule over HTTP: the channel looks while the host computes its base."""
    channel = finds("new", "b")
    with client_of(channel, environment=PATIENT) as client:
        begun = begin(client, "ahead-1")
        wait_for(lambda: len(channel.requests) == 1)
        joined = join(client, "ahead-1")

    assert (202, {"query_id": "ahead-1"}) == (begun.status_code, begun.json())
    assert ["a", "b", "new"] == served(joined)
    assert 1 == len(channel.requests)


def test_what_was_found_waits_for_a_base_that_takes_longer_than_a_channel_may() -> None:
    """As in a Python funnel: the budget is the channels', never the base's."""
    channel = finds("new")
    with client_of(channel, environment=PATIENT | {"budget_ms": 1}) as client:
        begin(client, "slow")
        wait_for(lambda: len(channel.requests) == 1)
        Event().wait(0.02)

        assert ["a", "b", "new"] == served(join(client, "slow"))


def test_a_query_begun_for_one_shopper_is_never_given_to_another() -> None:
    """Nor begun twice."""
    with client_of(environment={"ahead_ms": 60_000}) as client:
        begin(client, "ahead-2")

        assert "begun already" in refusal(begin(client, "ahead-2"), 409)
        assert "another unit" in refusal(join(client, "ahead-2", unit_id=UNTREATED), 409)
        assert 200 == join(client, "ahead-2").status_code


def test_what_was_begun_and_never_joined_is_given_up() -> None:
    """After its time; nothing of it is logged."""
    log = InMemoryEventLog()
    with client_of(Hangs(), environment={"ahead_ms": 50}, log=log) as client:
        begin(client, "lost")
        wait_for(lambda: "uniecs_recall_ahead 0.0" in client.get("/metrics").text)

        assert "neither text nor image" in refusal(join(client, "lost"), 422)
    assert "lost" not in [exposure.query_id for exposure in log.exposures]


def test_what_was_begun_before_a_reload_is_joined_after_it() -> None:
    """By the standing that it was begun in: that one stays open until then."""
    channel = Hangs("new")
    with client_of(channel, environment=PATIENT) as client:
        begin(client, "across")
        channel.asked.wait(PATIENCE_S)
        assert 204 == client.post("/reload", headers=STEERING).status_code
        channel.let_go.set()

        assert ["a", "b", "new"] == served(join(client, "across"))
