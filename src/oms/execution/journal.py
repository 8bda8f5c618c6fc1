"""Writes what the engine decides: everything that came up during the last commit goes into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from oms.group_commit import GroupCommit
from oms.ports import Changes

Store = Callable[[Changes], Awaitable[None]]


class Journal:
    """Group commit of Changes in the order in which they were recorded.

    Memory is ahead of the store by what waits here. When a commit fails, nobody can say which of the two is right: the
    session ends (`run` raises), memory is thrown away and everything is read again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._group: GroupCommit[Changes, None] = GroupCommit(self._commit, largest=1024)
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.committed = asyncio.Event()

    def record(self, changes: Changes) -> asyncio.Future[None]:
        """Queue changes; the future is done when they are stored. Fails with the store's error."""
        future = self._group.submit(changes)
        future.add_done_callback(_looked_at)
        return future

    async def flush(self) -> None:
        """Wait until everything recorded so far is stored."""
        await self.record(Changes())

    async def run(self) -> None:
        """Commit until a commit fails, and raise its error."""
        commits = asyncio.ensure_future(self._group.run())
        try:
            await asyncio.wait([commits, self._failed], return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            commits.result()
        finally:
            commits.cancel()
            await asyncio.gather(commits, return_exceptions=True)
            if self._failed.done():
                self._failed.exception()  # seen: a failure while we end has nobody else to tell

    async def _commit(self, batch: Sequence[Changes]) -> Sequence[None]:
        merged = Changes()
        for changes in batch:
            merged.merge(changes)
        if merged:
            if self._failed.done():
                self._failed.result()
            try:
                await self._store(merged)
            except Exception as error:
                if not self._failed.done():
                    self._failed.set_exception(error)
                raise
            self.committed.set()
        return [None] * len(batch)


def _looked_at(future: asyncio.Future[None]) -> None:
    """Not everybody waits for a commit; its failure is raised by `run` all the same."""
    if not future.cancelled():
        future.exception()
