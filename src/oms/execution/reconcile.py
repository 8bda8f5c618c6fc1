"""Brings what is stored and what the broker holds together: at start, at every reconnect, and regularly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from oms.domain.errors import BrokerError, BrokerNotFound
from oms.domain.orders import Order, rounded_price
from oms.domain.positions import Adjustment, AdjustmentKind
from oms.domain.reports import BrokerAccount, BrokerFill, BrokerOrder, BrokerPosition, FeeActivity
from oms.domain.values import ZERO, AssetClass
from oms.execution.book import Book
from oms.execution.budget import RequestBudget
from oms.execution.journal import Journal
from oms.execution.ledger import Ledger
from oms.execution.market_time import NEW_YORK, MarketTime
from oms.ports import AccountRecord, Broker, Changes, Ids, Purpose, Store

log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=10)
FEES_POSTED_WITHIN = timedelta(days=1)
ADOPTION_TRIES = 10
LOOKED_UP_MAX = 10  # orders asked one by one in a pass: more are proven by listings
ASKED_SINGLY_MAX = 5
SETTLES_IN = timedelta(seconds=2)  # a listing may be older than an order just sent


@dataclass(slots=True)
class Findings:
    """What the last full pass found. `drift` maps a symbol to (ours, the broker's) quantity where they differ."""

    at: datetime | None = None
    drift: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    account: BrokerAccount | None = None


class Reconciler:
    """Light: one listing of open orders. Full: orders, executions, fees, positions and account since the watermark."""

    def __init__(
        self,
        account: AccountRecord,
        broker: Broker,
        book: Book,
        journal: Journal,
        ledger: Ledger,
        store: Store,
        time: MarketTime,
        budget: RequestBudget,
        ids: Ids,
    ) -> None:
        self._account_id = account.id
        self._watermark = account.watermark
        self._adopted_at = account.adopted_at
        self._broker = broker
        self._book = book
        self._journal = journal
        self._ledger = ledger
        self._store = store
        self._time = time
        self._budget = budget
        self._ids = ids
        self._one_at_a_time = asyncio.Lock()
        self.findings = Findings()

    async def full(self) -> None:
        """Catch up with everything since the watermark. Raises BrokerError; what was applied until then holds."""
        async with self._one_at_a_time:
            await self._full()

    async def _full(self) -> None:
        self._time.learn(await self._broker.clock())
        begun = self._time.now()
        if self._watermark is None:
            await self._adopt()
        assert self._watermark is not None  # noqa: S101 — adopting sets it
        since = min(self._watermark, begun) - OVERLAP
        seen = {order.broker_order_id: order for order in await self._broker.orders_since(since)}
        seen |= {order.broker_order_id: order for order in await self._broker.open_orders()}
        for order in seen.values():
            await self._ledger.observe(order)
        await self._look_up_unseen(set(seen), limit=None)
        for fill in sorted(await self._broker.fills_since(since), key=_when):
            await self._ledger.fill(fill)
        await self.complete_fills()
        await self._true_up_fees(await self._broker.fees_since(since - FEES_POSTED_WITHIN), since - FEES_POSTED_WITHIN)
        await self._compare_positions()
        await self.refresh_account()
        self._watermark = begun
        await self._journal.record(Changes(watermark=begun))
        self.findings.at = begun

    async def light(self) -> None:
        """Open orders only: finds ends and fills that the stream did not tell. Raises BrokerError."""
        spare = self._budget.spare(Purpose.RECONCILE)
        seen = await self._broker.open_orders()
        for order in seen:
            await self._ledger.observe(order)
        await self._look_up_unseen({order.broker_order_id for order in seen}, limit=max(min(LOOKED_UP_MAX, spare), 0))
        await self.complete_fills()

    async def refresh_account(self) -> None:
        """Cash and equity as the broker counts them."""
        account = await self._broker.account()
        self.findings.account = account
        await self._store.snapshot_account(self._account_id, account, self._time.now())

    # --- the first contact --------------------------------------------------------------------------------------------

    async def _adopt(self) -> None:
        """Take in what the account holds: positions as adjustments, orders as external.

        Executions may come in while this is read. The positions are taken between two equal looks at orders and
        executions: what those name is in the positions and is marked as the orders' baseline, whatever comes later is
        not. Orders are asked as well as executions, whose list can lag behind.
        """
        at = self._time.now()
        before = await self._traded(at - 2 * OVERLAP)
        for _ in range(ADOPTION_TRIES):
            positions = await self._broker.positions()
            orders, fills = after = await self._traded(at - 2 * OVERLAP)
            if _filled(*after) == _filled(*before):
                break
            before = after
        else:
            raise BrokerError("the account trades too much elsewhere to be taken in; trying again")
        changes = Changes(watermark=at)
        for seen, baseline in await self._foreign_orders(orders, fills):
            if self._book.find(seen) is None:
                changes.merge(self._book.adopt(seen, baseline=baseline))
        for held in _by_symbol(positions):
            changes.merge(self._book.adopt_position(held, at))
        log.info("account_adopted", positions=len(positions), orders=len(changes.created))
        await self._journal.record(changes)
        self._watermark = self._adopted_at = at

    async def _traded(self, since: datetime) -> tuple[Sequence[BrokerOrder], Sequence[BrokerFill]]:
        """Orders that are open or were sent lately, and the executions since then."""
        recent = {order.broker_order_id: order for order in await self._broker.orders_since(since)}
        recent |= {order.broker_order_id: order for order in await self._broker.open_orders()}
        return list(recent.values()), await self._broker.fills_since(since)

    async def _foreign_orders(
        self, orders: Sequence[BrokerOrder], fills: Sequence[BrokerFill]
    ) -> list[tuple[BrokerOrder, Decimal]]:
        """Each order that is open or was filled lately, with what of it is in the positions."""
        baselines: dict[str, Decimal] = {}
        for fill in fills:
            baselines[fill.broker_order_id] = max(fill.cum_qty, baselines.get(fill.broker_order_id, ZERO))
        known = {order.broker_order_id: order for order in orders if order.filled_qty or not order.status.is_final}
        for broker_order_id in baselines:
            if broker_order_id not in known:
                known[broker_order_id] = await self._broker.order(broker_order_id)
        return [(seen, max(baselines.get(seen.broker_order_id, ZERO), seen.filled_qty)) for seen in known.values()]

    # --- the parts of a pass ------------------------------------------------------------------------------------------

    async def _look_up_unseen(self, seen: set[str], limit: int | None) -> None:
        """Open orders of ours that no listing showed: ask for each. Those without the broker's id are the sender's."""
        settled = self._time.now() - SETTLES_IN
        unseen = [
            order
            for order in self._book.open_orders()
            if order.alpaca_id is not None and order.alpaca_id not in seen and _is_older(order, settled)
        ]
        for order in unseen[:limit]:
            if order.alpaca_id is None:
                continue
            try:
                await self._ledger.observe(await self._broker.order(order.alpaca_id))
            except BrokerNotFound:
                log.error("order_gone", order_id=str(order.id), alpaca_id=order.alpaca_id)

    async def complete_fills(self) -> None:
        """Orders whose status names more than is booked: ask for their executions, one by one or all at once."""
        if len(self._book.awaiting_fills) > ASKED_SINGLY_MAX and self._watermark is not None:
            for fill in sorted(await self._broker.fills_since(self._watermark - OVERLAP), key=_when):
                await self._ledger.fill(fill)
        for order_id in list(self._book.awaiting_fills)[:ASKED_SINGLY_MAX]:
            order = self._book.orders[order_id]
            if order_id in self._book.awaiting_fills:  # asked last, so that one without an answer blocks no other
                self._book.awaiting_fills[order_id] = self._book.awaiting_fills.pop(order_id)
            if order.alpaca_id is not None:
                for fill in await self._broker.fills_of(order.alpaca_id):
                    await self._ledger.fill(fill)

    async def _true_up_fees(self, fees: Sequence[FeeActivity], since: datetime) -> None:
        """Where a day's posted fees differ from those booked with the fills, book the difference."""
        posted: dict[tuple[str, str], list[FeeActivity]] = {}
        for fee in fees:
            posted.setdefault((fee.day, fee.symbol), []).append(fee)
        adopted_on = "" if self._adopted_at is None else f"{self._adopted_at.astimezone(NEW_YORK):%Y-%m-%d}"
        for (day, symbol), activities in posted.items():
            if day <= adopted_on or day < f"{since.astimezone(NEW_YORK):%Y-%m-%d}":
                # Fees from before the account was taken in are in the adopted position; of an older day, some are
                # not listed any more.
                continue
            await self._journal.flush()
            coin, cash = await self._store.fee_totals(self._account_id, day, symbol)
            missing_coin = sum((one.qty for one in activities), ZERO) - coin
            missing_cash = sum((one.cash for one in activities), ZERO) - cash
            if not missing_coin and not missing_cash:
                continue
            log.info("fee_true_up", day=day, symbol=symbol, coin=str(missing_coin), cash=str(missing_cash))
            reference = f"cfee:{day}:{symbol}:{coin + missing_coin}:{cash + missing_cash}:{coin}:{cash}"
            adjustment = Adjustment(
                self._ids(), self._account_id, symbol, AdjustmentKind.FEE_TRUE_UP, missing_coin, None, missing_cash,
                _end_of_day(day), reference,
            )  # fmt: skip
            await self._ledger.adjust(adjustment, AssetClass.CRYPTO)

    async def _compare_positions(self) -> None:
        """Differences are told, never traded away. Fills that are on their way count as agreed on the next pass."""
        theirs: dict[str, Decimal] = {}
        for held in await self._broker.positions():  # a coin may be held under two of its pairs
            theirs[held.symbol] = theirs.get(held.symbol, ZERO) + held.qty
        ours = {symbol: position.qty for symbol, position in self._book.positions.items()}
        drift = {}
        for symbol in theirs.keys() | ours.keys():
            pair = (ours.get(symbol, ZERO), theirs.get(symbol, ZERO))
            if pair[0] != pair[1]:
                drift[symbol] = pair
        for symbol in drift.keys() & self.findings.drift.keys():
            log.error("position_differs", symbol=symbol, ours=str(drift[symbol][0]), broker=str(drift[symbol][1]))
        self.findings.drift = drift
        if drift:
            self._ledger.ask_for_all()


def _when(fill: BrokerFill) -> tuple[datetime, str, Decimal]:
    """The order in which executions happened, so that positions need not be computed again for each."""
    return (fill.transacted_at, fill.broker_order_id, fill.cum_qty)


def _filled(orders: Sequence[BrokerOrder], fills: Sequence[BrokerFill]) -> tuple[object, ...]:
    """What tells whether anything was executed between two looks."""
    return {order.broker_order_id: order.filled_qty for order in orders if order.filled_qty}, fills


def _by_symbol(positions: Sequence[BrokerPosition]) -> list[BrokerPosition]:
    """One position for each symbol: a coin may be held under two of its pairs."""
    summed: dict[str, BrokerPosition] = {}
    for held in positions:
        other = summed.get(held.symbol)
        if other is not None:
            qty = other.qty + held.qty
            cost = other.qty * other.avg_price + held.qty * held.avg_price
            held = replace(held, qty=qty, avg_price=rounded_price(cost / qty) if qty else ZERO)  # noqa: PLW2901
        summed[held.symbol] = held
    return [held for held in summed.values() if held.qty]


def _is_older(order: Order, than: datetime) -> bool:
    return (order.submitted_at or order.created_at) < than


def _end_of_day(day: str) -> datetime:
    """The last instant of a New York day: its fees follow its fills."""
    return datetime.fromisoformat(f"{day}T23:59:59.999999").replace(tzinfo=NEW_YORK)
