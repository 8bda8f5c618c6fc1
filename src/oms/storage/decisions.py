"""The drift ledger and the halt as people see them, and the commands that they leave for the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from oms.domain.drift import DriftState
from oms.ports import Halt
from oms.storage.database import Pool, connection, to_json
from oms.storage.rows import halt_of

Row = asyncpg.Record

_DRIFT = """
select id, kind, subject, symbol, cause, ours, theirs, first_seen, last_seen, passes, order_id, blocks, state,
    resolution, resolved_at, resolved_by, reason
from drift where account_id = $1 and state = any($2) and ($3::bigint is null or id < $3)
order by id desc limit $4
"""
_ASK = "insert into commands (id, account_id, kind, data, created_at) values ($1, $2, $3, $4::jsonb, $5)"


@dataclass(frozen=True, slots=True)
class Standing:
    """How the account stands: when record and broker last agreed in everything, and whether trading is halted."""

    in_sync_at: datetime | None
    halt: Halt | None


class Decisions:
    """Reads for people, and their commands. All raise StoreUnavailable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def drift(
        self,
        account_id: UUID,
        *,
        states: Iterable[DriftState] = tuple(DriftState),
        before: int | None = None,
        limit: int,
    ) -> Sequence[Row]:
        """Rows of the drift ledger in these states, newest first, below an id."""
        async with connection(self._pool) as db:
            return await db.fetch(_DRIFT, account_id, [str(state) for state in states], before, limit)

    async def standing(self, account_id: UUID) -> Standing:
        """How the account stands."""
        async with connection(self._pool) as db:
            row = await db.fetchrow("select * from accounts where id = $1", account_id)
        return Standing(None, None) if row is None else Standing(row["in_sync_at"], halt_of(row))

    async def ask(
        self, command_id: UUID, account_id: UUID, kind: str, data: Mapping[str, object], now: datetime
    ) -> None:
        """Leave a command for the engine."""
        async with connection(self._pool) as db:
            await db.execute(_ASK, command_id, account_id, kind, to_json(data), now)

    async def accounts(self) -> Sequence[UUID]:
        """Every account that is stored."""
        async with connection(self._pool) as db:
            return [row["id"] for row in await db.fetch("select id from accounts")]
