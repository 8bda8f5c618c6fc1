"""The book under whatever a broker may report: doubled, reordered, late, and from several sources at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.domain.events import EventKind
from oms.domain.instruments import Symbols
from oms.domain.orders import ImpossibleTransition, Order, OrderStatus
from oms.domain.positions import Entry
from oms.domain.reports import BrokerFill, BrokerOrder
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce
from oms.execution.book import Book, LateEntry
from oms.ports import AccountRecord, Changes, Configs, WorkingSet
from oms.risk.gate import ApprovedOrder

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


def ids() -> Iterator[UUID]:
    place = 1000
    while True:
        place += 1
        yield UUID(int=place)


def new_book() -> Book:
    working = WorkingSet(AccountRecord(UUID(int=1), "b", NOW, NOW), [], [], [], Configs(1, {}), {}, [])
    source = ids()
    return Book(working, Symbols([], {}), lambda: next(source), lambda: NOW)


def signal_order(qty: str = "10", side: str = "buy", symbol: str = "AAPL", place: int = 1) -> Order:
    asset_class = AssetClass.CRYPTO if "/" in symbol else AssetClass.STOCK
    return Order(
        UUID(int=place), UUID(int=1), f"c-{place}", symbol, asset_class, Side(side), Decimal(qty), OrderType.MARKET,
        TimeInForce.DAY, NOW,
    )  # fmt: skip


def sent(book: Book, order: Order, fee_rate: Decimal | None = None) -> Order:
    assert order.qty is not None
    book.approve(ApprovedOrder(order, order.qty, []), fee_rate)
    return book.orders[order.id]


def seen(order: Order, status: OrderStatus, filled: Decimal | str = "0", place: str = "b-1") -> BrokerOrder:
    return BrokerOrder(
        place, order.client_order_id, order.symbol, order.asset_class, order.side, order.qty, "market",
        order.time_in_force, status, status.value, Decimal(filled), None, None, NOW, NOW,
    )  # fmt: skip


def execution(order: Order, qty: str, cum: str, price: str = "100", second: int = 0, place: str = "b-1") -> BrokerFill:
    return BrokerFill(
        place, order.symbol, order.side, Decimal(qty), Decimal(price), Decimal(cum), NOW + timedelta(seconds=second),
        execution_id=f"{place}-{cum}",
    )  # fmt: skip


def test_a_fill_that_overtakes_the_answer_is_bound_by_our_id() -> None:
    book = new_book()
    order = sent(book, signal_order())
    book.observe(order, seen(order, OrderStatus.SUBMITTED))
    changes = book.fill(book.orders[order.id], execution(order, "10", "10"))
    assert book.orders[order.id].status is OrderStatus.FILLED
    assert book.by_broker_id("b-1") is book.orders[order.id]
    assert not book.observe(book.orders[order.id], seen(order, OrderStatus.SUBMITTED)), (
        "the late answer changes nothing"
    )
    assert [event.kind for event in changes.events] == [EventKind.FILLED]


def test_an_end_waits_for_its_fills() -> None:
    """A cancel that names 4 filled is not booked before those 4 are: no fill is made up, none is lost."""
    book = new_book()
    order = sent(book, signal_order())
    book.observe(order, seen(order, OrderStatus.CANCELLED, "4"))
    assert book.orders[order.id].status is OrderStatus.SUBMITTED
    assert order.id in book.awaiting_fills
    book.fill(book.orders[order.id], execution(order, "4", "4"))
    after = book.orders[order.id]
    assert (after.status, after.filled_qty, after.filled_price) == (OrderStatus.CANCELLED, 4, 100)
    assert not book.awaiting_fills


def test_a_fill_after_the_end_is_booked_and_the_end_stays() -> None:
    book = new_book()
    order = sent(book, signal_order())
    book.observe(order, seen(order, OrderStatus.CANCELLED))
    book.fill(book.orders[order.id], execution(order, "3", "3"))
    after = book.orders[order.id]
    assert (after.status, after.filled_qty, book.position_qty("AAPL")) == (OrderStatus.CANCELLED, 3, 3)


def test_a_fill_that_contradicts_what_is_booked_is_reported_not_applied() -> None:
    book = new_book()
    order = sent(book, signal_order())
    book.fill(order, execution(order, "4", "4"))
    assert not book.fill(book.orders[order.id], execution(order, "5", "6")).fills
    assert book.orders[order.id].filled_qty == 4
    assert len(book.drift.unsettled) == 1


def test_a_leg_that_waited_is_shown_at_work_when_its_entry_is_filled() -> None:
    """Somebody else's bracket: its take-profit is held, then new. What was said before its fills moves nothing back."""
    book = new_book()
    theirs = seen(signal_order(side="sell"), OrderStatus.HELD)
    book.adopt(theirs, baseline=Decimal(0))
    leg = book.find(theirs)
    assert leg is not None
    assert leg.status is OrderStatus.HELD
    works = book.observe(leg, replace(theirs, status=OrderStatus.SUBMITTED))
    assert [(event.kind, event.status) for event in works.events] == [(EventKind.SUBMITTED, "submitted")]
    book.fill(book.orders[leg.id], execution(leg, "4", "4"))
    assert not book.observe(book.orders[leg.id], theirs), "a listing that was on its way"
    assert book.orders[leg.id].status is OrderStatus.PARTIALLY_FILLED


def test_a_late_fill_is_held_before_its_position_is_computed_again() -> None:
    """That takes a commit and a look at the record; whoever is gated meanwhile must see it on one side or the other."""
    book = new_book()
    order = sent(book, signal_order())
    book.fill(order, execution(order, "4", "4", second=5))
    with pytest.raises(LateEntry) as late:
        book.fill(book.orders[order.id], execution(order, "6", "10", price="90", second=1))
    assert (book.position_qty("AAPL"), book.exposure("AAPL")) == (10, (0, 0))
    first = Entry((NOW + timedelta(seconds=5), "b-1", Decimal(4), 0), Decimal(4), Decimal(100))
    book.recompute(late.value, [first])
    position = book.positions["AAPL"]
    assert (position.qty, position.avg_price, position.version) == (10, 94, 2)


def test_exposure_counts_what_is_approved_and_not_what_has_ended() -> None:
    book = new_book()
    first, second = sent(book, signal_order(place=1)), sent(book, signal_order(place=2, side="sell"))
    assert book.exposure("AAPL") == (10, 10)
    book.fill(first, execution(first, "4", "4"))
    book.reject(second, "BROKER_1", "no")
    assert book.exposure("AAPL") == (6, 0)


def test_crypto_fees_are_booked_with_the_fill() -> None:
    book = new_book()
    buy = sent(book, signal_order("0.1", symbol="BTC/USD"), Decimal("0.0025"))
    changes = book.fill(buy, execution(buy, "0.1", "0.1", "50000"))
    assert book.position_qty("BTC/USD") == Decimal("0.09975")
    assert [(one.qty, one.cash) for one in changes.adjustments] == [(Decimal("-0.00025"), 0)]
    sell = sent(book, signal_order("0.05", "sell", "BTC/USD", place=2), Decimal("0.0025"))
    changes = book.fill(sell, execution(sell, "0.05", "0.05", "60000", second=1, place="b-2"))
    assert book.position_qty("BTC/USD") == Decimal("0.04975")
    assert [(one.qty, one.cash) for one in changes.adjustments] == [(0, Decimal("-7.5"))]
    assert book.positions["BTC/USD"].fees == Decimal(20)


def test_an_external_order_counts_from_its_baseline() -> None:
    """What had filled before an account was taken in is in the adopted position already."""
    book = new_book()
    theirs = replace(seen(signal_order(), OrderStatus.PARTIALLY_FILLED, "4"), client_order_id="theirs")
    book.adopt(theirs, baseline=Decimal(4))
    order = book.by_broker_id("b-1")
    assert order is not None
    assert not book.fill(order, execution(order, "4", "4"))
    book.fill(order, execution(order, "6", "10", "110"))
    after = book.orders[order.id]
    assert (after.status, after.filled_qty, after.filled_price) == (OrderStatus.FILLED, 10, 110)
    assert book.position_qty("AAPL") == 6


@pytest.mark.parametrize("end", [OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED])
def test_final_states_never_go_back(end: OrderStatus) -> None:
    order = signal_order().moved(end, NOW)
    for status in OrderStatus:
        if status is not end:
            with pytest.raises(ImpossibleTransition):
                order.moved(status, NOW)


@dataclass(frozen=True)
class Story:
    """What really happened at the broker, and the messages about it as they arrive."""

    order: Order
    fills: list[BrokerFill]
    messages: list[BrokerFill | BrokerOrder]
    end: OrderStatus


@st.composite
def stories(draw: st.DrawFn) -> Story:
    qty = draw(st.integers(1, 40))
    order = signal_order(str(qty), draw(st.sampled_from(["buy", "sell"])))
    cuts = sorted(draw(st.sets(st.integers(1, qty), max_size=6)))
    fills, before = [], 0
    for place, cut in enumerate(cuts):
        price = str(draw(st.integers(1, 200)))
        fills.append(execution(order, str(cut - before), str(cut), price, second=place))
        before = cut
    end = OrderStatus.FILLED if before == qty else draw(st.sampled_from([OrderStatus.CANCELLED, OrderStatus.EXPIRED]))
    snapshots = [seen(order, OrderStatus.SUBMITTED)]
    snapshots += [seen(order, OrderStatus.PARTIALLY_FILLED, one.cum_qty) for one in fills if one.cum_qty < qty]
    snapshots.append(seen(order, end, str(before)))
    doubled = [*fills, *snapshots, *draw(st.lists(st.sampled_from([*fills, *snapshots]), max_size=10))]
    return Story(order, fills, draw(st.permutations(doubled)), end)


@given(stories())
def test_any_order_and_number_of_messages_ends_the_same(story: Story) -> None:
    book = new_book()
    sent(book, story.order)
    entries: list[Entry] = []
    booked: list[Decimal] = []
    for message in story.messages:
        order = book.orders[story.order.id]
        if isinstance(message, BrokerOrder):
            book.observe(order, message)
            continue
        try:
            changes = book.fill(order, message)
        except LateEntry as late:
            changes = book.recompute(late, entries)
        entries += [Entry.of_fill(fill) for fill in changes.fills]
        booked += [fill.cum_qty for fill in changes.fills]
    after = book.orders[story.order.id]
    total = sum((fill.qty for fill in story.fills), Decimal(0))
    assert after.status is story.end
    assert after.filled_qty == total
    assert book.position_qty("AAPL") == story.order.side.sign * total
    assert sorted(booked) == [fill.cum_qty for fill in story.fills], "each fill is booked once"
    if total:
        value = sum((fill.qty * fill.price for fill in story.fills), Decimal(0))
        assert after.filled_price is not None
        assert abs(after.filled_price - value / total) < Decimal("1e-11")
        assert abs(book.positions["AAPL"].avg_price - value / total) < Decimal("1e-9")
    assert not book.awaiting_fills
    assert not book.drift.unsettled


def test_changes_of_one_batch_keep_the_stored_version() -> None:
    """Two steps in one transaction are compared with the version that is stored, not with the one in between."""
    book = new_book()
    order = signal_order()
    changes = Changes()
    changes.merge(book.approve(ApprovedOrder(order, Decimal(10), []), None))
    changes.merge(book.observe(book.orders[order.id], seen(order, OrderStatus.SUBMITTED)))
    changes.merge(book.fill(book.orders[order.id], execution(order, "10", "10")))
    stored, after = changes.orders[order.id]
    assert (stored, after.version, after.status) == (0, 3, OrderStatus.FILLED)
    [(stored, position)] = changes.positions.values()
    assert (stored, position.qty) == (0, 10)
