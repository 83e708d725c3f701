"""The breaker as a state machine: no thread, no clock but the test's."""

import pytest

from recall_plugin.breaker import Breaker, BreakerRule
from recall_plugin.errors import InvalidSettings

RULE = BreakerRule(
    window_s=10, min_outcomes=4, failure_rate=0.5, open_s=2, max_open_s=6, jitter=0.5, probe_lease_s=5
)


def breaker(*, chance: float = 0.0) -> Breaker:
    return Breaker(RULE, chance=lambda: chance)


def report(on: Breaker, *outcomes: bool, now_s: float = 0.0) -> None:
    for went_well in outcomes:
        permit = on.admit(now_s=now_s)
        assert permit is not None
        on.report(permit, went_well=went_well, now_s=now_s)


def opened(*, chance: float = 0.0) -> Breaker:
    made = breaker(chance=chance)
    report(made, False, False, False, False)
    return made


def test_it_opens_at_the_failure_rate_and_not_before() -> None:
    """Half of the window failing is enough; a few outcomes prove nothing."""
    few, some, half = breaker(), breaker(), breaker()
    report(few, False, False, False)
    report(some, True, True, True, False, False)
    report(half, True, True, False, False)

    assert ("closed", "closed", "open") == (few.state, some.state, half.state)


def test_old_failures_are_forgotten() -> None:
    """What went wrong before the window says nothing about now."""
    made = breaker()
    report(made, False, False, False, now_s=0)
    report(made, False, now_s=11)

    assert "closed" == made.state


def test_an_open_breaker_admits_nobody_until_its_time_and_then_one() -> None:
    """One probe, however many ask."""
    made = opened()

    assert made.admit(now_s=1.9) is None
    probe = made.admit(now_s=2.0)
    assert probe is not None
    assert probe.probe
    assert "half_open" == made.state
    assert [None] * 3 == [made.admit(now_s=2.0) for _ in range(3)]


def test_a_probe_that_goes_well_closes_it_with_a_clean_record() -> None:
    """The failures of before do not open it again."""
    made = opened()
    probe = made.admit(now_s=2)
    assert probe is not None
    made.report(probe, went_well=True, now_s=2.1)
    report(made, False, False, False, now_s=2.2)

    assert "closed" == made.state


def test_each_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    """A channel that stays down is asked less and less, but is asked."""
    made = opened()
    pauses, now_s = [], 0.0
    for pause in (2, 4, 6, 6):
        assert made.admit(now_s=now_s + pause - 0.01) is None
        now_s += pause
        probe = made.admit(now_s=now_s)
        assert probe is not None
        made.report(probe, went_well=False, now_s=now_s)
        pauses.append(pause)

    assert [2, 4, 6, 6] == pauses


def test_a_cancelled_probe_lets_the_next_one_go() -> None:
    """A shopper who closes the page must not leave the channel alone for ever."""
    made = opened()
    cancelled = made.admit(now_s=2)
    assert cancelled is not None
    made.forget(cancelled)
    again = made.admit(now_s=2)
    assert again is not None
    made.report(again, went_well=True, now_s=2)

    assert "closed" == made.state


def test_a_lost_probe_is_replaced_and_its_late_report_ignored() -> None:
    """Neither reported nor forgotten: after the lease another goes."""
    made = opened()
    lost = made.admit(now_s=2)
    assert lost is not None
    assert made.admit(now_s=6.9) is None
    probe = made.admit(now_s=7.0)
    assert probe is not None
    made.report(lost, went_well=True, now_s=7.1)

    assert "half_open" == made.state
    made.forget(lost)
    assert made.admit(now_s=7.2) is None


def test_outcomes_of_before_it_opened_are_ignored() -> None:
    """Requests that were under way when it opened are no probe."""
    made = breaker()
    early = made.admit(now_s=0)
    assert early is not None
    report(made, False, False, False, False)
    made.report(early, went_well=True, now_s=0.1)

    assert "open" == made.state


def test_a_forgotten_permit_is_no_evidence() -> None:
    """Cancelled requests neither open nor heal."""
    made = breaker()
    for _ in range(50):
        permit = made.admit(now_s=0)
        assert permit is not None
        made.forget(permit)
    report(made, False, False, False, False)

    assert "open" == made.state


def test_jitter_spreads_the_probes_of_many_workers() -> None:
    """Chance lengthens the pause by up to its share, never shortens it."""
    late = opened(chance=1.0)

    assert late.admit(now_s=2.9) is None
    assert late.admit(now_s=3.0) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"failure_rate": 0},
        {"min_outcomes": 0},
        {"open_s": 0},
        {"open_s": 9, "max_open_s": 8},
        {"window_s": 0},
    ],
)
def test_a_rule_that_cannot_be_is_refused(fields: dict[str, float]) -> None:
    """At birth."""
    with pytest.raises(InvalidSettings):
        BreakerRule(**fields)  # type: ignore[arg-type]
