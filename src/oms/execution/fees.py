"""Crypto fees: expected with each fill, trued up by what the broker posts at the day's end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from oms.domain.drift import Cause, DriftKind, Resolution
from oms.domain.positions import Adjustment, AdjustmentKind
from oms.domain.reports import FeeActivity
from oms.domain.values import ZERO, AssetClass
from oms.execution.desk import Desk
from oms.execution.ledger import Ledger
from oms.execution.market_time import NEW_YORK


class FeeTrueUp:
    """Where a day's posted fees differ from those booked with the fills, books the difference."""

    def __init__(self, desk: Desk, ledger: Ledger) -> None:
        self._desk = desk
        self._ledger = ledger

    async def true_up(self, fees: Sequence[FeeActivity], since: datetime, adopted_at: datetime | None) -> None:
        """Take in the fees posted `since`. Days before the account was taken in are in the adopted positions."""
        posted: dict[tuple[str, str], list[FeeActivity]] = {}
        for fee in fees:
            posted.setdefault((fee.day, fee.symbol), []).append(fee)
        adopted_on = "" if adopted_at is None else f"{adopted_at.astimezone(NEW_YORK):%Y-%m-%d}"
        for (day, symbol), activities in posted.items():
            # Of a day older than the listing, some are not listed any more.
            if day > adopted_on and day >= f"{since.astimezone(NEW_YORK):%Y-%m-%d}":
                await self._day(day, symbol, activities)

    async def _day(self, day: str, symbol: str, activities: Sequence[FeeActivity]) -> None:
        desk = self._desk
        await desk.journal.flush()
        coin, cash = await desk.outside.store.fee_totals(desk.account_id, day, symbol)
        missing_coin = sum((one.qty for one in activities), ZERO) - coin
        missing_cash = sum((one.cash for one in activities), ZERO) - cash
        if not missing_coin and not missing_cash:
            return
        drift = desk.book.drift.mended(
            DriftKind.FEE, f"{day} {symbol}", symbol, Cause.FEE, f"{coin} coin, {cash} USD",
            f"{coin + missing_coin} coin, {cash + missing_cash} USD", Resolution.BOOKED,
        )  # fmt: skip
        reference = f"cfee:{day}:{symbol}:{coin + missing_coin}:{cash + missing_cash}:{coin}:{cash}"
        adjustment = Adjustment(
            desk.outside.ids(), desk.account_id, symbol, AdjustmentKind.FEE_TRUE_UP, missing_coin, None, missing_cash,
            _end_of_day(day), reference,
        )  # fmt: skip
        await self._ledger.adjust(adjustment, AssetClass.CRYPTO, also=drift)


def _end_of_day(day: str) -> datetime:
    """The last instant of a New York day: its fees follow its fills."""
    return datetime.fromisoformat(f"{day}T23:59:59.999999").replace(tzinfo=NEW_YORK)
