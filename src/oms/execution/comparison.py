"""Positions here and at the broker: compared, told, blocked; never traded away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from oms.domain.drift import Cause, Drift, DriftKind, Resolution
from oms.domain.errors import CommandRefused
from oms.domain.positions import Adjustment, AdjustmentKind
from oms.domain.reports import BrokerPosition
from oms.domain.values import ZERO
from oms.execution.adoption import by_symbol
from oms.execution.desk import Desk
from oms.execution.executions import Executions
from oms.execution.ledger import Ledger
from oms.ports import Changes

PASSES_TO_BLOCK = 2


class Comparison:
    """Compares the positions of one account.

    Fills that are on their way are no difference. Where quantities differ, the executions are read once more: a
    position that moved meanwhile agrees with whatever it passed through, and a pass that cannot tell does not count.
    """

    def __init__(self, desk: Desk, ledger: Ledger, executions: Executions) -> None:
        self._desk = desk
        self._book = desk.book
        self._drift = desk.book.drift
        self._ledger = ledger
        self._executions = executions

    async def compare(self, since: datetime) -> None:
        """One comparison, with executions since that time accounted for. Raises BrokerError."""
        await self._compare(since)

    async def adopt(
        self, drift: Drift, since: datetime, by: str, reason: str, done: Callable[[str], Changes]
    ) -> Changes:
        """A person takes over the broker's quantity: a correction is booked, once.

        `done` makes the acknowledgement of a text, which is stored in the same transaction: what is left to store is
        returned. Raises BrokerError; CommandRefused when the difference is not what was seen.
        """
        if self._drift.by_id(drift.id) is None:
            raise CommandRefused(f"drift {drift.id} was resolved meanwhile (oms drift --all)")
        theirs, moving = await self._compare(since)
        now = self._drift.find(drift.kind, drift.subject)
        if now is None:
            return done(f"{drift.symbol} has come to agree by itself: nothing was booked")
        if (now.id, now.delta) != (drift.id, drift.delta) or drift.symbol in moving:
            raise CommandRefused(
                f"{drift.symbol} has moved since: {now.ours} here, {now.theirs} at the broker. Look again (oms drift)"
            )
        held, ours = theirs.get(now.symbol), self._book.positions.get(now.symbol)
        asset_class = held.asset_class if held is not None else ours.asset_class if ours is not None else None
        assert asset_class is not None  # noqa: S101 — one of the two holds it, else they would agree
        adjustment = Adjustment(
            self._desk.outside.ids(), self._desk.account_id, now.symbol, AdjustmentKind.CORRECTION, now.delta,
            _price(ours.qty if ours else ZERO, held), ZERO, self._desk.time.now(), f"drift:{now.id}",
        )  # fmt: skip
        changes = self._drift.over(now.kind, now.subject, Resolution.ADOPTED, by=by, reason=reason)
        changes.merge(
            done(f"{now.symbol} is {now.theirs}, as at the broker; {now.delta:+f} was booked as a correction")
        )
        await self._ledger.adjust(adjustment, asset_class, also=changes)
        return Changes()

    async def _compare(self, since: datetime) -> tuple[dict[str, BrokerPosition], set[str]]:
        """What the broker holds, and the symbols that moved meanwhile."""
        before = self._ours()
        passed = self._book.passed_through = {symbol: {qty} for symbol, qty in before.items()}
        try:
            theirs = by_symbol(await self._desk.outside.broker.positions())
            if any(_qty(theirs, symbol) != before.get(symbol, ZERO) for symbol in theirs.keys() | before.keys()):
                await self._executions.since(since)
        finally:
            self._book.passed_through = None
        after = self._ours()
        told = {drift.symbol for drift in self._drift.standing if drift.kind is DriftKind.POSITION}
        symbols = sorted(theirs.keys() | after.keys() | told)
        moving = {symbol for symbol in symbols if before.get(symbol, ZERO) != after.get(symbol, ZERO)}
        moving |= {self._book.holding(self._book.orders[one].symbol) for one in self._book.awaiting_fills}
        changes, unsettled = Changes(), False
        for symbol in symbols:
            qty = _qty(theirs, symbol)
            if qty == after.get(symbol, ZERO) or qty in passed.get(symbol, ()):
                changes.merge(self._drift.over(DriftKind.POSITION, symbol))
                continue
            changes.merge(self._differs(symbol, after.get(symbol, ZERO), qty, counts=symbol not in moving))
            found = self._drift.find(DriftKind.POSITION, symbol)
            unsettled |= found in self._drift.unsettled
        if changes:
            self._desk.journal.record(changes)
        if unsettled:
            self._ledger.ask_for_all(is_new=False)
        return theirs, moving

    def _differs(self, symbol: str, ours: Decimal, theirs: Decimal, *, counts: bool) -> Changes:
        known = self._drift.find(DriftKind.POSITION, symbol)
        passes = (known.passes if known in self._drift.unsettled and known is not None else 0) + counts
        blocks = passes >= PASSES_TO_BLOCK
        cause = Cause.UNEXPLAINED if blocks else Cause.IN_FLIGHT
        return self._drift.found(
            DriftKind.POSITION, symbol, symbol, cause, _plain(ours), _plain(theirs), blocks=blocks, counts=counts
        )

    def _ours(self) -> dict[str, Decimal]:
        return {symbol: position.qty for symbol, position in self._book.positions.items()}


def _qty(theirs: dict[str, BrokerPosition], symbol: str) -> Decimal:
    held = theirs.get(symbol)
    return ZERO if held is None else held.qty


def _price(ours: Decimal, held: BrokerPosition | None) -> Decimal | None:
    """At what price the correction counts: what is added, at the broker's average; what is taken, at cost."""
    adds = held is not None and held.qty and (abs(held.qty) > abs(ours) or (held.qty > 0) != (ours > 0))
    return held.avg_price if held is not None and adds else None


def _plain(value: Decimal) -> str:
    return format(value, "f")
