"""Waiting for an event, no longer than so long."""

from __future__ import annotations

import asyncio


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
