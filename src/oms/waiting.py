"""Waiting: for an event, no longer than so long; and before the next attempt."""

from __future__ import annotations

import asyncio
from random import Random


async def happens(event: asyncio.Event, within_s: float) -> bool:
    """Whether the event is set within so many seconds.

    Not `asyncio.wait_for`: before Python 3.12 it swallows a cancellation that comes in the same turn of the loop as the
    event (bpo-37658), and a task that was cancelled once goes on for ever.
    """
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def pause_s(random: Random, attempt: int, bounds: tuple[float, float]) -> float:
    """How long to wait before the next attempt: full jitter between `bounds`, doubling with each attempt."""
    low, high = bounds
    return low + random.random() * (min(low * 2.0 ** min(attempt, 60), high) - low)
