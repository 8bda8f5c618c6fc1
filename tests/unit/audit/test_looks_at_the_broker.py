"""Record and broker are never read at one moment: what is only late is no difference, what lasts is one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from oms.audit.broker import LOOKS, audit_broker
from oms.audit.findings import Findings
from oms.domain.orders import OrderStatus
from oms.domain.reports import BrokerFill, BrokerOrder, BrokerPosition
from oms.domain.values import AssetClass, Side, TimeInForce

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
ACCOUNT = UUID(int=1)


class World:
    """Both sides. `tick` changes them between two looks."""

    def __init__(self, tick: Callable[[World, int], None] = lambda world, look: None) -> None:
        self.orders: dict[str, BrokerOrder] = {}
        self.held: dict[str, Decimal] = {}
        self.fills: list[BrokerFill] = []
        self.rows: list[dict[str, Any]] = []
        self.positions: dict[str, Decimal] = {}
        self.fill_rows: list[dict[str, Any]] = []
        self.looks = 1
        self._tick = tick

    async def sleep(self, seconds: float) -> None:
        self.looks += 1
        self._tick(self, self.looks)

    # the broker

    async def open_orders(self) -> Sequence[BrokerOrder]:
        return list(self.orders.values())

    async def positions_there(self) -> Sequence[BrokerPosition]:
        return [BrokerPosition(name, AssetClass.STOCK, qty, Decimal(1)) for name, qty in self.held.items()]

    async def fills_since(self, after: datetime) -> Sequence[BrokerFill]:
        return [fill for fill in self.fills if fill.transacted_at > after]

    # the record

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Any]:
        yield Moment(self)


class Moment:
    """The record as the audit reads it."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def moment(self) -> datetime:
        return NOW + timedelta(minutes=self._world.looks)

    async def open_orders(self, account_id: UUID) -> Any:
        return [row for row in self._world.rows if row["status"] in {"pending", "submitted"}]

    async def orders_at_broker(self, account_id: UUID, ids: Sequence[str], client_ids: Sequence[str]) -> Any:
        return [row for row in self._world.rows if row["alpaca_id"] in ids or row["client_order_id"] in client_ids]

    async def positions(self) -> Any:
        return [{"account_id": ACCOUNT, "symbol": name, "qty": qty} for name, qty in self._world.positions.items()]

    async def fills_since(self, account_id: UUID, since: datetime) -> Any:
        return [row for row in self._world.fill_rows if row["transacted_at"] > since]


class AtBroker:
    """The broker's side of the world."""

    def __init__(self, world: World) -> None:
        self.open_orders, self.positions, self.fills_since = world.open_orders, world.positions_there, world.fills_since


async def looked(world: World) -> Findings:
    findings = Findings(at=NOW)
    account: Any = {"id": ACCOUNT, "adopted_at": NOW - timedelta(hours=1)}
    broker: Any = AtBroker(world)
    await audit_broker(world, broker, account, findings, NOW - timedelta(minutes=30), world.sleep)
    return findings


def order_there(place: str = "b-1", filled: str = "0") -> BrokerOrder:
    return BrokerOrder(
        place, "c-1", "AAPL", AssetClass.STOCK, Side.BUY, Decimal(10), "limit", TimeInForce.DAY, OrderStatus.SUBMITTED,
        "new", Decimal(filled), None, Decimal(5), NOW, NOW,
    )  # fmt: skip


def row_here(status: str = "submitted", filled: str = "0", place: str | None = "b-1") -> dict[str, Any]:
    return {
        "id": UUID(int=7), "alpaca_id": place, "client_order_id": "c-1", "status": status,
        "filled_qty": Decimal(filled), "baseline_qty": Decimal(0), "busted_qty": Decimal(0), "attempted_at": NOW,
    }  # fmt: skip


def fill_there(cum: str = "5") -> BrokerFill:
    return BrokerFill("b-1", "AAPL", Side.BUY, Decimal(5), Decimal(100), Decimal(cum), NOW)


def fill_row(cum: str = "5", price: str = "100") -> dict[str, Any]:
    return {
        "broker_order_id": "b-1", "cum_qty": Decimal(cum), "qty": Decimal(5), "price": Decimal(price), "side": "buy",
        "transacted_at": NOW,
    }  # fmt: skip


def found(findings: Findings) -> Iterator[tuple[str, str]]:
    return ((one.kind, one.what) for one in findings.differences)


async def test_what_agrees_needs_one_look() -> None:
    world = World()
    world.orders["b-1"], world.rows = order_there(filled="5"), [row_here(filled="5")]
    world.fills, world.fill_rows = [fill_there()], [fill_row()]
    world.held = world.positions = {"AAPL": Decimal(5)}
    assert (await looked(world)).is_clean
    assert world.looks == 1


async def test_what_is_booked_a_little_later_is_no_difference() -> None:
    def arrives(world: World, look: int) -> None:
        if look == 3:
            world.positions, world.fill_rows, world.rows = {"AAPL": Decimal(5)}, [fill_row()], [row_here(filled="5")]

    world = World(arrives)
    world.orders["b-1"], world.rows = order_there(filled="5"), [row_here()]
    world.fills, world.held = [fill_there()], {"AAPL": Decimal(5)}
    findings = await looked(world)
    assert findings.is_clean
    assert not findings.in_flight
    assert world.looks == 3


async def test_what_lasts_is_told_with_both_values() -> None:
    world = World()
    world.orders = {"b-1": order_there(filled="5"), "b-2": order_there("b-2")}
    world.rows = [row_here("cancelled")]
    world.fills = [fill_there()]
    world.held, world.positions = {"AAPL": Decimal(5)}, {"MSFT": Decimal(1)}
    findings = await looked(world)
    assert world.looks == LOOKS
    assert sorted(found(findings)) == [
        ("broker_fill", "row"),
        ("broker_order", "alpaca_id"),
        ("broker_order", "filled_qty"),
        ("broker_order", "status"),
        ("broker_position", "qty"),
        ("broker_position", "qty"),
    ]


async def test_what_is_only_here_is_told_too() -> None:
    world = World()
    world.rows, world.fill_rows = [row_here()], [fill_row()]
    assert sorted(found(await looked(world))) == [("broker_fill", "at the broker"), ("broker_order", "status")]


async def test_a_fill_at_another_price_is_told() -> None:
    world = World()
    world.fills, world.fill_rows = [fill_there()], [fill_row(price="101")]
    assert list(found(await looked(world))) == [("broker_fill", "price")]


async def test_trading_that_never_rests_is_listed_as_under_way() -> None:
    def trades(world: World, look: int) -> None:
        world.held["AAPL"] += look

    world = World(trades)
    world.held, world.positions = {"AAPL": Decimal(5)}, {"AAPL": Decimal(4)}
    findings = await looked(world)
    assert findings.is_clean
    assert [one.subject for one in findings.in_flight] == ["AAPL"]


async def test_a_gap_that_stays_while_both_sides_move_is_a_difference() -> None:
    def trades(world: World, look: int) -> None:
        world.held["AAPL"] += look
        world.positions["AAPL"] += look

    world = World(trades)
    world.held, world.positions = {"AAPL": Decimal(5)}, {"AAPL": Decimal(4)}
    assert list(found(await looked(world))) == [("broker_position", "qty")]


async def test_an_order_that_is_being_sent_is_noted_and_no_difference() -> None:
    world = World()
    world.rows = [row_here("pending", place=None)]
    findings = await looked(world)
    assert findings.is_clean
    assert findings.notes == ["1 order sent whose answer is still waited for or asked for."]


async def test_fills_from_before_an_order_was_taken_in_are_in_the_adopted_position() -> None:
    world = World()
    world.fills, world.rows = [fill_there()], [row_here("filled", "5") | {"baseline_qty": Decimal(5)}]
    assert (await looked(world)).is_clean
