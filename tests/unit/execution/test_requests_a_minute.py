"""How many requests a minute the engine makes, in virtual time: ten minutes pass in a second.

Every request is counted where the gateway counts it. That a pass over fifty orders is as many requests as it is calls
is shown with the real gateway, in tests/integration/execution/test_requests_of_a_pass.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from tests.simulation.loop import SimLoop
from tests.unit.execution.scripted import Broker, Running, at_broker

from oms.domain.errors import BrokerBusy, BrokerNotFound, BrokerRefused, BrokerUnknown
from oms.domain.orders import OrderStatus
from oms.domain.reports import BrokerAccount, BrokerFill, BrokerOrder, BrokerPosition, MarketClock, UnreadableUpdate
from oms.domain.values import AssetClass, Side
from oms.execution.book import PROVEN_ABSENT
from oms.execution.budget import RequestBudget
from oms.execution.status import EngineStatus
from oms.ports import Configs, Purpose, Ticket

PER_MINUTE = 200
BEGIN = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
LONG = Decimal(100_000)  # no signal is stale


class VirtualClock:
    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()


class Counting(Broker):
    """Takes every order and lets it rest; each call is a request of the budget, noted with its time."""

    def __init__(self, budget: RequestBudget, clock: VirtualClock) -> None:
        super().__init__()
        self._budget, self._clock = budget, clock
        self.sent: list[tuple[float, Purpose, str]] = []
        self.resting: dict[str, BrokerOrder] = {}
        self.fills: list[BrokerFill] = []
        self.loses = False  # each order, without an answer
        self.asked: list[str] = []  # for what became of which order

    async def _request(self, purpose: Purpose, what: str) -> None:
        await self._budget.acquire(purpose)
        self.sent.append((self._clock.monotonic(), purpose, what))
        await asyncio.sleep(0.02)

    async def submit(self, ticket: Ticket) -> BrokerOrder:
        await self._request(Purpose.SUBMIT, "submit")
        if self.loses:
            raise BrokerUnknown("no answer")
        now = self._clock.now()
        order = replace(at_broker(ticket.client_order_id), submitted_at=now, updated_at=now)
        self.resting[order.broker_order_id] = order
        return order

    async def cancel(self, broker_order_id: str) -> None:
        await self._request(Purpose.CANCEL, "cancel")
        self.cancels.append(broker_order_id)

    async def order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        await self._request(Purpose.RECONCILE, "by client id")
        self.asked.append(client_order_id)
        raise BrokerNotFound(client_order_id)

    async def open_orders(self, *_: object) -> Sequence[Any]:
        await self._request(Purpose.RECONCILE, "open orders")
        return [order for order in self.resting.values() if not order.status.is_final]

    async def orders_since(self, _: datetime) -> Sequence[BrokerOrder]:
        await self._request(Purpose.RECONCILE, "orders")
        return list(self.resting.values())

    async def fills_since(self, *_: object) -> Sequence[Any]:
        await self._request(Purpose.RECONCILE, "fills")
        return self.fills

    async def fills_of(self, *_: object) -> Sequence[Any]:
        await self._request(Purpose.RECONCILE, "fills of")
        return self.fills

    async def fees_since(self, *_: object) -> Sequence[Any]:
        await self._request(Purpose.RECONCILE, "fees")
        return []

    async def positions(self, *_: object) -> Sequence[Any]:
        await self._request(Purpose.RECONCILE, "positions")
        qty = sum((fill.qty for fill in self.fills), Decimal(0))
        return [BrokerPosition("AAPL", AssetClass.STOCK, qty, Decimal(100))] if qty else []

    async def account(self) -> BrokerAccount:
        await self._request(Purpose.RECONCILE, "account")
        return await super().account()

    async def clock(self) -> MarketClock:
        await self._request(Purpose.RECONCILE, "clock")
        now = self._clock.now()
        return MarketClock(now, True, now + timedelta(days=1), now + timedelta(hours=5))

    async def order(self, broker_order_id: str) -> BrokerOrder:
        await self._request(Purpose.RECONCILE, "order")
        return self.resting[broker_order_id]

    def in_any_minute(self, purpose: Purpose) -> int:
        """The most requests for a purpose that any sixty seconds saw."""
        times = [at for at, what, _ in self.sent if what is purpose]
        return max((sum(begin <= at < begin + 60 for at in times) for begin in times), default=0)


class Minutes:
    """A session in virtual time, with so many orders that rest at the broker."""

    def __init__(self, loop: SimLoop) -> None:
        self.clock = VirtualClock(loop)
        self.budget = RequestBudget(PER_MINUTE, self.clock)
        self.broker = Counting(self.budget, self.clock)
        unlimited = Configs(1, {}, {"max_position_size_usd": "off"})
        self.running = Running(unlimited, self.budget, clock=self.clock, broker=self.broker)

    def accept(self) -> Any:
        return self.running.accept(created_at=self.clock.now(), valid_for_s=LONG)

    async def rests(self, count: int) -> None:
        for _ in range(count):
            self.accept()
        await self.running.until(lambda: len(self.broker.resting) == count, 600)

    def fill_one(self) -> None:
        """The broker fills one of the resting orders and tells of it by no stream."""
        broker_order_id, order = next(
            (key, one) for key, one in self.broker.resting.items() if one.status is OrderStatus.SUBMITTED
        )
        self.broker.fills.append(
            BrokerFill(
                broker_order_id, "AAPL", Side.BUY, Decimal(1), Decimal(100), Decimal(1), self.clock.now(),
                f"e-{broker_order_id}", f"a-{broker_order_id}",
            )
        )  # fmt: skip
        self.broker.resting[broker_order_id] = replace(
            order, status=OrderStatus.FILLED, filled_qty=Decimal(1), updated_at=self.clock.now()
        )


def run_virtual(scenario: Callable[[SimLoop], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario to its end in a loop whose time is virtual; what it raises is raised here."""
    loop = SimLoop(Random(1), in_order=True)
    failed: list[BaseException | None] = []

    async def whole() -> None:
        try:
            await scenario(loop)
        except BaseException as error:  # noqa: BLE001 — told below, outside of the loop
            failed.append(error)
        else:
            failed.append(None)

    loop.create_task(whole())
    assert loop.run(lambda: bool(failed), 5_000_000), "the scenario never ended"
    loop.close()
    if failed[0] is not None:
        raise failed[0]


def in_virtual_time(work: Callable[[Minutes], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario of one session."""

    async def session(loop: SimLoop) -> None:
        minutes = Minutes(loop)
        async with minutes.running:
            await work(minutes)

    run_virtual(session)


def test_fifty_open_orders_cost_no_more_than_reconciliation_may() -> None:
    async def ten_minutes(minutes: Minutes) -> None:
        await minutes.rests(50)
        begin = minutes.clock.monotonic()
        await asyncio.sleep(600)
        whats = Counter(what for at, _, what in minutes.broker.sent if at >= begin)
        # On time: a light pass each five seconds, a full one each minute, and none waits for the budget.
        assert 100 <= whats["open orders"] <= 125
        assert 9 <= whats["fees"] <= 11
        assert minutes.broker.in_any_minute(Purpose.RECONCILE) <= 35
        assert minutes.running.session.status is EngineStatus.RUNNING

    in_virtual_time(ten_minutes)


def test_fifty_open_orders_that_fill_unseen_cost_no_more_either() -> None:
    """Each fill is asked for, and moves the account, which is then asked too: what is too much waits."""

    async def ten_minutes(minutes: Minutes) -> None:
        await minutes.rests(50)
        for _ in range(40):
            await asyncio.sleep(15)
            minutes.fill_one()
            minutes.accept()
        await asyncio.sleep(120)
        assert minutes.running.session.book.position_qty("AAPL") == 40
        assert minutes.broker.in_any_minute(Purpose.RECONCILE) <= 35
        assert minutes.running.session.book.drift.unsettled == []

    in_virtual_time(ten_minutes)


def test_a_burst_of_signals_leaves_room_for_cancels_and_reconciliation() -> None:
    async def burst(minutes: Minutes) -> None:
        begin = minutes.clock.monotonic()
        for _ in range(400):
            minutes.accept()
        await minutes.running.until(lambda: len(minutes.broker.resting) >= 120, 20)
        store = minutes.running.store
        for order in store.accepted[:40]:
            store.ask("cancel", order)
        asked = minutes.clock.monotonic()
        await minutes.running.until(lambda: len(minutes.broker.cancels) >= 40, 60)
        assert minutes.clock.monotonic() - asked < 5  # sixteen at once, and none waits for the budget
        assert minutes.clock.monotonic() - begin < 30
        await minutes.running.until(lambda: len(minutes.broker.resting) == 400, 600)
        assert minutes.broker.in_any_minute(Purpose.SUBMIT) == 120
        assert minutes.broker.in_any_minute(Purpose.RECONCILE) <= 35
        times = [at for at, _, _ in minutes.broker.sent]
        assert max(sum(one <= at < one + 60 for at in times) for one in times) <= PER_MINUTE
        assert minutes.clock.monotonic() - begin < 240  # 120 a minute are also sent

    in_virtual_time(burst)


def test_four_orders_of_unknown_fate_are_asked_for_in_turn() -> None:
    """Who was asked for often must keep nobody from a first question: the simulation found two that waited a minute."""

    async def lost(minutes: Minutes) -> None:
        broker = minutes.broker
        broker.loses = True
        for _ in range(4):
            minutes.running.accept(created_at=minutes.clock.now(), valid_for_s=Decimal(5))
        await minutes.running.until(lambda: len(set(broker.asked)) == 4, 30)
        assert max(Counter(broker.asked).values()) <= 2
        await minutes.running.until(lambda: not minutes.running.session.book.open_orders(), 300)

    in_virtual_time(lost)


def test_forty_orders_of_unknown_fate_are_proven_absent_by_listings() -> None:
    """As after a crash: one by one it would take a quarter of an hour, while their exposure is reserved."""

    async def lost(minutes: Minutes) -> None:
        broker, begin = minutes.broker, minutes.clock.monotonic()
        broker.loses = True
        for _ in range(40):
            minutes.running.accept(created_at=minutes.clock.now(), valid_for_s=Decimal(5))
        await minutes.running.until(lambda: len(minutes.running.session.book.open_orders()) == 40, 60)
        await minutes.running.until(lambda: not minutes.running.session.book.open_orders(), 1200)
        assert len(set(broker.asked)) <= 10  # the first and the last few
        ends = {order.error_code for order in minutes.running.session.book.orders.values()}
        assert ends == {PROVEN_ABSENT}
        assert minutes.clock.monotonic() - begin < 150
        assert broker.in_any_minute(Purpose.RECONCILE) <= 35

    in_virtual_time(lost)


def test_an_order_that_was_lost_and_is_refused_ever_since_ends() -> None:
    """Its signal is fresh for an hour, or for ever: it must not be sent and counted as exposure for so long."""

    async def refused(minutes: Minutes) -> None:
        broker, submits = minutes.broker, minutes.broker.submit
        broker.loses = True

        async def refuses(ticket: Ticket) -> BrokerOrder:
            if len(broker.sent) and any(what == "submit" for _, _, what in broker.sent):
                await broker._request(Purpose.SUBMIT, "submit")
                raise BrokerRefused(403, 40310000, "insufficient buying power")
            return await submits(ticket)

        broker.submit = refuses  # type: ignore[method-assign]
        order_id = minutes.accept()
        order = await minutes.running.ended(order_id, 180)
        assert order.error_code == PROVEN_ABSENT
        assert minutes.clock.monotonic() > 60

    in_virtual_time(refused)


def test_a_full_pass_that_was_cut_short_is_made_again_soon() -> None:
    """An update could not be read, and one request of the pass that it starts is lost."""

    async def cut_short(minutes: Minutes) -> None:
        broker = minutes.broker
        await asyncio.sleep(10)
        right, begin = broker.fees_since, minutes.clock.monotonic()

        async def lost(*_: object) -> Sequence[Any]:
            broker.fees_since = right  # type: ignore[method-assign]
            raise BrokerUnknown("503")

        broker.fees_since = lost  # type: ignore[method-assign]
        broker.updates_queue.put_nowait(UnreadableUpdate("no such event", "{}"))
        await asyncio.sleep(12)
        assert broker.fees_since == right, "the update started no pass"
        assert any(what == "fees" for at, _, what in broker.sent if at > begin)
        assert minutes.running.session.status is EngineStatus.RUNNING

    in_virtual_time(cut_short)


def test_a_difference_that_stands_does_not_keep_new_ones_waiting() -> None:
    """A blocked symbol waits for a person, and its passes are a minute apart; then an update cannot be read."""

    async def stands(minutes: Minutes) -> None:
        broker = minutes.broker

        async def held() -> Sequence[Any]:
            return [BrokerPosition("AAPL", AssetClass.STOCK, Decimal(5), Decimal(100))]

        def passes() -> int:
            return sum(what == "fees" for _, _, what in broker.sent)

        broker.positions = held  # type: ignore[method-assign,assignment]
        await asyncio.sleep(300)
        assert [one.blocks for one in minutes.running.session.book.drift.unsettled] == [True]
        before = passes()
        await minutes.running.until(lambda: passes() > before, 100)
        broker.updates_queue.put_nowait(UnreadableUpdate("no such event", "{}"))
        await asyncio.sleep(10)
        assert passes() == before + 2

    in_virtual_time(stands)


def test_who_may_have_lost_the_lease_sends_nothing() -> None:
    """Frozen or cut off from PostgreSQL, while another took over: trading may be halted there, the order given up."""

    async def cut_off(minutes: Minutes) -> None:
        broker, store = minutes.broker, minutes.running.store
        submits, renews = broker.submit, store.renew_lease
        tried: list[Ticket] = []

        async def busy(ticket: Ticket) -> BrokerOrder:
            tried.append(ticket)
            minutes.budget.refused(10)
            raise BrokerBusy("too many requests", 10)

        async def silent(*_: object) -> None:
            await asyncio.sleep(40)

        broker.submit = busy  # type: ignore[method-assign]
        minutes.accept()
        await minutes.running.until(lambda: bool(tried), 10)
        broker.submit, store.renew_lease = submits, silent  # type: ignore[method-assign]
        await asyncio.sleep(30)
        assert not broker.resting, "sent without a lease"
        store.renew_lease = renews  # type: ignore[method-assign]
        await minutes.running.until(lambda: len(broker.resting) == 1, 30)  # nobody had taken over

    in_virtual_time(cut_off)


def test_only_an_answer_of_the_broker_says_that_it_answers() -> None:
    """The stream lives, no question is answered, and an update asks for a full pass."""

    async def away(minutes: Minutes) -> None:
        broker, session = minutes.broker, minutes.running.session

        async def lost(*_: object) -> Sequence[Any]:
            raise BrokerUnknown("503")

        await minutes.rests(1)
        broker.open_orders = lost  # type: ignore[method-assign]
        await minutes.running.until(lambda: session.status is EngineStatus.RECONNECTING, 20)
        broker.updates_queue.put_nowait(UnreadableUpdate("no such event", "{}"))
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert session.status is EngineStatus.RECONNECTING

    in_virtual_time(away)
