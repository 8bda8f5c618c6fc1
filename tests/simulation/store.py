"""The ports Store and SignalStore over the record in memory, with a wire between that delays and loses.

A call can fail before it is executed, after (the acknowledgement is lost), or be executed when its caller has given up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from oms.domain.errors import InvalidInput, StoreUnavailable
from oms.domain.instruments import Instrument
from oms.domain.orders import Order
from oms.domain.positions import Entry, Valuation
from oms.domain.reports import BrokerAccount
from oms.domain.signals import Signal
from oms.ports import Acceptance, Changes, Command, Configs, StoredOrder, WorkingSet
from oms.storage.signals import CommitUnanswered
from tests.simulation.record import Record, UniqueViolation
from tests.simulation.world import World


@dataclass(slots=True)
class StoreFaults:
    """How the wire to PostgreSQL behaves. `quick`: how often a read costs no step at all."""

    quick: float = 0.7
    latency_s: tuple[float, float] = (0.0005, 0.004)
    slow: float = 0.02
    stalls: float = 0.0  # seconds: a lease can run out under an engine that lives
    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    down_until: float = -1.0


class SimStore:
    """One process's pool of connections. Both ports in one: what distinguishes them is who calls."""

    def __init__(self, world: World, record: Record, faults: StoreFaults) -> None:
        self._world = world
        self._loop = world.loop
        self._record = record
        self._faults = faults

    # --- the wire -----------------------------------------------------------------------------------------------------

    async def _read(self, name: str, *arguments: Any) -> Any:
        """A statement that writes nothing."""
        world, faults = self._world, self._faults
        if self._loop.time() < faults.down_until:
            await self._travel(0.001)
            raise StoreUnavailable("PostgreSQL is down")
        if world.random.random() < faults.quick:
            return getattr(self._record, name)(*arguments)
        world.called("read")
        await self._travel()
        if self._loop.time() < faults.down_until or world.chance(faults.lost):
            raise StoreUnavailable("the connection was lost")
        answer = getattr(self._record, name)(*arguments)
        if world.random.random() < 0.3:
            await self._travel()  # what was read is older than now
        return answer

    async def _write(self, call: str, execute: Callable[[], Any]) -> Any:
        """A transaction. Raises CommitUnanswered where it may or may not have been executed."""
        world, faults, loop = self._world, self._faults, self._loop
        world.called(call)
        if loop.time() < faults.down_until:
            await self._travel(0.001)
            raise StoreUnavailable("PostgreSQL is down")
        future = loop.create_future()
        fate = 9.0 if world.calm else world.random.random()
        delay = self._delay()
        if (fate := fate - faults.lost) < 0:
            loop.at(delay, _fail, future, StoreUnavailable("the connection was lost before"))
        elif (fate := fate - faults.late) < 0:
            # The statement waits in the server while its client has given up.
            world.note("late", call)
            loop.at(delay, _fail, future, CommitUnanswered("the connection was lost; the statement is still there"))
            loop.at(delay + world.random.uniform(0.01, 4.0), _settle, loop.create_future(), execute)
        elif fate - faults.unanswered < 0:
            world.note("unanswered", call)
            loop.at(delay * world.random.random(), _settle, loop.create_future(), execute)
            loop.at(delay, _fail, future, CommitUnanswered("the answer to COMMIT was lost"))
        elif world.random.random() < 0.25:
            done = loop.create_future()
            loop.at(delay, _settle, done, execute)
            loop.at(delay + self._delay(), _hand_over, done, future)
        else:
            loop.at(delay, self._arrive, future, execute)
        return await future

    def _arrive(self, future: Any, execute: Callable[[], Any]) -> None:
        if self._loop.time() < self._faults.down_until:
            _fail(future, CommitUnanswered("PostgreSQL went down"))
        else:
            _settle(future, execute)

    def _delay(self) -> float:
        low, high = self._faults.latency_s
        delay = low + self._world.random.random() * (high - low)
        if self._faults.stalls and self._world.chance(self._faults.stalls):
            self._world.note("stalls")
            return delay + self._world.random.uniform(1.0, 9.0)
        return delay * 40 if self._world.chance(self._faults.slow) else delay

    async def _travel(self, delay: float | None = None) -> None:
        future = self._loop.create_future()
        self._loop.at(self._delay() if delay is None else delay, _done, future)
        await future

    # --- SignalStore --------------------------------------------------------------------------------------------------

    async def accept(self, account_id: UUID, signals: Sequence[tuple[UUID, Signal, datetime]]) -> Sequence[Acceptance]:
        try:
            answers: Sequence[Acceptance] = await self._write(
                "accept", lambda: self._record.accept(account_id, signals)
            )
        except UniqueViolation as error:
            raise InvalidInput("refused_by_store", str(error)) from error
        return answers

    async def record_error(self, account_id: UUID | None, source: str, payload: str, reason: str, code: str) -> None:
        await self._write("record_error", lambda: self._record.record_error(account_id, source, payload, reason, code))

    # --- Store --------------------------------------------------------------------------------------------------------

    async def register_account(self, account: BrokerAccount, key_hash: str, address: str, now: datetime) -> UUID:
        made: UUID = await self._write(
            "register", lambda: self._record.register_account(account, key_hash, address, now)
        )
        return made

    async def account_of_key(self, key_hash: str) -> UUID | None:
        found: UUID | None = await self._read("account_of_key", key_hash)
        return found

    async def take_lease(self, account_id: UUID, holder: str, ttl_s: float) -> int | None:
        epoch: int | None = await self._write("lease", lambda: self._record.take_lease(account_id, holder, ttl_s))
        if epoch is not None:
            self._world.note("leads", epoch)
        return epoch

    async def renew_lease(self, account_id: UUID, epoch: int, ttl_s: float) -> None:
        await self._write("renew", lambda: self._record.renew_lease(account_id, epoch, ttl_s))

    async def release_lease(self, account_id: UUID, epoch: int) -> None:
        await self._write("release", lambda: self._record.release_lease(account_id, epoch))

    async def save_instruments(self, instruments: Sequence[Instrument]) -> None:
        await self._write(
            "instruments", lambda: self._record.instruments.update({one.symbol: one for one in instruments})
        )

    async def load(self, account_id: UUID) -> WorkingSet:
        working: WorkingSet = await self._read("load", account_id)
        return working

    async def symbols(self) -> tuple[Sequence[Instrument], Mapping[str, str]]:
        working = (list(self._record.instruments.values()), dict(self._record.aliases))
        await self._travel()
        return working

    async def configs(self) -> Configs:
        configs: Configs = await self._read("configs")
        return configs

    async def pending(self, account_id: UUID, after_seq: int, limit: int) -> Sequence[Order]:
        orders: Sequence[Order] = await self._read("pending", account_id, after_seq, limit)
        return orders

    async def commands(self, account_id: UUID) -> Sequence[Command]:
        commands: Sequence[Command] = await self._read("command_rows", account_id)
        return commands

    async def find_order(
        self, account_id: UUID, broker_order_id: str | None, client_order_id: str | None, order_id: UUID | None = None
    ) -> StoredOrder | None:
        found: StoredOrder | None = await self._read(
            "find_order", account_id, broker_order_id, client_order_id, order_id
        )
        return found

    async def entries(self, account_id: UUID, symbol: str, after: datetime | None) -> Sequence[Entry]:
        entries: Sequence[Entry] = await self._read("entries", account_id, symbol, after)
        return entries

    async def commit(self, account_id: UUID, epoch: int, changes: Changes) -> None:
        await self._write("commit", lambda: self._record.commit(account_id, epoch, changes))

    async def booked(self, account_id: UUID, references: Sequence[str]) -> frozenset[str]:
        found: frozenset[str] = await self._read("booked", account_id, references)
        return found

    async def value(self, account_id: UUID, epoch: int, valuations: Sequence[Valuation]) -> None:
        await self._write("value", lambda: self._record.value(account_id, epoch, valuations))

    async def events(self, account_id: UUID, after_seq: int, limit: int) -> Sequence[tuple[int, bytes]]:
        events: Sequence[tuple[int, bytes]] = await self._read("events", account_id, after_seq, limit)
        return events

    async def last_event(self, account_id: UUID) -> int:
        last: int = await self._read("last_event", account_id)
        return last

    async def fee_totals(self, account_id: UUID, day: str, symbol: str) -> tuple[Decimal, Decimal]:
        totals: tuple[Decimal, Decimal] = await self._read("fee_totals", account_id, day, symbol)
        return totals

    async def report(
        self, key_hash: str, account_id: UUID | None, status: str, detail: Mapping[str, object], now: datetime
    ) -> None:
        await self._read("report", key_hash, account_id, status, detail, now)

    async def snapshot_account(self, account_id: UUID, epoch: int, account: BrokerAccount, now: datetime) -> None:
        await self._write("totals", lambda: self._record.snapshot_account(account_id, epoch, account, now))

    async def close(self) -> None: ...


def _settle(future: Any, execute: Callable[[], Any]) -> None:
    """The server executes; the outcome is in the future."""
    try:
        result = execute()
    except Exception as error:  # noqa: BLE001 — the server's answer, whatever it is
        _fail(future, error)
        return
    if not future.done():
        future.set_result(result)


def _hand_over(done: Any, future: Any) -> None:
    if future.done():
        return
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())


def _fail(future: Any, error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _done(future: Any) -> None:
    if not future.done():
        future.set_result(None)
