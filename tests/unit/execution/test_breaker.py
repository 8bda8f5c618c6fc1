"""The breaker: five lost answers within thirty seconds open it, one answered question closes it."""

from __future__ import annotations

from tests.unit.execution.test_budget import ManualClock

from oms.execution.breaker import PROBE_AFTER_S, UNKNOWN_MAX, WITHIN_S, Breaker


def opened(clock: ManualClock) -> Breaker:
    breaker = Breaker(clock)
    assert [breaker.unknown() for _ in range(UNKNOWN_MAX)] == [False, False, False, False, True]
    return breaker


def test_five_within_thirty_seconds_open_it() -> None:
    clock = ManualClock()
    breaker = Breaker(clock)
    for _ in range(UNKNOWN_MAX - 1):
        assert not breaker.unknown()
        clock.seconds += WITHIN_S / (UNKNOWN_MAX - 1)
    assert breaker.unknown()
    assert breaker.is_open
    assert "nothing new is sent" in breaker.trouble


def test_five_that_take_longer_do_not() -> None:
    clock = ManualClock()
    breaker = Breaker(clock)
    for _ in range(100):
        assert not breaker.unknown()
        clock.seconds += WITHIN_S / (UNKNOWN_MAX - 1) + 0.1
    assert not breaker.is_open
    assert breaker.trouble == ""


def test_one_answer_closes_it_and_the_count_begins_anew() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    assert not breaker.wants_probe
    clock.seconds += PROBE_AFTER_S[0]
    assert breaker.wants_probe
    breaker.failed()
    assert not breaker.wants_probe
    clock.seconds += PROBE_AFTER_S[0]
    assert breaker.wants_probe
    breaker.answered()
    assert not breaker.is_open
    assert not any(breaker.unknown() for _ in range(UNKNOWN_MAX - 1))


def test_where_questions_are_answered_and_orders_are_not_it_asks_ever_more_seldom() -> None:
    clock = ManualClock()
    breaker = Breaker(clock)
    pauses = []
    for _ in range(8):
        for _ in range(UNKNOWN_MAX):
            breaker.unknown()
        begun = clock.seconds
        while not breaker.wants_probe:
            clock.seconds += 0.5
        pauses.append(clock.seconds - begun)
        breaker.answered()
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    clock.seconds += 2 * WITHIN_S
    for _ in range(UNKNOWN_MAX):
        breaker.unknown()
    clock.seconds += PROBE_AFTER_S[0]
    assert breaker.wants_probe  # it has held for a minute: as at first
