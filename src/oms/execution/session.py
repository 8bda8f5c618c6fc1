"""One session of the engine: from loading the working set to the first failure that makes memory doubtful."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import structlog

from oms.domain.errors import BrokerBusy, BrokerError, BrokerUnauthorized, BrokerUnknown
from oms.domain.instruments import Instrument, Symbols
from oms.domain.orders import Order
from oms.domain.positions import Position, Valuation
from oms.domain.reports import OrderUpdate, UnreadableUpdate
from oms.execution.book import Book
from oms.execution.breaker import Breaker
from oms.execution.cancels import Cancels
from oms.execution.commands import Commands
from oms.execution.decisions import Decisions
from oms.execution.desk import Desk, Outside
from oms.execution.dispatcher import Dispatcher
from oms.execution.journal import Journal
from oms.execution.ledger import Ledger
from oms.execution.market_time import MarketTime
from oms.execution.reconcile import Reconciler
from oms.execution.resolver import Resolver
from oms.execution.sender import Sender
from oms.execution.status import EngineStatus
from oms.execution.wire import Wire
from oms.execution.worth import Worth
from oms.ports import Changes, Updates, WorkingSet
from oms.risk.limits import Mode
from oms.waiting import ended, pause_s

log = structlog.get_logger(__name__)

LEASE_TTL_S = 5.0
LIGHT_EVERY_S = 5.0
POLL_EVERY_S = 2.0  # in place of a lost stream
FULL_EVERY_S = 60.0
ASKED_FULL_AFTER_S = 2.0
CATCH_UP_EVERY_S = 1.0
CATCH_UP_PAUSE_MAX_S = 30.0
ACCOUNT_EVERY_S = 5.0  # after fills
BLOCKED_EVERY_S = 15.0  # whether a blocked account trades again
BACKOFF_S = (0.25, 5.0)  # ten seconds after the broker is back, everything agrees again
DRAIN_S = 5.0
FOR_EVER_S = Decimal(10**9)


class Session:
    """Everything in memory and every task around it. It ends by raising; the engine then starts another."""

    def __init__(
        self, outside: Outside, working: WorkingSet, epoch: int, on_status: Callable[[EngineStatus], None]
    ) -> None:
        self._outside = outside
        self._account_id = working.account.id
        self._epoch = epoch
        self._on_status = on_status
        self._link = EngineStatus.STARTING
        self._told = EngineStatus.STARTING
        self._leased_until = outside.clock.monotonic() + LEASE_TTL_S
        self.last_error = ""
        self.rest_error = ""
        self.stream_since: float | None = None
        self.last_update_at: float | None = None
        self.reconnects = 0
        self.fulls = 0
        self.time = MarketTime(outside.clock)
        self.book = Book(working, Symbols(working.instruments, working.aliases), outside.ids, self.time.now)
        self.journal = Journal(self._commit)
        self.breaker = Breaker(outside.clock)
        self.worth = Worth(outside.clock, self._fresh_for_s, self._can_send)
        self.worth.halt = working.account.halt
        desk = Desk(self._account_id, epoch, outside, self.book, self.journal, self.time, self.worth)
        wire = Wire(outside.broker, self.breaker)
        self.ledger = Ledger(desk)
        self.resolver = Resolver(desk, self.ledger, wire)
        self.sender = Sender(desk, self.ledger, self.resolver, wire)
        self.dispatcher = Dispatcher(desk, self.sender, self.resolver, working.configs)
        self.reconciler = Reconciler(desk, self.ledger, working.account)
        self.commands = Commands(
            desk,
            Cancels(desk, self.ledger, self.dispatcher, self.resolver),
            Decisions(desk, self.reconciler, wire, self._trading_changed),
        )

    @property
    def status(self) -> EngineStatus:
        """What it does with signals at this moment."""
        if self._link in {EngineStatus.STARTING, EngineStatus.STOPPED}:
            return self._link
        if self.worth.is_halted:
            return EngineStatus.HALTED
        if self._link is EngineStatus.RUNNING and self.breaker.is_open:
            return EngineStatus.CANCEL_ONLY
        return self._link

    @property
    def positions(self) -> Sequence[Position]:
        """Every position of the account, closed ones too."""
        return list(self.book.positions.values())

    @property
    def max_price_age_s(self) -> Decimal:
        """How old a price may be to count as fresh, in seconds."""
        return self.dispatcher.limits.price_age_s.value

    @property
    def moved(self) -> asyncio.Event:
        """Set when a position changed."""
        return self.ledger.moved

    def broker_now(self) -> datetime:
        """The broker's time."""
        return self.time.now()

    def wake(self) -> None:
        """Something was accepted or asked: look now."""
        self.dispatcher.wake.set()

    async def run(self, stop: asyncio.Event, companions: Sequence[Coroutine[None, None, None]] = ()) -> None:
        """Trade until `stop` is set, then drain. Raises the error that ended it otherwise.

        `companions` run as long as the session does: what only the account's one engine may do.
        """
        tasks = [
            asyncio.ensure_future(work)
            for work in (
                self.journal.run(), self._keep_lease(), self._follow_broker(), self._reconcile(), self.dispatcher.run(),
                self._carry_out(), self._keep_time(), self._watch_sending(), self._choose_prices(), *companions,
            )
        ]  # fmt: skip
        stopping = asyncio.ensure_future(_set(stop))
        try:
            await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # raises what ended it
            await self._wind_down()
        finally:
            await ended([*tasks, stopping])
            await self.commands.close()
            await self.dispatcher.drain(0)
            self._outside.budget.forget_promises()

    def value(self, valuations: Sequence[Valuation], symbols: Mapping[UUID, str]) -> None:
        """Remember prices in memory after they were written."""
        for one in valuations:
            self.book.price(symbols[one.position_id], one.last_price, one.price_time, stale=one.stale)

    # --- tasks --------------------------------------------------------------------------------------------------------

    async def _wind_down(self) -> None:
        """Send nothing new, let what was sent be answered, store what is known."""
        self._set(EngineStatus.STOPPED)
        await self.dispatcher.drain(DRAIN_S)
        await self.journal.flush()

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(LEASE_TTL_S / 4)
            asked_at = self._outside.clock.monotonic()
            await self._outside.store.renew_lease(self._account_id, self._epoch, LEASE_TTL_S)
            self._leased_until = asked_at + LEASE_TTL_S

    async def _follow_broker(self) -> None:
        """Keep the update stream; after each connect catch up before anything new is sent."""
        attempt = 0
        while True:
            try:
                async with self._outside.broker.updates() as updates:
                    await self._follow(updates)
            except BrokerUnauthorized:
                raise
            except BrokerError as error:
                self.last_error = str(error)
            was_up_s = 0.0 if self.stream_since is None else self._outside.clock.monotonic() - self.stream_since
            attempt = 0 if was_up_s > BACKOFF_S[1] else attempt + 1
            self.stream_since = None
            self.reconnects += 1
            if self._link is EngineStatus.RUNNING:
                log.warning("update_stream_lost", reason=self.last_error)
                self._set(EngineStatus.CANCEL_ONLY)
            elif self.fulls == 0:
                log.warning("broker_away", reason=self.last_error)
                self._set(EngineStatus.RECONNECTING)
            await asyncio.sleep(pause_s(self._outside.random, attempt, BACKOFF_S))

    async def _follow(self, updates: Updates) -> None:
        arrived: asyncio.Queue[OrderUpdate | UnreadableUpdate | Exception] = asyncio.Queue()
        reader = asyncio.ensure_future(self._pump(updates, arrived))
        try:
            await self.reconciler.full()  # what comes in meanwhile waits in the queue
            while not arrived.empty():
                await self._take(arrived.get_nowait())
            await self.journal.flush()  # running says that all of it is stored
            self.fulls += 1
            self._look_at_account()
            self.rest_error = ""
            self.stream_since = self._outside.clock.monotonic()
            for order in self.book.open_orders():
                if order.alpaca_id is None:
                    self.dispatcher.resolve(order)  # a former process sent it and did not hear the answer
            await self.commands.carry_out()  # a halt that was asked for meanwhile comes before anything is sent
            self._set(EngineStatus.RUNNING)
            self.wake()
            while True:
                await self._take(await arrived.get())
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _take(self, update: OrderUpdate | UnreadableUpdate | Exception) -> None:
        if isinstance(update, Exception):
            raise update
        if isinstance(update, UnreadableUpdate):
            log.error("unreadable_update", reason=update.reason, text=update.text[:500])
            self.ledger.ask_for_all()
        else:
            await self.ledger.update(update)

    async def _pump(self, updates: Updates, arrived: asyncio.Queue[OrderUpdate | UnreadableUpdate | Exception]) -> None:
        try:
            async for update in updates:
                self.last_update_at = self._outside.clock.monotonic()
                arrived.put_nowait(update)
            arrived.put_nowait(BrokerUnknown("the update stream ended"))
        except Exception as error:  # noqa: BLE001 — the edge of the reader: whatever ends it, its consumer must know
            arrived.put_nowait(error)

    async def _reconcile(self) -> None:
        """Light while orders are open, full once a minute or when something asks for it; polling without a stream."""
        last_full = last_light = last_account = last_catch_up = self._outside.clock.monotonic()
        at_account = 0
        began_waiting, catch_up_pause = last_full, CATCH_UP_EVERY_S
        asked_pause, answered = ASKED_FULL_AFTER_S, self.ledger.asks
        while True:
            await asyncio.sleep(0.5)
            now = self._outside.clock.monotonic()
            streaming = self._link is EngineStatus.RUNNING
            if not streaming and self.fulls == 0:
                continue  # the first full pass belongs to the stream's connect
            if not self.book.awaiting_fills:
                began_waiting, catch_up_pause = now, CATCH_UP_EVERY_S
            # What a pass leaves open starts the next one at once, and then ever later; what is new is not kept waiting.
            if self.ledger.asks != answered:
                asked_pause = ASKED_FULL_AFTER_S
            full_after = asked_pause if self.ledger.needs_full else FULL_EVERY_S
            try:
                if streaming and now - last_full >= full_after:
                    last_full = last_light = now
                    self.ledger.needs_full, answered = False, self.ledger.asks
                    await self.reconciler.full()
                    self.fulls += 1
                    asked_pause = min(asked_pause * 4, FULL_EVERY_S) if self.ledger.needs_full else ASKED_FULL_AFTER_S
                elif self.book.awaiting_fills and now - last_catch_up >= catch_up_pause:
                    last_catch_up = now
                    catch_up_pause = min((now - began_waiting) / 4 + CATCH_UP_EVERY_S, CATCH_UP_PAUSE_MAX_S)
                    await self.reconciler.complete_fills()
                elif now - last_light >= (LIGHT_EVERY_S if streaming else POLL_EVERY_S):
                    last_light = now
                    if self.book.open_orders() or not streaming:
                        await self.reconciler.light()
                elif (self._account_changes() != at_account and now - last_account >= ACCOUNT_EVERY_S) or (
                    self.dispatcher.account_trouble and now - last_account >= BLOCKED_EVERY_S
                ):
                    last_account, at_account = now, self._account_changes()
                    await self.reconciler.refresh_account()
                else:
                    continue
                self._broker_answers()
            except BrokerUnauthorized:
                raise
            except BrokerBusy as error:
                self.ledger.needs_full = True
                log.info("reconciliation_waits", reason=str(error))
            except BrokerError as error:
                if last_full == now:  # it was cut short: it is made again soon, and ever later while that fails
                    self.ledger.needs_full = True
                    asked_pause = min(asked_pause * 2, FULL_EVERY_S)
                self._broker_is_away(error)

    def _account_changes(self) -> int:
        """Counts what makes the account worth a look: fills move its cash, a refusal may mean that it is blocked."""
        return self.ledger.fills_booked + self.sender.refusals

    def _look_at_account(self) -> None:
        """Say it once when the broker begins or ends to let the account trade."""
        account = self.reconciler.findings.account
        if account is None or account.trouble == self.dispatcher.account_trouble:
            return
        self.dispatcher.account_trouble = account.trouble
        if account.trouble:
            log.error("OMS cannot trade. Signals are rejected", reason=account.trouble)
        else:
            log.info("OMS trades again: the account is open")

    def _broker_answers(self) -> None:
        self._look_at_account()
        self.rest_error = ""
        if self._link in {EngineStatus.RECONNECTING, EngineStatus.CANCEL_ONLY}:
            self._set(EngineStatus.RUNNING if self.stream_since is not None else EngineStatus.CANCEL_ONLY)
            self.wake()

    def _broker_is_away(self, error: BrokerError) -> None:
        self.rest_error = str(error)
        log.warning("broker_away", reason=str(error))
        if self._link in {EngineStatus.RUNNING, EngineStatus.CANCEL_ONLY}:
            self._set(EngineStatus.RECONNECTING)

    async def _carry_out(self) -> None:
        while True:
            await self.commands.carry_out()
            await asyncio.sleep(0.25)

    async def _keep_time(self) -> None:
        """Ask the broker's clock at its next change; each full reconciliation asks it too."""
        while True:
            try:
                if self.fulls and self.time.market is None:
                    self.time.learn(await self._outside.broker.clock())
                pause = min(max(self.time.seconds_to_change(), 0.5), FULL_EVERY_S)
            except BrokerUnauthorized:
                raise
            except BrokerError:
                pause = POLL_EVERY_S
            await asyncio.sleep(pause)

    async def _watch_sending(self) -> None:
        """Refused keys end the session; many unknown outcomes stop sending until one question is answered."""
        while True:
            await asyncio.sleep(0.25)
            if self.sender.unauthorized is not None:
                raise self.sender.unauthorized
            if self.breaker.wants_probe:
                await self._probe()
            self._tell()

    async def _probe(self) -> None:
        try:
            self.time.learn(await self._outside.broker.clock())
        except BrokerUnauthorized:
            raise
        except BrokerError as error:
            self.breaker.failed()
            log.warning("sending_still_stopped", reason=str(error))
        else:
            self.breaker.answered()
            self.wake()

    async def _choose_prices(self) -> None:
        """Follow what matters most: open orders, positions, then what was traded last."""
        recent: dict[str, Instrument] = {}
        while True:
            wanted: dict[str, Instrument] = {}
            for symbol in [
                *(order.symbol for order in self.dispatcher.waiting.values()),
                *(order.symbol for order in self.book.open_orders()),
                *(symbol for symbol, position in self.book.positions.items() if position.qty),
            ]:
                instrument = self.book.symbols.get(symbol)
                if instrument is not None:
                    wanted[symbol] = instrument
            recent = {**{key: one for key, one in recent.items() if key not in wanted}, **wanted}
            recent = dict(list(recent.items())[-100:])
            older = [one for key, one in reversed(recent.items()) if key not in wanted]
            self._outside.prices.follow([*wanted.values(), *older])
            await asyncio.sleep(1.0)

    # --- inside -------------------------------------------------------------------------------------------------------

    async def write_values(self, valuations: Sequence[Valuation]) -> None:
        """Store the price columns of positions, those of a position that was just opened too."""
        await self.journal.flush()
        await self._outside.store.value(self._account_id, self._epoch, valuations)

    async def _commit(self, changes: Changes) -> None:
        await self._outside.store.commit(self._account_id, self._epoch, changes)

    def _set(self, link: EngineStatus) -> None:
        if self._link is not EngineStatus.STOPPED and link is not self._link:
            self._link = link
            self._told = self.status
            self._on_status(self._told)  # also where it stays the same: halted hides what the link is

    def _tell(self) -> None:
        status = self.status
        if status is not self._told:
            self._told = status
            self._on_status(status)

    def _trading_changed(self) -> None:
        self._tell()
        self.wake()

    def _can_send(self) -> bool:
        """Not where another engine may have taken over: what a person decided there, a halt above all, is not known."""
        is_leased = self._outside.clock.monotonic() < self._leased_until
        return self._link is EngineStatus.RUNNING and is_leased and not self.breaker.is_open

    def _fresh_for_s(self, order: Order) -> Decimal:
        if order.valid_for_s is not None:
            return order.valid_for_s
        limit = self.dispatcher.limits.signal_age_s
        return limit.value if limit.mode is Mode.ENFORCE else FOR_EVER_S


async def _set(event: asyncio.Event) -> None:
    await event.wait()
