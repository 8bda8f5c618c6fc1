"""The port Broker over the venue, with a wire between: late, lost, doubled and reordered requests, answers, updates."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from oms.domain.errors import BrokerBusy, BrokerNotFound, BrokerRefused, BrokerUnauthorized, BrokerUnknown
from oms.domain.instruments import Instrument
from oms.domain.reports import (
    BrokerAccount,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    FeeActivity,
    MarketClock,
    OrderUpdate,
    UnreadableRecord,
    UnreadableUpdate,
)
from oms.execution.budget import RequestBudget
from oms.ports import Purpose, Ticket
from tests.simulation.exchange import Exchange
from tests.simulation.store import _done, _fail, _hand_over, _settle
from tests.simulation.venue import INSTRUMENTS, OPEN, Venue, VenueOrder
from tests.simulation.world import World

T = TypeVar("T")
TIMEOUT_S = 10.0
WEIGHTS = {"submit": 1.5, "lookup": 1.0, "cancel": 1.0}  # how much of the faults befalls a call, beside 0.35
ACCOUNT = BrokerAccount("b-1", "PA1", "ACTIVE", "USD", Decimal(100_000), Decimal(100_000), Decimal(200_000), False)


@dataclass(slots=True)
class WireFaults:
    """How the wire to the broker behaves, each as the probability for one request or update."""

    latency_s: tuple[float, float] = (0.002, 0.03)
    lost: float = 0.0  # never arrives
    unanswered: float = 0.0  # executed, the answer is lost
    late: float = 0.0  # executed seconds after the caller has given up
    doubled: float = 0.0  # arrives twice
    failed: float = 0.0  # 5xx, executed or not
    busy: float = 0.0  # 429
    slow: float = 0.0  # executed at once, answered seconds later
    refused: float = 0.0  # a definite no to a submit
    hidden: float = 0.0  # an accepted order is not shown for a while: 404
    update_lost: float = 0.0
    update_doubled: float = 0.0
    update_late: float = 0.0  # overtaken by others
    unreadable: float = 0.0  # an update
    illegible: float = 0.0  # a record of a listing
    down_until: float = -1.0
    refuses_keys_until: float = -1.0
    hidden_s_max: float = 6.0


class Streams:
    """All connected update streams, whoever listens."""

    def __init__(self, world: World, faults: WireFaults) -> None:
        self._world = world
        self._faults = faults
        self.connected: list[UpdateStream] = []

    def tell(self, update: OrderUpdate) -> None:
        """Each listener gets it, or not, or twice, or later than others."""
        world, faults, random = self._world, self._faults, self._world.random
        for stream in list(self.connected):
            delay = random.uniform(*faults.latency_s) / 2
            if world.chance(faults.update_lost):
                world.note("update lost", update.event, update.order.client_order_id[-6:])
                continue
            if world.chance(faults.update_late):
                delay += random.uniform(0.05, 3.0)
            message: Any = update
            if world.chance(faults.unreadable):
                message = UnreadableUpdate("no such event", "{}")
            if world.chance(faults.update_doubled):
                world.loop.at(delay + random.uniform(0, 1.0), stream.put, message)
            stream.expected = max(stream.expected + (0 if delay > 0.05 else 1e-9), world.loop.time() + delay)
            world.loop.at((delay if delay > 0.05 else stream.expected - world.loop.time()), stream.put, message)

    def cut(self) -> None:
        """Every connection is lost, with what was on its way."""
        for stream in list(self.connected):
            stream.lose()


class UpdateStream:
    """One connection to `trade_updates`, as context manager and as iterator."""

    def __init__(self, broker: SimBroker) -> None:
        self._broker = broker
        self._loop = broker.world.loop
        self._arrived: deque[Any] = deque()
        self._waiter: Any = None
        self._is_lost = False
        self.expected = 0.0
        self.owner = self._loop.current

    async def __aenter__(self) -> UpdateStream:
        await self._broker.connect()
        self._broker.streams.connected.append(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def __aiter__(self) -> UpdateStream:
        return self

    async def __anext__(self) -> OrderUpdate | UnreadableUpdate:
        while not self._arrived:
            if self._is_lost:
                raise BrokerUnknown("the update stream was cut")
            self._waiter = self._loop.create_future()
            await self._waiter
        update: OrderUpdate | UnreadableUpdate = self._arrived.popleft()
        return update

    def put(self, update: Any) -> None:
        if not self._is_lost:
            self._arrived.append(update)
            self._wake()

    def lose(self) -> None:
        self._is_lost = True
        self._leave()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            _done(self._waiter)

    def _leave(self) -> None:
        if self in self._broker.streams.connected:
            self._broker.streams.connected.remove(self)


class SimBroker:
    """One process's connection to the broker. Every request asks the budget first, as the gateway does."""

    def __init__(
        self,
        world: World,
        venue: Venue,
        exchange: Exchange,
        faults: WireFaults,
        streams: Streams,
        budget: RequestBudget,
    ) -> None:
        self.world = world
        self.streams = streams
        self._loop = world.loop
        self._venue = venue
        self._exchange = exchange
        self._faults = faults
        self._budget = budget
        self._illegible: list[UnreadableRecord] = []
        self.left_out = 0

    # --- the wire -----------------------------------------------------------------------------------------------------

    async def _request(self, purpose: Purpose, call: str, execute: Callable[[], Any]) -> Any:
        """One request: at most one outcome for the caller, whatever the broker did."""
        if self._budget.per_minute or self._budget.blocked_s(purpose):
            await self._budget.acquire(purpose)
        world, faults, loop, random = self.world, self._faults, self._loop, self.world.random
        world.called(call)
        future, low, high = loop.create_future(), *faults.latency_s
        there, back = random.uniform(low, high) / 2, random.uniform(low, high) / 2
        if loop.time() < faults.down_until:
            loop.at(there, _fail, future, BrokerUnknown("the broker is down"))
            return await future
        if loop.time() < faults.refuses_keys_until:
            loop.at(there + back, _fail, future, BrokerUnauthorized(401, None, "request is not authorized"))
            return await future
        fate = 9.0 if world.calm else random.random() / WEIGHTS.get(call, 0.35)
        gives_up = random.choice((there + back, there + back, TIMEOUT_S))
        if (fate := fate - faults.lost) < 0:
            world.note("request lost", call)
            loop.at(gives_up, _fail, future, BrokerUnknown(f"{call}: no answer"))
        elif (fate := fate - faults.unanswered) < 0:
            world.note("answer lost", call)
            loop.at(there, _settle, loop.create_future(), execute)
            loop.at(gives_up, _fail, future, BrokerUnknown(f"{call}: the answer was lost"))
        elif (fate := fate - faults.late) < 0:
            world.note("request late", call)
            loop.at(gives_up + random.uniform(0.1, 8.0), _settle, loop.create_future(), execute)
            loop.at(gives_up, _fail, future, BrokerUnknown(f"{call}: the connection was lost"))
        elif (fate := fate - faults.failed) < 0:
            if random.random() < 0.5:
                loop.at(there, _settle, loop.create_future(), execute)
            world.note("failed", call)
            loop.at(there + back, _fail, future, BrokerUnknown(f"{call}: HTTP 503"))
        elif (fate := fate - faults.busy) < 0:
            world.note("busy", call)
            loop.at(there + back, _fail, future, BrokerBusy("too many requests", 1.0))
        else:
            done = loop.create_future()
            loop.at(there, _settle, done, execute)
            if faults.slow and world.chance(faults.slow):
                world.note("slow", call)
                back += random.uniform(0.1, 8.0)
            loop.at(there + back, _hand_over, done, future)
            if fate - faults.doubled < 0:
                loop.at(there + random.uniform(0, 2.0), _repeat, done, execute)
        try:
            return await future
        except BrokerBusy as error:
            self._budget.refused(error.retry_after_s)
            raise

    async def connect(self) -> None:
        """The stream's handshake."""
        world = self.world
        world.called("connect")
        future = self._loop.create_future()
        self._loop.at(world.random.uniform(*self._faults.latency_s), _done, future)
        await future
        if self._loop.time() < self._faults.refuses_keys_until:
            raise BrokerUnauthorized(401, None, "request is not authorized")
        if self._loop.time() < self._faults.down_until or world.chance(self._faults.lost):
            raise BrokerUnknown("the stream cannot be opened")

    def _readable(self, what: str, found: Sequence[T], id_of: Callable[[T], str]) -> Sequence[T]:
        """A listing without the records that cannot be read now; `take_unreadable` tells of them."""
        readable = []
        for one in found:
            if self.world.chance(self._faults.illegible):
                self.world.note("unreadable", what, id_of(one)[-6:])
                symbol = getattr(one, "symbol", "")
                self.left_out += 1
                self._illegible.append(UnreadableRecord(what, id_of(one), symbol, "no such status", "{}"))
            else:
                readable.append(one)
        return readable

    def _visible(self, order: VenueOrder) -> bool:
        return order.visible_at <= self._loop.time()

    # --- orders -------------------------------------------------------------------------------------------------------

    async def submit(self, ticket: Ticket) -> BrokerOrder:
        self.world.note("submit", ticket.client_order_id[-6:], ticket.side, ticket.qty, ticket.symbol)
        order: BrokerOrder = await self._request(Purpose.SUBMIT, "submit", lambda: self._submitted(ticket))
        return order

    def _submitted(self, ticket: Ticket) -> BrokerOrder:
        world, faults = self.world, self._faults
        if ticket.client_order_id not in self._venue.by_client and world.chance(faults.refused):
            raise BrokerRefused(403, 40310000, "insufficient buying power")
        hidden = world.random.uniform(0.1, faults.hidden_s_max) if world.chance(faults.hidden) else 0.0
        order = self._venue.submit(ticket, visible_after_s=hidden)
        view = order.view()
        self._exchange.take(order)
        return view

    async def cancel(self, broker_order_id: str) -> None:
        self.world.note("cancel", broker_order_id[-6:])
        await self._request(Purpose.CANCEL, "cancel", lambda: self._venue.cancel(broker_order_id))

    async def order(self, broker_order_id: str) -> BrokerOrder:
        def execute() -> BrokerOrder:
            order = self._venue.orders.get(broker_order_id)
            if order is None or not self._visible(order):
                raise BrokerNotFound("order not found")
            return order.view()

        order: BrokerOrder = await self._request(Purpose.RECONCILE, "lookup", execute)
        return order

    async def order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        def execute() -> BrokerOrder:
            order = self._venue.by_client.get(client_order_id)
            if order is None or not self._visible(order):
                raise BrokerNotFound("order not found")
            return order.view()

        order: BrokerOrder = await self._request(Purpose.RECONCILE, "lookup", execute)
        return order

    async def open_orders(self) -> Sequence[BrokerOrder]:
        orders: Sequence[BrokerOrder] = await self._request(
            Purpose.RECONCILE,
            "list",
            lambda: [one.view() for one in self._venue.orders.values() if one.status in OPEN and self._visible(one)],
        )
        return self._readable("order", orders, lambda one: one.broker_order_id)

    async def orders_since(self, after: datetime) -> Sequence[BrokerOrder]:
        orders: Sequence[BrokerOrder] = await self._request(
            Purpose.RECONCILE,
            "list",
            lambda: [
                one.view() for one in self._venue.orders.values() if one.submitted_at > after and self._visible(one)
            ],
        )
        return self._readable("order", orders, lambda one: one.broker_order_id)

    # --- activities ---------------------------------------------------------------------------------------------------

    def _activities(self, wanted: Callable[[BrokerFill], bool]) -> list[BrokerFill]:
        now = self._loop.time()
        found = [
            replace(fill, execution_id=None, activity_id=f"a-{fill.execution_id}")
            for shown_at, fill in self._venue.fills
            if shown_at <= now and wanted(fill)
        ]
        return sorted(found, key=lambda fill: (fill.broker_order_id, fill.cum_qty))

    async def fills_since(self, after: datetime) -> Sequence[BrokerFill]:
        fills: Sequence[BrokerFill] = await self._request(
            Purpose.RECONCILE, "fills", lambda: self._activities(lambda fill: fill.transacted_at > after)
        )
        return self._readable("fill", fills, lambda one: one.activity_id or "")

    async def fills_of(self, broker_order_id: str) -> Sequence[BrokerFill]:
        fills: Sequence[BrokerFill] = await self._request(
            Purpose.RECONCILE, "fills", lambda: self._activities(lambda fill: fill.broker_order_id == broker_order_id)
        )
        return self._readable("fill", fills, lambda one: one.activity_id or "")

    async def fees_since(self, after: datetime) -> Sequence[FeeActivity]:
        fees: Sequence[FeeActivity] = await self._request(Purpose.RECONCILE, "fees", lambda: list(self._venue.posted))
        return self._readable("fee", fees, lambda one: one.activity_id)

    # --- the rest -----------------------------------------------------------------------------------------------------

    async def positions(self) -> Sequence[BrokerPosition]:
        held: Sequence[BrokerPosition] = await self._request(Purpose.RECONCILE, "positions", self._venue.positions)
        return self._readable("position", held, lambda one: one.symbol)

    async def account(self) -> BrokerAccount:
        account: BrokerAccount = await self._request(Purpose.RECONCILE, "account", lambda: ACCOUNT)
        return account

    async def clock(self) -> MarketClock:
        clock: MarketClock = await self._request(Purpose.RECONCILE, "clock", self._venue.clock)
        return clock

    async def instruments(self) -> Sequence[Instrument]:
        found: Sequence[Instrument] = await self._request(Purpose.RECONCILE, "assets", lambda: INSTRUMENTS)
        return found

    def take_unreadable(self) -> Sequence[UnreadableRecord]:
        taken, self._illegible = self._illegible, []
        return taken

    def updates(self) -> UpdateStream:
        return UpdateStream(self)

    async def close(self) -> None: ...


def _repeat(done: Any, execute: Callable[[], Any]) -> None:
    """The same request arrives again, after the first was carried out. Nobody repeats one that was refused."""
    if done.done() and done.exception() is None:
        _settle(done.get_loop().create_future(), execute)
