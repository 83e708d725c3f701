"""The join rule, by events: nothing here measures time."""

import asyncio
from threading import Event, Thread

import pytest

from recall_plugin.deadline import Round
from recall_plugin.query import ChannelAnswer
from tests.recall_plugin.doubles import PATIENCE_S, hits

FOUND = ChannelAnswer(status="ok", hits=hits("mug"))
# So long that a test which waits for it fails by its patience.
FOR_EVER_S = 100 * PATIENCE_S


def joined(how: str, of: Round, *, grace_s: float) -> dict[str, str]:
    sync = how == "recall"
    answers = of.join(grace_s=grace_s) if sync else asyncio.run(of.ajoin(grace_s=grace_s))
    return {name: answer.status for name, answer in answers.items()}


def test_without_grace_the_join_takes_what_is_there(how: str) -> None:
    """And waits for nobody: this returns at all."""
    round_ = Round(["ready", "hung"])
    round_.arrive("ready", FOUND)

    assert {"ready": "ok", "hung": "timeout"} == joined(how, round_, grace_s=0)


def test_the_grace_ends_when_all_have_answered(how: str) -> None:
    """It is a bound, not a pause: this grace would last an hour."""
    round_ = Round(["a", "b"])
    round_.arrive("a", FOUND)
    thread = Thread(target=lambda: round_.arrive("b", FOUND))
    thread.start()

    assert {"a": "ok", "b": "ok"} == joined(how, round_, grace_s=FOR_EVER_S)
    thread.join()


def test_an_answer_that_is_there_already_needs_no_grace(how: str) -> None:
    """Complete before the join began."""
    round_ = Round(["a"])
    round_.arrive("a", FOUND)

    assert {"a": "ok"} == joined(how, round_, grace_s=FOR_EVER_S)


def test_the_grace_ends_though_a_channel_hangs(how: str) -> None:
    """Never a wait beyond it."""
    assert {"hung": "timeout"} == joined(how, Round(["hung"]), grace_s=0.001)


def test_a_late_answer_is_refused(how: str) -> None:
    """The page is out: it can only be counted."""
    round_ = Round(["slow"])
    joined(how, round_, grace_s=0)

    assert not round_.arrive("slow", FOUND)


def test_a_second_answer_of_one_channel_is_refused() -> None:
    """The first counts."""
    round_ = Round(["twice"])

    assert [True, False] == [round_.arrive("twice", FOUND), round_.arrive("twice", FOUND)]


def test_a_round_without_channels_is_complete(how: str) -> None:
    """Nothing to wait for."""
    assert {} == joined(how, Round([]), grace_s=FOR_EVER_S)


def test_the_event_loop_is_free_during_the_grace() -> None:
    """Other requests go on while one waits."""
    round_ = Round(["slow"])

    async def two_requests() -> str:
        first = asyncio.create_task(round_.ajoin(grace_s=FOR_EVER_S))
        await asyncio.sleep(0)  # the first is waiting now
        round_.arrive("slow", FOUND)
        return (await first)["slow"].status

    assert "ok" == asyncio.run(two_requests())


def test_an_answer_after_the_loop_is_gone_harms_nobody() -> None:
    """The server was stopped while a channel was still looking."""
    round_ = Round(["slow"])
    going = Event()

    async def cancelled() -> None:
        waiting = asyncio.create_task(round_.ajoin(grace_s=FOR_EVER_S))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        going.set()

    asyncio.run(cancelled())

    assert going.is_set()
    assert round_.arrive(
        "slow", FOUND
    )  # nobody joined: it counts as in time, and wakes a loop that is closed
