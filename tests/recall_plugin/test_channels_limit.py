"""The limit follows the channel: it grows while answers take as long as usual, shrinks when they queue."""

from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_plugin.channels.limited import GradientLimit, LimitedChannel, LimitRule
from recall_plugin.query import ChannelRequest, Query
from tests.recall_plugin.doubles import PATIENCE_S, Hangs, Says, finds

ASKED = ChannelRequest(query=Query(text="mug"), limit=5, deadline_s=1e12, request_id="q", unit_id="u")


class World:
    """Clients that ask again at once, at something that works on a few questions at a time."""

    def __init__(self, limit: GradientLimit) -> None:
        self.limit = limit
        self.now_s = 0.0

    def run(self, *, servers: int, clients: int, rounds: int, work_s: float = 1.0) -> float:
        """How long an answer takes at the end."""
        took_s = work_s
        for _ in range(rounds):
            inside = []
            while len(inside) < clients and (ticket := self.limit.enter(self.now_s)) is not None:
                inside.append(ticket)
            took_s = work_s * max(1.0, len(inside) / servers)
            self.now_s += took_s
            for ticket in inside:
                self.limit.leave(ticket, self.now_s, went_well=True)
        return took_s


def test_above_what_the_channel_can_do_nobody_waits_long() -> None:
    """A hundred clients at two cores: without a limit each would wait for fifty."""
    world = World(GradientLimit(LimitRule(first=8, highest=64)))
    world.run(servers=2, clients=1, rounds=50)

    for _ in range(20):  # for ever: a long overload must not become the usual
        assert world.run(servers=2, clients=100, rounds=300) <= 4


def test_a_healthy_channel_is_not_held_back() -> None:
    """Answers take as long as ever: the limit grows to its bound."""
    world = World(GradientLimit(LimitRule(first=4, highest=64)))

    world.run(servers=1_000, clients=63, rounds=200)
    assert 64 == world.limit.limit


def test_it_comes_back_when_the_slow_time_is_over() -> None:
    """However slow it was."""
    world = World(GradientLimit(LimitRule(first=16, highest=32)))
    world.run(servers=1_000, clients=32, rounds=50)
    world.run(servers=1, clients=100, rounds=100)
    slow = world.limit.limit
    world.run(servers=1_000, clients=32, rounds=400)

    assert slow < 6
    assert 32 == world.limit.limit


def test_a_cache_that_goes_cold_is_no_overload_for_long() -> None:
    """Every answer takes ten times as long from now on: that is the usual soon."""
    world = World(GradientLimit(LimitRule(first=16, highest=16)))
    for work_s in (0.001, 0.01):
        world.run(servers=100, clients=8, rounds=2_000, work_s=work_s)

    assert world.limit.limit >= 8


def test_failures_shrink_it_and_one_is_always_let_in() -> None:
    """Or it would never learn that the channel is back."""
    limit = GradientLimit(LimitRule(first=8, highest=8))
    for _ in range(100):
        ticket = limit.enter(0.0)
        assert ticket is not None
        limit.leave(ticket, 1.0, went_well=False)

    assert 1 == limit.limit
    assert limit.enter(2.0) is not None
    assert limit.enter(2.0) is None


def test_what_hangs_for_ever_does_not_keep_its_place_for_ever() -> None:
    """Nor a probe from ending; coming back after all, it counts for nothing."""
    limit = GradientLimit(LimitRule(first=1, highest=1))
    hung = limit.enter(0.0)
    assert hung is not None

    assert limit.enter(59.0) is None
    assert limit.enter(61.0) is not None
    limit.leave(hung, 62.0, went_well=True)
    assert 1 == limit.in_flight


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e6)), max_size=200))
def test_whatever_happens_it_stays_within_its_bounds(steps: list[tuple[bool, float]]) -> None:
    """And never lets in more than it says."""
    limit = GradientLimit(LimitRule(first=4, lowest=2, highest=9))
    now_s = 0.0
    inside: list[int] = []
    for went_well, took_s in steps:
        while (ticket := limit.enter(now_s)) is not None:
            inside.append(ticket)
        assert limit.in_flight <= 9
        now_s += took_s
        limit.leave(inside.pop(0), now_s, went_well=went_well)

        assert 2 <= limit.limit <= 9


def test_what_is_above_the_limit_is_shed_without_asking() -> None:
    """At once, with a reason; what went in comes out."""
    hangs = Hangs("late")
    channel = LimitedChannel(hangs, GradientLimit(LimitRule(first=1, highest=1)))
    answers: list[str] = []
    inside = Thread(target=lambda: answers.append(channel.find(ASKED).status))
    inside.start()
    assert hangs.asked.wait(PATIENCE_S)
    shed = channel.find(ASKED)
    hangs.let_go.set()
    inside.join()

    assert ("shed", "1 questions are in flight, more make it slower for all") == (shed.status, shed.reason)
    assert ["ok"] == answers
    assert 1 == len(hangs.requests)


def test_a_channel_that_raises_gives_its_place_back() -> None:
    """The error is the caller's to count."""

    def raises(_: ChannelRequest) -> None:
        raise ZeroDivisionError

    channel = LimitedChannel(Says(raises))
    for _ in range(50):
        with pytest.raises(ZeroDivisionError):
            channel.find(ASKED)

    assert 0 == channel.limit.in_flight
    assert "uniecs" == channel.name


def test_preparing_and_closing_reach_the_channel() -> None:
    """The first only where the channel can."""
    done = Event()
    plain, able = finds("mug"), finds("mug")
    able.prepare = lambda query, *, wait_s: done.set()  # type: ignore[attr-defined]
    for channel in (plain, able):
        LimitedChannel(channel).prepare(Query(text="mug"), wait_s=1)
        LimitedChannel(channel).close()

    assert done.is_set()
