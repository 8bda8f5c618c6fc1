"""Ending tasks, also those that take a cancellation for something else."""

from __future__ import annotations

import asyncio
import gc

import pytest

from oms.domain.errors import StoreUnavailable
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


async def test_whoever_is_ended_leaves_none_of_its_own_tasks_behind() -> None:
    """Seen with a feed whose heartbeat swallowed a cancellation: it kept the account's key for ever, without a feed."""
    swallowed: list[int] = []
    inner: list[asyncio.Task[None]] = []

    async def beat() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if len(swallowed) == 3:
                    raise
                swallowed.append(1)

    async def serve() -> None:
        inner.append(asyncio.create_task(beat()))
        try:
            await asyncio.sleep(60)
        finally:
            await ended(inner, again_s=60)  # the second cancellation from outside comes before its own

    outer = asyncio.create_task(serve())
    await asyncio.sleep(0.01)
    async with asyncio.timeout(2):
        await ended([outer], again_s=0.01)
    assert outer.cancelled()
    left = [task for task in inner if not task.done()]
    swallowed.extend([1] * (3 - len(swallowed)))  # else it would outlive the test, too
    await ended(inner)
    assert not left


async def test_what_fails_beside_the_first_is_a_line_and_no_traceback(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL goes, and several tasks of a session fail at once: the first is raised, the others nobody asks for."""

    async def fails() -> None:
        raise StoreUnavailable("PostgreSQL does not answer")

    tasks = [asyncio.ensure_future(fails()) for _ in range(2)]
    await asyncio.wait(tasks)
    await ended(tasks)
    del tasks
    gc.collect()
    assert not caplog.records  # asyncio: "Task exception was never retrieved", with its traceback
    told = capsys.readouterr().out
    assert told.count("StoreUnavailable: PostgreSQL does not answer") == 2
    assert "Traceback" not in told
