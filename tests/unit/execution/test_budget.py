"""The request budget: bursts, shares, and room for cancels."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from oms.execution.budget import RequestBudget
from oms.ports import Purpose


class ManualClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


async def use(budget: RequestBudget, purpose: Purpose) -> int:
    """Send as many as go at once."""
    sent = 0
    while budget.available(purpose):
        await budget.acquire(purpose)
        sent += 1
    return sent


async def test_a_burst_of_submits_leaves_room_for_cancels_and_reconciliation() -> None:
    budget = RequestBudget(200, ManualClock())
    assert await use(budget, Purpose.SUBMIT) == 120
    assert await use(budget, Purpose.RECONCILE) == 35
    assert await use(budget, Purpose.CANCEL) == 45
    assert budget.available(Purpose.CANCEL) == 0


async def test_no_sixty_seconds_see_more_than_the_limit() -> None:
    clock = ManualClock()
    budget = RequestBudget(200, clock)
    sent: list[float] = []
    for _ in range(600):
        for purpose in Purpose:
            sent += [clock.seconds] * await use(budget, purpose)
        clock.seconds += 0.5
    assert max(sum(start - 60 < at <= start for at in sent) for start in set(sent)) <= 200
    assert len(sent) >= 200 * 4


async def test_what_the_broker_counts_counts() -> None:
    """Another program uses the same key: the broker says 5 are left."""
    clock = ManualClock()
    budget = RequestBudget(200, clock)
    budget.observe(200, 45, 30)
    assert await use(budget, Purpose.SUBMIT) == 5  # 40 of the 45 are kept for cancels
    clock.seconds += 31
    assert budget.available(Purpose.SUBMIT) > 100


async def test_a_429_stops_everything_until_the_broker_says() -> None:
    clock = ManualClock()
    budget = RequestBudget(0, clock)
    budget.refused(7)
    assert budget.available(Purpose.SUBMIT) == 0
    clock.seconds += 7.1
    assert budget.available(Purpose.SUBMIT) > 0


async def test_a_promised_request_does_not_wait_for_the_window() -> None:
    budget = RequestBudget(10, ManualClock())
    promised = 0
    while budget.available(Purpose.SUBMIT):
        budget.promise(Purpose.SUBMIT)
        promised += 1
    assert promised == 6
    await asyncio.wait_for(asyncio.gather(*(budget.acquire(Purpose.SUBMIT) for _ in range(promised))), 1)
    assert budget.available(Purpose.SUBMIT) == 0


async def test_what_is_promised_is_counted_for_whatever_is_asked() -> None:
    """Orders that were approved go out without waiting: cancels may not have taken their place in the minute."""
    budget = RequestBudget(200, ManualClock())
    for _ in range(100):
        budget.promise(Purpose.SUBMIT)
    cancels = await use(budget, Purpose.CANCEL)
    for _ in range(100):
        await budget.acquire(Purpose.SUBMIT)
    assert cancels + 100 == 200
