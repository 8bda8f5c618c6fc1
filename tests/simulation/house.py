"""The processes of the OMS in a simulation (the API, two engines), the people who use them, and accidents.

What runs inside a process is the real code of `oms`, wired as `oms.bootstrap` wires it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from oms.domain.errors import AccountUnknown, InvalidInput, SignalConflict, Unavailable
from oms.domain.instruments import Symbols
from oms.domain.orders import OrderStatus
from oms.domain.values import OrderType, Side, TimeInForce
from oms.execution.book import Book
from oms.execution.budget import RequestBudget
from oms.execution.engine import Engine, Identity
from oms.execution.event_relay import EventRelay
from oms.execution.session import Outside, Session
from oms.execution.worth import ticket_of
from oms.ports import Changes, Command, Ticket
from oms.risk.gate import ApprovedOrder
from oms.signals.intake import Intake
from oms.signals.reader import Origin, signal_of
from oms.signals.redis_intake import RedisIntake
from oms.storage.signals import CommitUnanswered
from oms.waiting import ended
from tests.simulation.broker import ACCOUNT, SimBroker, Streams
from tests.simulation.bus import Redis, SimBus
from tests.simulation.deeds import KEY, Deeds
from tests.simulation.exchange import Exchange
from tests.simulation.loop import Process
from tests.simulation.plan import Plan, Wish
from tests.simulation.prices import SimPrices
from tests.simulation.record import Record
from tests.simulation.store import SimStore, _done
from tests.simulation.venue import INSTRUMENTS, Venue
from tests.simulation.world import Clock, World


@dataclass(slots=True)
class Member:
    """A process of the house, in its present incarnation."""

    name: str
    boots: int = 0
    process: Process | None = None
    engine: Engine | None = None
    api: Api | None = None
    prices: SimPrices | None = None
    stop: asyncio.Event | None = None

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.alive


@dataclass(slots=True)
class Told:
    """What somebody outside was told about a signal."""

    wish: Wish
    signal_id: str
    order_ids: list[UUID] = field(default_factory=list)
    is_over: bool = False  # nobody asks any more


class Api:
    """One incarnation of the API process: the signal route without HTTP."""

    def __init__(self, house: House) -> None:
        world = house.world
        self.house = house
        self.store = SimStore(world, house.record, house.plan.store)
        clock = house.clock_of("api")
        self.intake = Intake(self.store, SimBus(house.redis), clock, world.new_id, doubtful=(CommitUnanswered,))
        self.clock = clock
        self.symbols: Symbols | None = None

    async def answer(self, fields: dict[str, object], signal_id: str, reply: Any) -> None:
        """As `POST /api/v1/trading/signal`: the order's id, or the error."""
        try:
            account_id = await self.store.account_of_key(KEY)
            if account_id is None:
                raise AccountUnknown("no engine has reached the broker yet")
            if self.symbols is None or not len(self.symbols):
                self.symbols = Symbols(*await self.store.symbols())
            order_id = self.intake.new_id()
            signal = signal_of(fields, self.symbols, Origin("rest", f"rest:{order_id}", signal_id))
            acceptance = await self.intake.accept(account_id, signal, order_id)
            outcome: object = acceptance.order.id
        except (Unavailable, InvalidInput, SignalConflict) as error:
            outcome = error
        if not reply.done():
            reply.set_result(outcome)

    def cancel(self, account_id: UUID, order_id: UUID) -> None:
        """As the route does: a row for the engine, and a wake."""
        command = Command(self.house.world.new_id(), "cancel", order_id, {}, self.clock.now())
        self.house.record.ask(account_id, command)
        self.house.world.note("wants cancelled", order_id.hex[-6:])
        self.intake.wake({"order_id": str(order_id), "command": "cancel"})


class House:
    """Everything around the broker. `told` is what the callers know."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = World(plan.seed, plan.base, in_order=plan.in_order)
        self.record = Record(self.world.loop.time)
        self.venue = Venue(self.world)
        self.exchange = Exchange(self.world, self.venue, plan.habits)
        self.streams = Streams(self.world, plan.wire)
        self.redis = Redis(self.world)
        self.redis.lost = plan.redis_lost
        self.venue.tell = self.streams.tell
        self.members = {name: Member(name) for name in ("api", "engine", *(["standby"] if plan.has_standby else []))}
        self.processes: list[Process] = []  # all that there were
        self.told: list[Told] = []
        self.troubles: list[str] = []
        self.external: set[str] = set()
        self.foreign_symbols: set[str] = set()
        self.mumbled: list[tuple[str, str]] = []
        self.flushed = False
        self.fresh_at: dict[str, list[float]] = {}
        self.clocks: dict[str, list[Clock]] = {}
        self._random = Random(plan.seed + 7)
        self.deeds = Deeds(self)
        self._prepare()

    # --- the beginning ------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        plan, venue = self.plan, self.venue
        venue.is_open = plan.is_open
        venue.closes_at = plan.base + timedelta(seconds=plan.closes_in_s if plan.is_open else -3600)
        for symbol, qty in plan.held.items():
            venue.held[symbol], venue.cost[symbol] = Decimal(qty), venue.prices[symbol]
        for number in range(plan.done):
            self._done(number, plan.base - timedelta(days=4))
        if not plan.is_cold:
            self._remember_account()
        loop = self.world.loop
        for name in self.members:
            loop.at(0.0, self.start, name)
        for number, wish in enumerate(plan.wishes):
            loop.at(wish.at, self._send, number, wish)
        for deed in plan.deeds:
            loop.at(deed.at, self.deeds.do, deed.what, deed.arguments)
        if plan.decides:
            loop.at(1.0, self.deeds.decide)
        for ambush in plan.ambushes:
            action = {"kill": self.kill, "freeze": self.freeze, "outage": self.outage}[ambush.what]
            self.world.ambush(ambush.name, ambush.call, ambush.nth, ambush.steps, action)
        if plan.is_open and plan.closes_in_s < 60:
            loop.at(plan.closes_in_s, venue.close_market)
        if not plan.is_open:
            loop.at(4.0 + self._random.uniform(0.1, 4.0), venue.post_fees)

    def _remember_account(self) -> None:
        """An account that has been in use for days, with positions taken in then."""
        long_ago = self.plan.base - timedelta(days=3)
        record = self.record
        account_id = record.register_account(ACCOUNT, KEY, "sim", long_ago)
        account = record.accounts[account_id]
        record.instruments = {one.symbol: one for one in INSTRUMENTS}
        epoch = record.take_lease(account_id, "", -1.0) or 0
        book = Book(record.load(account_id), Symbols(INSTRUMENTS, {}), self.world.new_id, lambda: long_ago)
        changes = Changes(watermark=long_ago)
        for held in self.venue.positions():
            changes.merge(book.adopt_position(held, long_ago))
        for number in range(self.plan.resting):
            changes.merge(self._resting(account_id, book, number, long_ago))
        record.commit(account_id, epoch, changes)
        account.record = replace(account.record, watermark=self.plan.base - timedelta(minutes=5))

    def _resting(self, account_id: UUID, book: Book, number: int, at: datetime) -> Changes:
        """A limit order of ours that rests at the broker since then."""
        fields: dict[str, object] = {"symbol": "MSFT", "side": "buy", "qty": "5", "time_in_force": "gtc"}
        fields |= {"type": "limit", "limit_price": "40"}
        signal = signal_of(fields, Symbols(INSTRUMENTS, {}), Origin("rest", f"old-{number}", f"old-{number}"))
        [accepted] = self.record.accept(account_id, [(self.world.new_id(), signal, at)])
        order = accepted.order
        there = self.venue.submit(ticket_of(order, Decimal(5)), external=True)
        there.submitted_at = at
        changes = book.approve(ApprovedOrder(order, Decimal(5), []), None)
        changes.merge(book.observe(book.orders[order.id], there.view()))
        return changes

    def _done(self, number: int, at: datetime) -> None:
        """An order of somebody's that was cancelled half filled, before anything was taken in."""
        venue, client_id = self.venue, f"theirs-d{number}"
        ticket = Ticket(client_id, "MSFT", Side.BUY, Decimal(8), OrderType.LIMIT, TimeInForce.GTC, Decimal(40))
        order = venue.submit(ticket, external=True)
        self.external.add(client_id)
        for price in (Decimal(38), Decimal(39)):
            venue.fill(order, Decimal(2), price)
            order.fills[-1] = fill = replace(order.fills[-1], transacted_at=at)
            venue.fills[-1] = (venue.fills[-1][0], fill)
        venue.end(order, OrderStatus.CANCELLED)
        order.submitted_at = order.updated_at = at

    def clock_of(self, name: str) -> Clock:
        """A process's own clock."""
        clock = Clock(self.world.loop, self.plan.base, timedelta(seconds=self.plan.skews_s.get(name, 0.0)))
        self.clocks.setdefault(name, []).append(clock)
        return clock

    # --- processes ----------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """As the supervisor does, after a death and at the beginning."""
        member = self.members[name]
        if member.is_up:
            return
        member.boots += 1
        process = member.process = Process(f"{name}.{member.boots}")
        self.processes.append(process)
        self.world.note("starts", process.name)
        member.stop = asyncio.Event()
        work = self._api(member) if name == "api" else self._engine(member)
        task = self.world.loop.spawn(process, work)
        task.add_done_callback(lambda done: self._ended(member, process, done))

    def _ended(self, member: Member, process: Process, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self.troubles.append(
                f"{process.name} ended with {task.exception() if not task.cancelled() else 'cancel'!r}"
            )
        self._gone(process)
        self.world.loop.at(self._random.uniform(0.1, 2.0), self.start, member.name)

    async def _api(self, member: Member) -> None:
        member.api = Api(self)
        await member.api.intake.run()

    async def _engine(self, member: Member) -> None:
        world, plan, name = self.world, self.plan, member.name
        clock = self.clock_of(name)
        store, bus = SimStore(world, self.record, plan.store), SimBus(self.redis)
        budget = RequestBudget(plan.per_minute, clock)
        broker = SimBroker(world, self.venue, self.exchange, plan.wire, self.streams, budget)
        prices = member.prices = SimPrices(world, self.venue, self.fresh_at)
        intake = Intake(store, bus, clock, world.new_id, doubtful=(CommitUnanswered,))

        def companions(account_id: UUID, session: Session) -> Sequence[Coroutine[None, None, None]]:
            listening = RedisIntake(
                account_id=account_id, bus=bus, intake=intake, store=store, symbols=lambda: session.book.symbols,
                on_wake=session.wake, random=Random(self._random.getrandbits(32)),
            )  # fmt: skip
            relay = EventRelay(account_id, store, bus, Random(self._random.getrandbits(32)))
            return [listening.run(), *([relay.run()] if plan.has_relay else [])]

        outside = Outside(store, broker, prices, clock, world.new_id, Random(self._random.getrandbits(32)), budget)  # type: ignore[arg-type]
        holder = f"{member.name}:{member.boots}"
        engine = member.engine = Engine(outside, Identity(KEY, "sim", holder), companions, dict)
        committing = asyncio.ensure_future(intake.run())
        assert member.stop is not None
        await engine.run(member.stop)
        await ended([committing])

    def kill(self, process: Process) -> None:
        """kill -9: nothing of it runs again; its connections are cut."""
        if not process.alive or self.world.calm or process.name == "world":
            return
        self.world.note("killed", process.name)
        self._gone(process)
        name = process.name.partition(".")[0]
        self.world.loop.at(self._random.uniform(0.05, 2.5), self.start, name)

    def _gone(self, process: Process) -> None:
        process.alive = False
        process.parked.clear()
        for stream in [*self.streams.connected, *self.redis.listeners]:
            if stream.owner is process:
                stream.lose()

    def outage(self, _: Process) -> None:
        """The broker is away until the faults end."""
        self.world.note("outage")
        self.deeds.break_wire(self.plan.duration_s)

    def freeze(self, process: Process) -> None:
        """SIGSTOP, and SIGCONT some seconds later."""
        if not process.alive or process.frozen or self.world.calm:
            return
        self.world.note("frozen", process.name)
        process.frozen = process.was_frozen = True
        self.world.loop.at(self._random.uniform(0.5, 9.0), self._thaw, process)

    def _thaw(self, process: Process) -> None:
        if process.frozen:
            self.world.note("resumed", process.name)
            self.world.loop.thaw(process)

    def heal(self) -> None:
        """The faults end; whoever stands still goes on."""
        self.world.note("healing")
        self.world.calm = True
        plan, now = self.plan, self.world.loop.time()
        plan.store.down_until = plan.wire.down_until = plan.wire.refuses_keys_until = self.redis.down_until = now
        plan.wire.hidden_s_max = 0.0
        self.redis.lost = 0.0
        self.venue.funds = True
        for member in self.members.values():
            if member.process is not None and member.process.frozen:
                self._thaw(member.process)
            if member.prices is not None:
                member.prices.is_mute_until = member.prices.is_blank_until = -1.0

    # --- people -------------------------------------------------------------------------------------------------------

    def _send(self, number: int, wish: Wish) -> None:
        signal_id = f"s{number}"
        told = Told(wish, signal_id)
        if wish.via == "rest":
            self.told.append(told)
            self.world.loop.create_task(self._ask_api(told))
            return
        message = msgspec.json.encode({**wish.fields, "signal_id": signal_id})
        if wish.via == "channel":
            self.redis.publish(message)
        elif not self.redis.is_down:
            told.is_over = True
            self.told.append(told)
            self.redis.add(message)

    async def _ask_api(self, told: Told) -> None:
        """Ask until answered, as often as this caller is willing to; after the faults, the willing ones go on."""
        world, wish, member = self.world, told.wish, self.members["api"]
        for attempt in range(wish.tries):
            if attempt:
                await self._pause(wish.again_s)
            fields = wish.fields
            if wish.twisted and attempt == 1:
                fields = {**fields, "qty": "7"}
            outcome = await self._answer(member, fields, told.signal_id)
            if isinstance(outcome, UUID):
                world.note("accepted", told.signal_id, outcome.hex[-6:])
                told.order_ids.append(outcome)
                if wish.cancel_after is not None and len(told.order_ids) == 1:
                    world.loop.at(wish.cancel_after, self._cancel, outcome)
                if attempt or not world.chance(0.25):  # some ask again although they were answered
                    break
            elif isinstance(outcome, InvalidInput):
                break
            elif isinstance(outcome, SignalConflict) and not wish.twisted:
                world.violated(1, f"{told.signal_id} conflicts with itself: {outcome}")
        told.is_over = True

    async def _answer(self, member: Member, fields: dict[str, object], signal_id: str) -> object:
        """What the caller hears: an answer, an error, or None when it waited long enough."""
        world, api = self.world, member.api
        if not member.is_up or api is None:
            return None
        reply = world.loop.create_future()
        assert member.process is not None
        world.loop.spawn(member.process, api.answer(fields, signal_id, reply))
        world.loop.at(0.3 if world.chance(0.1) else 8.0, _done, reply)
        outcome = await reply
        return None if world.chance(0.05) else outcome

    async def _pause(self, seconds: float) -> None:
        future = self.world.loop.create_future()
        self.world.loop.at(seconds, _done, future)
        await future

    def _cancel(self, order_id: UUID) -> None:
        member = self.members["api"]
        account_id = self.record.account_of_key(KEY)
        if member.is_up and member.api is not None and account_id is not None and member.process is not None:
            api = member.api

            async def cancel() -> None:
                api.cancel(account_id, order_id)

            self.world.loop.spawn(member.process, cancel())
