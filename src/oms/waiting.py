"""Waiting: for an event, no longer than so long; and before the next attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from random import Random
from typing import Any

import structlog

from oms.domain.errors import OmsError

log = structlog.get_logger(__name__)


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


async def ended(tasks: Iterable[asyncio.Future[Any]], again_s: float = 0.5) -> None:
    """Cancel the tasks and wait until they have ended, however they end.

    Once is not enough: a client library can turn a cancellation that comes in the middle of its call into an error of
    its own (seen in redis-py), which the task then handles as any other, and goes on. For the same reason whoever calls
    this may be cancelled once more meanwhile: it does not go before they have ended.

    What they failed with is told here: several often fail of one cause, and nobody asks the others.
    """
    given = set(tasks)
    left = {task for task in given if not task.done()}
    cancelled: asyncio.CancelledError | None = None
    while left:
        for task in left:
            task.cancel()
        try:
            await asyncio.wait(left, timeout=again_s)
        except asyncio.CancelledError as error:
            cancelled = error
        left = {task for task in left if not task.done()}
    for failure in [task.exception() for task in given if not task.cancelled()]:
        if isinstance(failure, OmsError):
            log.info("task_failed", reason=f"{type(failure).__name__}: {failure}")
        elif failure is not None:
            log.error("task_failed", exc_info=failure)
    if cancelled is not None:
        raise cancelled
