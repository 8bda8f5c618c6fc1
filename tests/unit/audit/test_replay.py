"""The trail alone rebuilds every order exactly, whatever happened to it, and an impossible trail is seen."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.audit.replay import replay
from oms.audit.trail import TrailEvent, read_data
from oms.domain.events import EventKind, OrderEvent
from oms.domain.instruments import Symbols
from oms.domain.orders import Order, OrderStatus
from oms.domain.reports import BrokerFill, BrokerOrder
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce
from oms.execution.book import Book
from oms.ports import AccountRecord, Changes, Configs, WorkingSet
from oms.risk.gate import ApprovedOrder

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
ACCOUNT = UUID(int=1)
encode = msgspec.json.Encoder(decimal_format="number").encode
STEPS = st.sampled_from(["approve", "bind", "fill", "unknown", "cancelled", "expired", "rejected", "reject", "note"])


class Story:
    """One order in a book whose clock moves with every look at it, and the events as the record keeps them."""

    def __init__(self, *, is_external: bool, qty: Decimal | None) -> None:
        ticks, ids = count(), count(1000)
        working = WorkingSet(AccountRecord(ACCOUNT, "b", NOW, NOW), [], [], [], Configs(1, {}), {}, [])
        self.book = Book(
            working, Symbols([], {}), lambda: UUID(int=next(ids)), lambda: NOW + timedelta(microseconds=next(ticks))
        )
        self.events: list[OrderEvent] = []
        self.filled = Decimal(0)
        order = Order(
            UUID(int=7), ACCOUNT, "c-7", "BTC/USD", AssetClass.CRYPTO, Side.BUY, qty, OrderType.LIMIT, TimeInForce.GTC,
            NOW, limit_price=Decimal("10.50"), updated_at=NOW, signal_id="s", terms="t", source="rest", reason="why",
        )  # fmt: skip
        if is_external:
            self.take(self.book.adopt(self.seen(order, OrderStatus.SUBMITTED), baseline=Decimal(0)))
            self.order_id = next(iter(self.book.orders))
        else:
            self.order_id = order.id
            self.book._put(order)
            data = {
                "symbol": order.symbol, "side": order.side, "qty": order.qty or "all", "type": order.type,
                "limit_price": order.limit_price, "source": "rest", "asset_class": order.asset_class,
                "time_in_force": order.time_in_force, "signal_id": "s", "terms": "t", "strategy": None, "reason": "why",
                "valid_for_s": None, "client_order_id": "c-7", "configs_version": 0,
            }  # fmt: skip
            self.events.append(OrderEvent(order.id, EventKind.ACCEPTED, NOW, "pending", data))

    @property
    def order(self) -> Order:
        return self.book.orders[self.order_id]

    def take(self, changes: Changes) -> None:
        self.events += changes.events

    def seen(self, order: Order, status: OrderStatus) -> BrokerOrder:
        return BrokerOrder(
            "b-1", order.client_order_id, order.symbol, order.asset_class, order.side, order.qty or Decimal(5), "limit",
            order.time_in_force, status, status.value, self.filled, None, order.limit_price, NOW, NOW,
        )  # fmt: skip

    def step(self, what: str, number: int) -> None:
        order = self.order
        if what == "approve" and not order.was_attempted and order.is_open:
            checks = [{"code": "X", "value": Decimal("1.10"), "text": "a"}]
            self.take(self.book.approve(ApprovedOrder(order, order.qty or Decimal(5), checks), Decimal("0.0025")))
        elif what == "reject" and order.is_open and not order.filled_qty:
            self.take(self.book.reject(order, "CODE", "message", [{"code": "Y"}]))
        elif what == "unknown":
            self.take(self.book.mark_unknown(order, "no answer"))
        elif what == "note":
            self.take(self.book.note(order, EventKind.CANCEL_REQUESTED))
        elif not order.was_attempted:
            return
        elif what == "bind":
            self.take(self.book.observe(order, self.seen(order, OrderStatus.SUBMITTED)))
        elif what == "fill" and order.alpaca_id and order.qty and order.filled_qty < order.qty:
            self.filled += 1
            at = NOW + timedelta(hours=number)
            fill = BrokerFill(
                "b-1", order.symbol, order.side, Decimal(1), Decimal(number), self.filled, at,
                execution_id=f"e-{self.filled}",
            )  # fmt: skip
            self.take(self.book.fill(order, fill))
        elif what in {"cancelled", "expired", "rejected"}:
            self.take(self.book.observe(order, self.seen(order, OrderStatus(what)), "the broker's reason"))


def read_back(events: Sequence[OrderEvent]) -> list[TrailEvent]:
    """As they come out of PostgreSQL."""
    return [
        TrailEvent(place, str(event.kind), event.status, event.at, read_data(encode(event.data).decode()))
        for place, event in enumerate(events, start=1)
    ]


@given(st.lists(STEPS, max_size=25), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_an_order_is_rebuilt_exactly_from_its_events(steps: list[str], is_external: bool, is_all: bool) -> None:
    story = Story(is_external=is_external, qty=None if is_all else Decimal(5))
    for number, what in enumerate(steps, start=1):
        story.step(what, number)
    built = replay(read_back(story.events))
    assert built.told is None
    assert not built.faults
    for name, value in built.values.items():
        if name in {"seq", "attempt_epoch"}:
            continue
        expected = getattr(story.order, name)
        if name == "checks":
            expected = read_data(encode(expected).decode())
        assert value == expected, name


def test_what_cannot_have_happened_is_named() -> None:
    at = [NOW + timedelta(seconds=place) for place in range(4)]
    data = {"client_order_id": "c", "qty": 1}
    story = [
        TrailEvent(1, "accepted", "pending", at[0], data),
        TrailEvent(2, "cancelled", "cancelled", at[1], {}),
        TrailEvent(3, "submitted", "submitted", at[2], {}),
        TrailEvent(4, "accepted", "pending", at[3], data),
    ]
    assert replay(story).faults == [(3, "from cancelled to submitted"), (4, "accepted a second time")]
    assert replay(story[1:2]).faults == [(2, "the first event is cancelled")]


def test_a_trail_from_before_it_told_everything_is_judged_by_what_it_tells() -> None:
    event = TrailEvent(1, "accepted", "pending", NOW, {"symbol": "AAPL", "side": "buy", "qty": decimal.Decimal(1)})
    told = replay([event]).told
    assert told is not None
    assert "status" in told
    assert "client_order_id" not in told
