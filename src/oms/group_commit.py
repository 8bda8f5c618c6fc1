"""Group commit: whatever arrives while the last commit is under way goes into the next one. No fixed delay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from oms.domain.errors import StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

CLOSED = "nothing is stored any more: the committer has ended"
Commit = Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]


class GroupCommit(Generic[Item, Result]):
    """Collects items and hands them to `commit` in batches of at most `largest`, one batch at a time.

    `commit` returns one result for each item, in order. When it raises one of `poisonous` (an answer of the store about
    the content, not about its absence), the batch is halved until the bad item is alone: it takes no other down.
    Any other error fails the whole batch.
    """

    def __init__(
        self, commit: Commit[Item, Result], *, largest: int = 512, poisonous: tuple[type[Exception], ...] = ()
    ) -> None:
        self._commit = commit
        self._largest = largest
        self._poisonous = poisonous
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._arrived = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queue an item; the future is done when its transaction is."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(StoreUnavailable(CLOSED))
            return future
        self._waiting.append((item, future))
        self._arrived.set()
        return future

    async def run(self) -> None:
        """Commit for ever. When it ends, what waits and what comes later fails with StoreUnavailable."""
        try:
            while True:
                await self._arrived.wait()
                batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
                if not self._waiting:
                    self._arrived.clear()
                await self._store(batch)
                if _is_cancelled():
                    # The database's client can turn a cancellation that comes in the middle of its call into an error
                    # of its own, which went to the callers: without this, `run` would wait for ever.
                    raise asyncio.CancelledError
        finally:
            self._closed = True
            for _, future in self._waiting:
                if not future.done():
                    future.set_exception(StoreUnavailable(CLOSED))
            self._waiting.clear()

    async def _store(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        batch = [(item, future) for item, future in batch if not future.cancelled()]
        if not batch:
            return
        try:
            results = await self._commit([item for item, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                if not future.done():
                    future.set_exception(StoreUnavailable(CLOSED))
            raise
        except Exception as error:  # noqa: BLE001 — handed to every caller, who decides
            if isinstance(error, self._poisonous) and len(batch) > 1:
                half = len(batch) // 2
                await self._store(batch[:half])
                await self._store(batch[half:])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)


def _is_cancelled() -> bool:
    """Whether somebody wants this task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
