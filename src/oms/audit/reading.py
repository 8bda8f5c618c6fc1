"""What an audit reads, all of it at one moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


class Row(Protocol):
    """Anything that gives a column by its name."""

    def __getitem__(self, name: str, /) -> Any: ...


class Snapshot(Protocol):
    """The record as it was at one moment. Streams never hold more than some thousand rows in memory."""

    async def moment(self) -> datetime:
        """When."""

    async def accounts(self) -> Sequence[Row]:
        """Accounts with `events`, `first_seq`, `last_seq` as counted in the trail."""

    def orders(self) -> AsyncIterator[Row]:
        """All orders by id."""

    def events(self) -> AsyncIterator[Row]:
        """All events by order and sequence."""

    def fills(self) -> AsyncIterator[Row]:
        """All fills by order and cumulative quantity, each with the `fee_qty` and `fee_cash` booked with it."""

    def steps(self) -> AsyncIterator[Row]:
        """The steps of all positions by account, symbol and place."""

    async def stray_fees(self) -> Sequence[Row]:
        """Fees that belong to no fill."""

    async def positions(self) -> Sequence[Row]:
        """All positions."""

    async def open_orders(self, account_id: UUID) -> Sequence[Row]:
        """Orders of the account that have not ended."""

    async def orders_at_broker(self, account_id: UUID, ids: Sequence[str], client_ids: Sequence[str]) -> Sequence[Row]:
        """Orders with one of these ids at the broker, or of ours."""

    async def fills_since(self, account_id: UUID, since: datetime) -> Sequence[Row]:
        """Fills of the account after that time."""


class Record(Protocol):
    """Where snapshots come from."""

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """A moment to read, for as long as the block lasts. Raises StoreUnavailable."""
