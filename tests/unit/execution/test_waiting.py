"""Ending tasks, also those that take a cancellation for something else."""

from __future__ import annotations

import asyncio

from oms.waiting import ended


async def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same() -> None:
    swallowed: list[int] = []

    async def work() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if len(swallowed) == 2:
                    raise
                swallowed.append(1)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await ended([task], again_s=0.01)
    assert task.cancelled()
    assert len(swallowed) == 2
