"""The port to what alerts are made of and what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from oms.domain.alerts import Alert, KeptAlert, Looked


class AlertDesk(Protocol):
    """Held by the one process that alerts for a key, until it lets go or its connection to the database ends.

    Everything goes through that connection: who has lost it can write nothing. All methods raise StoreUnavailable.
    """

    async def cursor(self) -> tuple[int | None, Mapping[str, str]]:
        """The last event that was looked at (None: never any), and the conditions that were told, by name."""

    async def look(self, after: int | None, limit: int) -> Looked:
        """What happened since, `limit` events at most; without a cursor only where the trail ends now."""

    async def keep(self, alerts: Sequence[Alert], head: int, conditions: Mapping[str, str], at: datetime) -> None:
        """Store alerts, the cursor and the conditions that are told by them, all or nothing."""

    async def register(self, receivers: Sequence[str]) -> None:
        """These receive from now on; new ones begin with what comes next."""

    async def waiting(self, receiver: str, limit: int) -> Sequence[KeptAlert]:
        """What the receiver has not taken yet, oldest first."""

    async def delivered(self, receiver: str, up_to: int, count: int, at: datetime) -> None:
        """The receiver has taken everything up to that one."""

    async def failed(self, receiver: str, error: str, at: datetime) -> None:
        """The receiver has not taken it; counted."""

    async def forget(self, before: datetime) -> None:
        """Drop alerts that are older and that no receiver waits for."""


class AlertRecord(Protocol):
    """Where desks are had."""

    def desk(self) -> AbstractAsyncContextManager[AlertDesk | None]:
        """The desk, or None while another process holds it. Raises StoreUnavailable."""
