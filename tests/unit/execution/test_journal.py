"""The journal: shared commits, in order, and a failure that ends the session."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from oms.domain.errors import StoreUnavailable
from oms.domain.events import EventKind, OrderEvent
from oms.execution.journal import Journal
from oms.ports import Changes


def change(place: int) -> Changes:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    return Changes(events=[OrderEvent(UUID(int=place), EventKind.SUBMITTED, at, "submitted")])


async def test_what_arrives_during_a_commit_shares_the_next_one() -> None:
    commits: list[list[int]] = []
    release = asyncio.Event()

    async def store(changes: Changes) -> None:
        commits.append([event.order_id.int for event in changes.events])
        await release.wait()

    journal = Journal(store)
    running = asyncio.ensure_future(journal.run())
    futures = [journal.record(change(0))]
    await asyncio.sleep(0.01)
    futures += [journal.record(change(place)) for place in range(1, 6)]
    release.set()
    await asyncio.gather(*futures)
    assert commits == [[0], [1, 2, 3, 4, 5]]
    running.cancel()


async def test_a_failed_commit_ends_it_and_nothing_is_written_after() -> None:
    written: list[Changes] = []

    async def store(changes: Changes) -> None:
        written.append(changes)
        raise StoreUnavailable("gone")

    journal = Journal(store)
    running = asyncio.ensure_future(journal.run())
    with pytest.raises(StoreUnavailable):
        await journal.record(change(1))
    late = journal.record(change(2))
    with pytest.raises(StoreUnavailable):
        await running
    assert late.cancelled() or late.exception() is not None
    assert len(written) == 1


async def test_it_ends_also_where_the_client_turns_a_cancellation_into_an_error_of_its_own() -> None:
    """Seen in asyncpg when a cancelled statement does not come back in time: `run` must not wait for ever then."""

    async def store(changes: Changes) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StoreUnavailable("the release of the connection timed out") from None

    journal = Journal(store)
    running = asyncio.ensure_future(journal.run())
    future = journal.record(change(0))
    await asyncio.sleep(0.01)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=10)
    assert done, "the journal still runs"
    assert isinstance(future.exception(), StoreUnavailable)
