"""Channels in a process of their own: the same answers, and no harm when it is hung, full or killed."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import structlog

from product_index.vector_store import Filter
from recall_plugin.channels import Channel
from recall_plugin.channels.limited import LimitedChannel
from recall_plugin.errors import SidecarAway
from recall_plugin.query import ChannelAnswer, ChannelRequest, Query
from recall_plugin.sidecar.client import SidecarChannel, SidecarLine, describe
from recall_plugin.sidecar.server import Shelf, SidecarServer
from recall_plugin.sidecar.starting import owning
from recall_plugin.sidecar.wire import WIRE, Ask, Describe, Refused, receive
from tests.recall_plugin.doubles import PATIENCE_S, Hangs, Says, finds, hit, wait_for


@contextmanager
def serving(path: Path, *channels: Channel) -> Iterator[None]:
    """A sidecar of these channels, in a thread."""
    by_name = {channel.name: channel for channel in channels}
    shelf = Shelf(by_name.__getitem__)
    shelf.begin(by_name)
    server = SidecarServer(shelf, path)
    with owning(path):
        thread = Thread(target=server.serve, daemon=True)
        thread.start()
        line = SidecarLine(path)
        wait_for(lambda: is_ready(line))
        line.close()
        try:
            yield
        finally:
            for channel in channels:
                if isinstance(channel, Hangs):
                    channel.let_go.set()
            server.stop()
            thread.join()
            shelf.close()


def is_ready(line: SidecarLine) -> bool:
    try:
        return all(one.state == "loaded" for one in describe(line).channels.values())
    except SidecarAway:
        return False


def proxy(path: Path, name: str = "uniecs") -> SidecarChannel:
    return SidecarChannel(name, SidecarLine(path))


def request(query: Query | None = None, *, within_s: float = PATIENCE_S, limit: int = 10) -> ChannelRequest:
    return ChannelRequest(
        query=query or Query(text="mug"),
        limit=limit,
        deadline_s=time.monotonic() + within_s,
        request_id="q1",
        unit_id="u1",
    )


def test_a_proxy_answers_what_the_channel_answers(path: Path) -> None:
    """Every field of the question gets there, every field of the answer comes back."""
    channel = finds(took_ms=0.0)
    found = hit("mug", score=0.25, version=7, title="Tasse ☕", category="cups", price=None, in_stock=False)
    channel.does = lambda _: ChannelAnswer(
        status="partial", hits=(found,), index_version="products_v1", model_id="m", reason="half"
    )
    asked = request(
        Query(text="красная 杯", image=b"\x00\xff", filters=Filter(category="cups", price_max=9.5), limit=7)
    )
    with serving(path, channel):
        answer = proxy(path).find(asked)
        similar = proxy(path).find(request(Query(similar_to="mug")))

    assert ("partial", (), "products_v1", "m", "half") == (
        answer.status,
        answer.hits,
        answer.index_version,
        answer.model_id,
        answer.reason,
    )  # the hit is of the right category but has no price: the filter holds on both sides of the socket
    assert (found,) == similar.hits
    assert [asked.query, Query(similar_to="mug")] == [one.query for one in channel.requests]
    assert asked == channel.requests[0]


def test_connections_are_used_again(path: Path) -> None:
    """One at a time needs one connection."""
    with serving(path, finds("mug")):
        channel = proxy(path)
        answers = [channel.find(request()) for _ in range(20)]

        assert 1 == len(channel.line._idle)
        assert {"ok"} == {answer.status for answer in answers}
        channel.close()


def test_a_channel_that_hangs_costs_its_deadline_and_its_connection(path: Path) -> None:
    """The late answer is thrown away with the connection: the next question gets its own."""
    hangs = Hangs("late")
    with serving(path, hangs, finds("mug", name="other")):
        line = SidecarLine(path)
        late = SidecarChannel("uniecs", line).find(request(within_s=0.05))
        other = SidecarChannel("other", line).find(request())

    assert "timeout" == late.status
    assert ["mug"] == [one.product_id for one in other.hits]


def test_a_question_that_comes_too_late_is_not_asked(path: Path) -> None:
    """Its deadline is absolute: time on the way counts."""
    channel = finds("mug")
    with serving(path, channel):
        answer = proxy(path).find(request(within_s=-1))

    assert "timeout" == answer.status
    assert [] == channel.requests


@pytest.mark.parametrize(
    ("sent_s", "deadline_s", "means_s"), [(100.0, 101.0, 101.0), (9_000.0, 9_001.0, 101.5), (1.0, 2.0, 101.5)]
)
def test_a_deadline_of_another_clock_is_what_was_left(
    sent_s: float, deadline_s: float, means_s: float
) -> None:
    """A container may have a monotonic clock of its own."""
    sent = Ask(
        wire=WIRE,
        channel="uniecs",
        text="mug",
        image=None,
        similar_to=None,
        filters=None,
        page=1,
        limit=1,
        request_id="",
        unit_id="",
        sent_s=sent_s,
        deadline_s=deadline_s,
    )

    assert means_s == sent.request(now_s=100.5).deadline_s


def test_a_channel_that_raises_or_talks_nonsense_does_so_behind_the_socket(path: Path) -> None:
    """The sidecar lives on, and says what is left of the answer."""

    def raises(_: ChannelRequest) -> ChannelAnswer:
        raise ZeroDivisionError("oops")

    nan = finds(name="nan")
    nan.does = lambda _: ChannelAnswer(status="ok", hits=(hit("a", score=float("nan")), hit("b"), hit("b")))
    with serving(path, Says(raises), Says(lambda _: {"hits": []}, name="dict"), nan):
        line = SidecarLine(path)
        says = {name: SidecarChannel(name, line).find(request()) for name in ("uniecs", "dict", "nan")}

    assert ("error", "ZeroDivisionError('oops')") == (says["uniecs"].status, says["uniecs"].reason)
    assert "error" == says["dict"].status
    assert ["b"] == [one.product_id for one in says["nan"].hits]


def test_a_channel_that_cannot_be_loaded_is_off(path: Path) -> None:
    """With the reason; the others serve."""
    with serving(path, finds("mug")):
        channel = proxy(path, "third")
        wait_for(lambda: "being loaded" not in channel.find(request()).reason)

        assert ("off", "channel 'third': 'third'") == (
            channel.find(request()).status,
            channel.find(request()).reason,
        )


def test_without_a_sidecar_the_channel_is_off_and_says_what_to_do(path: Path) -> None:
    """At once, and to the log once."""
    started: list[bool] = []
    channel = SidecarChannel("uniecs", SidecarLine(path, when_away=lambda: started.append(True)))

    with structlog.testing.capture_logs() as lines:
        answers = [channel.find(request()) for _ in range(5)]

    assert {"off"} == {answer.status for answer in answers}
    assert "start `python -m recall_plugin sidecar`" in answers[0].reason
    assert [True] * 5 == started
    assert 1 == [line["event"] for line in lines].count("sidecar_away")


def test_a_sidecar_that_is_lost_in_the_middle_is_an_error(path: Path) -> None:
    """The question may have been what it fell over: it is not asked again."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        answers: list[ChannelAnswer] = []
        asking = Thread(target=lambda: answers.append(proxy(path).find(request())))
        asking.start()
        connection, _ = listening.accept()
        receive(connection)
        connection.close()
        asking.join()

    assert ("error", True) == (answers[0].status, "went away" in answers[0].reason)


@pytest.mark.parametrize("rubbish", [b"GET / HTTP/1.1\r\n\r\n", struct.pack(">I", 5) + b"\xc1\xff\x00ab"])
def test_rubbish_on_the_socket_ends_that_connection_only(path: Path, rubbish: bytes) -> None:
    """Whoever sends it is told, the others are served."""
    with serving(path, finds("mug")):
        with socket.socket(socket.AF_UNIX) as other:
            other.settimeout(PATIENCE_S)
            other.connect(str(path))
            other.sendall(rubbish)
            said = receive(other)
        assert b"refused" in said
        assert "ok" == proxy(path).find(request()).status


def test_another_version_of_the_wire_is_refused(path: Path) -> None:
    """A plugin and a sidecar of different releases must not misread each other."""
    with serving(path, finds("mug")):
        line = SidecarLine(path)
        reply = line.exchange(Describe(wire=99), deadline_s=time.monotonic() + PATIENCE_S)

    assert isinstance(reply, Refused)
    assert "the plugin speaks wire 99" in reply.reason


class Sleepy(Says):
    """A channel whose model cannot be woken."""

    def __init__(self) -> None:
        super().__init__(finds("mug").does)
        self.woken: list[str] = []

    def serving(self) -> None:
        self.woken.append("index")

    def prepare(self, query: Query, *, wait_s: float) -> None:
        self.woken.append("model")
        raise RuntimeError("the model sleeps on")


def test_a_channel_is_woken_before_it_is_asked_and_loaded_even_if_it_sleeps_on(path: Path) -> None:
    """The first shoppers would wait for index and model; whoever cannot be woken is asked all the same."""
    channel = Sleepy()
    with serving(path, channel):
        woken_first = channel.woken[:2]  # looking at it asks for its index again
        answer = proxy(path).find(request())

    assert ["index", "model"] == woken_first
    assert ["mug"] == [found.product_id for found in answer.hits]


def test_what_was_loaded_is_set_apart_each_time_before_it_is_asked() -> None:
    """A full collection looks through all that was loaded; nobody who asks may wait for it."""
    seen: list[bool] = []
    shelf = Shelf(
        lambda _: finds("new"), loaded=lambda: seen.append(isinstance(shelf.get("uniecs"), LimitedChannel))
    )

    shelf.begin(["uniecs"])
    wait_for(lambda: isinstance(shelf.get("uniecs"), LimitedChannel))
    shelf.reload()

    assert [False, True] == seen  # the first time nothing, then the old channel was there to be asked
    shelf.close()
