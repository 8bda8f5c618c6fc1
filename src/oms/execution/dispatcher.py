"""Takes accepted orders through the gate, in the order of acceptance, and hands the approved ones to the sender."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from decimal import Decimal
from uuid import UUID

import structlog

from oms.domain.drift import DriftKind
from oms.domain.errors import BrokerError
from oms.domain.instruments import Instrument
from oms.domain.orders import Order, OrderStatus
from oms.domain.reports import MarketClock
from oms.domain.values import AssetClass, OrderType, Side
from oms.execution.book import MAKER_FEE, TAKER_FEE
from oms.execution.desk import Desk
from oms.execution.resolver import Resolver
from oms.execution.sender import Sender
from oms.execution.worth import HALTED
from oms.ports import Changes, Configs, Purpose
from oms.risk.controls import Block, RiskView, Verdict, is_reducing, judged_age
from oms.risk.gate import ApprovedOrder, RefusedOrder, check
from oms.risk.limits import Limits, Mode
from oms.waiting import happens

log = structlog.get_logger(__name__)

READ_AT_ONCE = 2_000
IN_FLIGHT_MAX = 64  # requests to the broker at the same time
SWEEP_S = 1.0  # how often orders are looked for that no message announced


class Dispatcher:
    """Reads pending orders and gates them in memory. Approved orders count in the limits from that moment.

    `wake` is set by whatever announces an order; a sweep finds those that nothing announced.
    """

    def __init__(self, desk: Desk, sender: Sender, resolver: Resolver, configs: Configs) -> None:
        self._account_id = desk.account_id
        self._book = desk.book
        self._journal = desk.journal
        self._store = desk.outside.store
        self._broker = desk.outside.broker
        self._prices = desk.outside.prices
        self._budget = desk.outside.budget
        self._clock = desk.outside.clock
        self._time = desk.time
        self._worth = desk.worth
        self._sender = sender
        self._resolver = resolver
        self._last_seq = 0
        self._asked: set[UUID] = set()
        self._being_priced: set[str] = set()
        self._stale_looked_at = 0.0
        self._sending: set[asyncio.Task[None]] = set()
        self._pricing: set[asyncio.Task[None]] = set()
        self.waiting: dict[UUID, Order] = {}
        self.held_back: set[UUID] = set()  # somebody wants them cancelled, and they may not have been read yet
        self.wake = asyncio.Event()
        self.account_trouble = ""  # why the broker takes no order for the account
        self.limits = Limits.read(configs.version, configs.values, configs.modes)

    @property
    def in_flight(self) -> int:
        """Orders whose POST is under way or whose fate is being asked for."""
        return len(self._sending)

    async def run(self) -> None:
        """Dispatch until cancelled."""
        while True:
            await happens(self.wake, SWEEP_S)
            self.wake.clear()
            await self._read()
            await self._dispatch()

    def resolve(self, order: Order) -> None:
        """Find out about an order whose answer a former process lost."""
        self._start(self._resolver.resolve(order.id))

    async def drain(self, timeout_s: float) -> None:
        """Let what was sent be answered; what is not by then stays unknown for the next start."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=timeout_s)
        for task in [*self._sending, *self._pricing]:
            task.cancel()
        await asyncio.gather(*self._sending, *self._pricing, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            read = await self._store.pending(self._account_id, self._last_seq, READ_AT_ONCE)
            for order in read:
                self.waiting[order.id] = order
                self._last_seq = max(self._last_seq, order.seq)
            if any(order.configs_version > self.limits.version for order in read):
                await self._read_limits()
            if len(read) < READ_AT_ONCE:
                return

    async def _read_limits(self) -> None:
        configs = await self._store.configs()
        self.limits = Limits.read(configs.version, configs.values, configs.modes)
        log.info("limits_read", version=configs.version, **{key: str(value) for key, value in configs.values.items()})

    async def _dispatch(self) -> None:
        changes = Changes()
        if self._worth.is_halted:
            self._refuse_halted(changes)
        self._refuse_stale(changes)
        approved: list[ApprovedOrder] = []
        if self.waiting and self._worth.may_send() and (market := await self._market()) is not None:
            approved = self._gate(changes, market)
        if changes:
            await self._journal.record(changes)
        for one in approved:
            self._start(self._sender.send(one))

    def _gate(self, changes: Changes, market: MarketClock) -> list[ApprovedOrder]:
        """As many as may be sent now, in the order of acceptance. Nothing here waits: each sees those before it."""
        slots = min(self._budget.available(Purpose.SUBMIT), IN_FLIGHT_MAX - self.in_flight)
        approved: list[ApprovedOrder] = []
        unpriced: list[Order] = []
        for order in list(self.waiting.values()):
            if len(approved) >= slots:
                break
            if order.id in self.held_back:
                continue
            view = self._view(order, market)
            if self._needs_price(order, view):
                unpriced.append(order)
                continue
            verdict = check(order, view)
            del self.waiting[order.id]
            self._asked.discard(order.id)
            if isinstance(verdict, RefusedOrder):
                changes.merge(self._book.reject(order, verdict.code, verdict.message, verdict.checks))
                log.info("order_rejected", order_id=str(order.id), symbol=order.symbol, code=verdict.code)
            else:
                changes.merge(self._book.approve(verdict, _fee_rate(verdict, view)))
                self._budget.promise(Purpose.SUBMIT)
                approved.append(verdict)
        self._ask_prices(unpriced)
        return approved

    async def _market(self) -> MarketClock | None:
        """The broker's clock, asked again where its last answer does not hold any more."""
        if self._time.market is None:
            try:
                self._time.learn(await self._broker.clock())
            except BrokerError as error:
                log.warning("market_clock_unknown", reason=str(error))
                return None
        return self._time.market

    def _view(self, order: Order, market: MarketClock) -> RiskView:
        buys, sells = self._book.exposure(order.symbol)
        return RiskView(
            instrument=self._book.symbols.get(order.symbol),
            position_qty=self._book.position_qty(order.symbol),
            open_buys=buys,
            open_sells=sells,
            price=self._prices.price(order.symbol, self.limits.price_age_s.value),
            market=market,
            now=self._time.now(),
            waited_s=self._worth.waited_s(order),
            limits=self.limits,
            account_trouble=self.account_trouble,
            block=self._block(order.symbol),
        )

    def _block(self, symbol: str) -> Block | None:
        """What is in doubt about a symbol's position."""
        drift = self._book.drift.blocker(self._book.holding(symbol))
        if drift is None:
            return None
        theirs = Decimal(drift.theirs) if drift.kind is DriftKind.POSITION else None
        return Block(drift.id, theirs)

    def _refuse_halted(self, changes: Changes) -> None:
        for order in list(self.waiting.values()):
            del self.waiting[order.id]
            self._asked.discard(order.id)
            changes.merge(self._book.reject(order, HALTED, self._worth.why_halted))

    def _refuse_stale(self, changes: Changes) -> None:
        """What cannot be sent yet waits, but no longer than it is worth sending. Looked at once a second."""
        now = self._clock.monotonic()
        if not self.waiting or now < self._stale_looked_at + SWEEP_S:
            return
        self._stale_looked_at = now
        for order in list(self.waiting.values()):
            age = judged_age(order, self._worth.waited_s(order), self.limits)
            if age is not None and age.verdict is Verdict.REFUSE:
                del self.waiting[order.id]
                self._asked.discard(order.id)
                changes.merge(self._book.reject(order, age.code, age.text, [age.as_data()]))

    # --- prices -------------------------------------------------------------------------------------------------------

    def _needs_price(self, order: Order, view: RiskView) -> bool:
        """Whether the order waits for one question to the broker: the limit needs a price and there is no fresh one."""
        price = view.price
        if (price is not None and price.fresh) or order.id in self._asked or view.instrument is None:
            return False
        if view.limits.position_usd.mode is Mode.OFF or (order.qty and is_reducing(order.side, order.qty, view)):
            return False
        return view.instrument.is_crypto or view.market.is_open

    def _ask_prices(self, unpriced: Sequence[Order]) -> None:
        """Ask once for all symbols that lack a fresh price."""
        asked: dict[str, Instrument] = {}
        orders: list[UUID] = []
        for order in unpriced:
            instrument = self._book.symbols.get(order.symbol)
            if instrument is not None and order.symbol not in self._being_priced:
                asked[order.symbol] = instrument
                orders.append(order.id)
        if asked:
            self._being_priced |= asked.keys()
            task = asyncio.ensure_future(self._ask(asked, orders))
            self._pricing.add(task)
            task.add_done_callback(self._pricing.discard)

    async def _ask(self, instruments: dict[str, Instrument], orders: list[UUID]) -> None:
        try:
            await self._prices.ask(list(instruments.values()))
        finally:
            self._being_priced -= instruments.keys()
            self._asked.update(order_id for order_id in orders if order_id in self.waiting)
            self.wake.set()

    # --- sending ------------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if self.waiting:
            self.wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("sending_failed", exc_info=error)

    # --- commands -----------------------------------------------------------------------------------------------------

    def withdraw(self, order_id: UUID) -> Changes | None:
        """Take an order out that has not been sent, and cancel it here; None when it is not waiting any more."""
        order = self.waiting.pop(order_id, None)
        self._asked.discard(order_id)
        if order is not None:
            self.held_back.discard(order_id)
        if order is None and order_id in self._sender.waiting:
            order = self._book.orders[order_id]
        if order is None or not order.is_open or order.alpaca_id is not None:  # whatever a 429 says, it may be there
            return None
        return self._book.end(order, OrderStatus.CANCELLED, None, "Cancelled before it was sent")


def _fee_rate(approved: ApprovedOrder, view: RiskView) -> Decimal | None:
    """The crypto fee to expect: a taker's for what fills at once, a maker's for a limit that will rest."""
    order = approved.order
    if order.asset_class is not AssetClass.CRYPTO:
        return None
    if order.type is OrderType.MARKET or order.limit_price is None or view.price is None:
        return TAKER_FEE
    across = view.price.ask if order.side is Side.BUY else view.price.bid
    if across is None:
        return TAKER_FEE
    rests = order.limit_price < across if order.side is Side.BUY else order.limit_price > across
    return MAKER_FEE if rests else TAKER_FEE
