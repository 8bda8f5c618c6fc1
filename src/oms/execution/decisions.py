"""What a person decides: to halt and resume trading, to adopt or ignore a difference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from oms.domain.drift import Drift, DriftKind, DriftState
from oms.domain.errors import CommandRefused
from oms.execution.desk import Desk
from oms.execution.reconcile import Reconciler
from oms.execution.wire import Wire
from oms.ports import Changes, Command, Halt

log = structlog.get_logger(__name__)

WIRE_S = 2.0  # for so long a halt waits for what became of orders that were sent, before it names them
LOOK_EVERY_S = 0.05


class Decisions:
    """Carries out commands that carry `by` and `reason`. `changed` is called when trading was halted or resumed."""

    def __init__(self, desk: Desk, reconciler: Reconciler, wire: Wire, changed: Callable[[], None]) -> None:
        self._desk = desk
        self._drift = desk.book.drift
        self._reconciler = reconciler
        self._wire = wire
        self._changed = changed

    async def halt(self, command: Command) -> Changes | None:
        """Send nothing new from now on, also after a restart. The answer names what was on the wire.

        Whatever began before the latch was set is waited for a little; nothing can begin after it. On the wire may also
        be what a former process sent, or one that is frozen will send: every order whose fate is not known is named.
        """
        worth, was_halted = self._desk.worth, self._desk.worth.is_halted
        if not was_halted:
            by, reason = _signed(command)
            worth.halt = Halt(is_on=True, at=self._desk.time.now(), by=by, reason=reason)
            self._changed()
            log.error("halted", by=by, reason=reason)
            await self._desk.journal.record(Changes(halt=worth.halt))
        clock = self._desk.outside.clock
        until = clock.monotonic() + WIRE_S
        while self._on_the_wire() and clock.monotonic() < until:  # noqa: ASYNC110 — time is what it waits for
            await asyncio.sleep(LOOK_EVERY_S)
        assert worth.halt is not None  # noqa: S101 — just set, or found so
        on_the_wire = ", ".join(sorted(map(str, self._on_the_wire())))
        text = f"already halted since {_when(worth.halt)}" if was_halted else "halted: nothing new is sent"
        if on_the_wire:
            text += f"; already on the wire, and followed: {on_the_wire}"
        return _done(command, text)

    async def resume(self, command: Command) -> Changes | None:
        """Trade again."""
        worth = self._desk.worth
        if not worth.is_halted:
            raise CommandRefused("trading is not halted")
        by, reason = _signed(command)
        worth.halt = Halt(is_on=False, at=self._desk.time.now(), by=by, reason=reason)
        self._changed()
        log.warning("resumed", by=by, reason=reason)
        changes = _done(command, "trading goes on")
        changes.merge(Changes(halt=worth.halt))
        return changes

    async def adopt(self, command: Command) -> Changes | None:
        """The broker's word counts: a correction is booked, once, by the row's own number. Raises BrokerError."""
        drift = self._standing(command)
        if drift.kind is not DriftKind.POSITION:
            raise CommandRefused(f"drift {drift.id} is of kind {drift.kind}: only positions can be adopted; ignore it")
        by, reason = _signed(command)
        return await self._reconciler.adopt_position(drift, by, reason, lambda text: _done(command, text))

    async def ignore(self, command: Command) -> Changes | None:
        """It is accepted as it is, and blocks nothing until it changes."""
        drift = self._standing(command)
        if drift.state is DriftState.IGNORED:
            raise CommandRefused(f"drift {drift.id} is ignored already, by {drift.resolved_by}: {drift.reason}")
        changes = self._drift.ignore(drift, *_signed(command))
        changes.merge(_done(command, f"drift {drift.id} is ignored until it changes"))
        return changes

    def _on_the_wire(self) -> set[UUID]:
        """Orders that may arrive at the broker, or have arrived without its answer being known."""
        unknown = {order.id for order in self._desk.book.open_orders() if order.alpaca_id is None}
        return self._wire.under_way | unknown

    def _standing(self, command: Command) -> Drift:
        drift_id = command.data.get("drift_id")
        drift = self._drift.by_id(drift_id) if isinstance(drift_id, int) else None
        if drift is None:
            raise CommandRefused(f"no drift {drift_id} stands: it is resolved, or there never was one (oms drift)")
        return drift


def _signed(command: Command) -> tuple[str, str]:
    return str(command.data.get("by") or "unknown"), str(command.data.get("reason") or "")


def _when(halt: Halt) -> str:
    return f"{halt.at:%Y-%m-%d %H:%M:%S} UTC by {halt.by}: {halt.reason}"


def _done(command: Command, text: str) -> Changes:
    return Changes(commands=[(command.id, "done", text)])
