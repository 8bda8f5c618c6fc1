"""PATCH: replaced orders, and the races that they can lose."""

from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.paperbroker.house import House

from paperbroker.books import Books
from paperbroker.orders import Order, Side
from paperbroker.statuses import Event, Status
from paperbroker.timestamps import parse


@pytest.fixture
async def house(tmp_path: Path) -> House:
    house = House(tmp_path, fills="displayed")
    house.quote("AAPL", "229.99", "230.00")
    return house


def resting(house: House, **fields: object) -> Order:
    order = house.send("AAPL", "buy", 10, **{"limit_price": "200", **fields})
    house.hand.pass_by(1)
    return order


def bracket(house: House, qty: int = 10, **fields: object) -> Order:
    return house.send("AAPL", "buy", qty, order_class="bracket", **fields)


async def test_the_new_order_has_an_id_of_its_own_and_each_names_the_other(house: House) -> None:
    old = resting(house)
    new = house.replace(old, limit_price="201", qty="12")
    assert (old.status, new.status, new.replaces) == (Status.PENDING_REPLACE, Status.PENDING_NEW, old.id)
    house.hand.pass_by(1)
    assert (old.status, old.replaced_by, new.status, new.qty) == (Status.REPLACED, new.id, Status.NEW, 12)
    await house.store.settled()
    assert house.events[-4:] == [
        (old.id, "pending_replace"), (new.id, "pending_new"), (old.id, "replaced"), (new.id, "new"),
    ]  # fmt: skip


async def test_the_larger_of_the_two_is_reserved_meanwhile(house: House) -> None:
    old = resting(house)
    assert house.account.reserved("margin") == 2000
    new = house.replace(old, limit_price="210")
    assert house.account.reserved("margin") == 2100
    house.hand.pass_by(1)
    house.replace(new, limit_price="190")
    assert house.account.reserved("margin") == 2100
    house.hand.pass_by(1)
    assert house.account.reserved("margin") == 1900


async def test_both_together_never_fill_more_than_was_asked_for(house: House) -> None:
    old = resting(house)
    house.quote("AAPL", "199.98", "199.99", 4)
    house.hand.pass_by(1)
    assert old.filled_qty == 4
    assert house.not_replaced(old, qty="4") == "qty must be > filled_qty"
    new = house.replace(old, qty="9")
    house.hand.pass_by(1)
    assert new.qty == 5
    house.quote("AAPL", "199.98", "199.99", 100)
    house.hand.pass_by(1)
    assert (new.status, house.account.qty("AAPL")) == (Status.FILLED, 9)


async def test_a_fill_can_win_the_race_and_then_the_new_order_is_rejected(house: House) -> None:
    house.core.faults.add({"kind": "fill_before_replace"})
    old = resting(house)
    new = house.replace(old, limit_price="201")
    house.hand.pass_by(1)
    assert (old.status, new.status, house.account.qty("AAPL")) == (Status.FILLED, Status.REJECTED, 10)


async def test_a_cancel_of_the_new_order_gives_the_old_one_its_status_back(house: House) -> None:
    old = resting(house)
    new = house.replace(old, limit_price="201")
    house.desk.cancel(house.account, new.id)
    house.hand.pass_by(1)
    assert (old.status, new.status) == (Status.NEW, Status.CANCELED)
    await house.store.settled()
    assert (old.id, "order_replace_rejected") in house.events
    house.quote("AAPL", "199.98", "199.99")
    house.hand.pass_by(1)
    assert old.status is Status.FILLED


async def test_what_cannot_be_replaced_is_refused(house: House) -> None:
    fresh = house.send("AAPL", "buy", 10, limit_price="200")
    assert house.not_replaced(fresh, qty="5") == "cannot replace order in pending_new status"
    house.hand.pass_by(1)
    assert house.not_replaced(fresh, limit_price="200.0") == "order parameters are not changed"
    assert house.not_replaced(fresh) == "order parameters are not changed"
    assert house.not_replaced(fresh, qty="1.5") == "qty must be a whole number of shares"
    assert house.not_replaced(fresh, stop_price="5") == "limit orders require no stop price"
    assert house.not_replaced(fresh, limit_price="0.12345").startswith("invalid limit_price")
    assert house.not_replaced(fresh, trail="1") == "trail can only be replaced for trailing stop orders"
    assert house.not_replaced(fresh, qty="100000") == "insufficient buying power"
    house.send("AAPL", "buy", 1, limit_price="1", client_order_id="taken")
    assert house.not_replaced(fresh, qty="5", client_order_id="taken") == "client_order_id must be unique"
    house.replace(fresh, qty="5")
    assert house.not_replaced(fresh, qty="4") == "order already pending replacement"
    money = house.send("AAPL", "buy", None, notional="100", limit_price="200")
    house.hand.pass_by(1)
    assert house.not_replaced(money, limit_price="201") == "notional orders cannot be replaced"


async def test_a_trailing_stop_keeps_its_water_mark(house: House) -> None:
    order = house.send("AAPL", "buy", 10, type="trailing_stop", trail_price="5")
    house.hand.pass_by(1)
    new = house.replace(order, trail="3")
    house.hand.pass_by(1)
    assert (new.status, new.hwm, new.stop_price) == (Status.NEW, Decimal("229.99"), Decimal("232.99"))


async def test_a_replacement_survives_a_restart(house: House, tmp_path: Path) -> None:
    old = resting(house)
    new = house.replace(old, limit_price="201")
    await house.store.close()
    again = House(tmp_path)
    assert old.id not in again.account.open_orders
    assert again.account.open_orders[new.id].status is Status.NEW


async def test_a_replacement_that_ended_before_a_restart_gives_the_order_back(house: House, tmp_path: Path) -> None:
    old = house.send("AAPL", "buy", 1, limit_price="1")
    house.hand.pass_by(1)
    new = house.replace(old, limit_price="2")
    house.core.floor.end(new, Event.CANCELED)
    assert old.status is Status.PENDING_REPLACE
    await house.store.close()
    again = House(tmp_path)
    assert [(order.id, order.status) for order in again.account.open_orders.values()] == [(old.id, Status.NEW)]
    await again.store.close()


async def test_a_stop_is_not_moved_to_where_the_price_has_been(house: House) -> None:
    stop = house.send("AAPL", "buy", 1, type="stop", stop_price="240")
    house.hand.pass_by(1)
    assert house.not_replaced(stop, stop_price="220") == "stop price must be greater than current price"
    assert house.replace(stop, stop_price="235").stop_price == 235


async def test_what_becomes_an_order_for_the_close_waits_for_it(tmp_path: Path) -> None:
    house = House(tmp_path, start="2026-11-23T15:45:00-05:00", hours="nyse")
    house.quote("AAPL", "229.99", "230.00")
    old, late = (house.send("AAPL", "buy", 1, limit_price="200", time_in_force="gtc") for _ in range(2))
    house.hand.pass_by(1)
    new = house.replace(old, time_in_force="cls", limit_price="231")
    house.hand.pass_by(60)
    assert (old.status, new.status) == (Status.REPLACED, Status.ACCEPTED)
    await house.store.settled()
    await house.store.close()
    again = House(tmp_path, start="2026-11-23T15:56:00-05:00", hours="nyse")
    again.quote("AAPL", "229.99", "230.00")
    again.hand.pass_by(60)
    assert again.account.open_orders[new.id].status is Status.ACCEPTED
    refusal = "cls orders must be submitted after 7:00pm and before 3:55pm"
    assert again.not_replaced(again.account.open_orders[late.id], time_in_force="cls") == refusal
    again.hand.pass_by(600)
    await again.store.settled()
    assert again.account.qty("AAPL") == 1
    await again.store.close()


async def test_a_brackets_stop_entry_stays_ahead_of_the_price(house: House) -> None:
    entry = bracket(
        house, type="stop", stop_price="240", take_profit={"limit_price": "260"}, stop_loss={"stop_price": "200"}
    )
    house.hand.pass_by(1)
    assert house.not_replaced(entry, stop_price="220") == "stop price must be greater than current price"
    assert house.replace(entry, stop_price="245").stop_price == 245


async def test_an_order_and_what_replaces_it_at_the_close_itself_do_not_both_work(tmp_path: Path) -> None:
    house = House(tmp_path, start="2026-11-23T15:45:00-05:00", hours="nyse")
    house.quote("AAPL", "229.99", "230.00")
    old = house.send("AAPL", "buy", 10, limit_price="229", time_in_force="gtc")
    house.hand.pass_by(1)
    new = house.replace(old, time_in_force="cls", limit_price="231")
    house.hand.set(parse("2026-11-23T16:00:00-05:00"))
    house.core.days.moved()
    house.hand.pass_by(1)
    assert (old.status, new.status, house.account.qty("AAPL")) == (Status.NEW, Status.EXPIRED, 0)
    await house.store.close()


@pytest.mark.parametrize("ms", range(4, 31))
async def test_a_stop_that_is_being_replaced_follows_what_its_take_profit_fills(tmp_path: Path, ms: int) -> None:
    house = House(tmp_path, fills="displayed")
    house.quote("AAPL", "229.99", "230.00", 10)
    entry = bracket(house, qty=10, take_profit={"limit_price": "240"}, stop_loss={"stop_price": "220"})
    house.hand.pass_by(1)
    assert entry.status is Status.FILLED
    profit, stop = house.legs(entry)
    house.quote("AAPL", "240.00", "240.10", 4)
    house.hand.pass_by(ms / 1000)  # for one of them the fill comes within the replacement's few milliseconds
    new = house.replace(stop, stop_price="221")
    house.hand.pass_by(1)
    assert (profit.filled_qty, stop.status, new.qty) == (4, Status.REPLACED, 6)
    await house.store.close()


async def test_the_legs_of_an_entry_that_was_replaced_end_with_it(tmp_path: Path) -> None:
    house = House(tmp_path)
    Books(house.core).reset(house.account, Decimal(3000), {})
    house.quote("AAPL", "229.99", "230.00")
    fields = {
        "type": "stop",
        "stop_price": "235",
        "take_profit": {"limit_price": "260"},
        "stop_loss": {"stop_price": "200"},
    }
    entry = bracket(house, qty=20, time_in_force="gtc", **fields)
    house.hand.pass_by(1)
    new = house.replace(entry, stop_price="236")
    house.hand.pass_by(1)
    house.quote("AAPL", "349.00", "350.00")
    house.hand.pass_by(1)
    assert (new.status, house.account.open_orders) == (Status.REJECTED, {})
    await house.store.close()


async def test_a_replaced_bracket_entry_is_judged_as_a_bracket(house: House) -> None:
    house.send("AAPL", "buy", 5)
    house.hand.pass_by(1)
    house.send("AAPL", "sell", 5, type="stop", stop_price="150")
    house.hand.pass_by(1)
    exits = {"take_profit": {"limit_price": "260"}, "stop_loss": {"stop_price": "100"}}
    entry = bracket(house, limit_price="200", type="limit", **exits)
    house.hand.pass_by(1)
    entry = house.replace(entry, limit_price="201")  # complex classes make no wash trades
    house.hand.pass_by(1)
    house.desk.cancel(house.account, entry.id)
    house.hand.pass_by(1)


async def test_a_bracket_entry_does_not_become_a_cover(house: House) -> None:
    exits = {"take_profit": {"limit_price": "260"}, "stop_loss": {"stop_price": "100"}}
    entry = bracket(house, limit_price="200", type="limit", **exits)
    house.hand.pass_by(1)
    house.send("AAPL", "sell", 10)
    house.hand.pass_by(1)
    assert house.account.qty("AAPL") == -10
    assert house.not_replaced(entry, limit_price="201") == "bracket orders must be entry orders"


async def test_exits_of_an_account_that_may_not_trade_stay_as_they_are(house: House) -> None:
    entry = bracket(house, take_profit={"limit_price": "260"}, stop_loss={"stop_price": "200"})
    house.hand.pass_by(1)
    profit, stop = house.legs(entry)
    house.account.state.trading_blocked = True
    assert house.not_replaced(profit, limit_price="261") == "trading is blocked for this account"
    assert house.not_replaced(stop, stop_price="201") == "trading is blocked for this account"


async def test_a_refused_replacement_leaves_an_order_in_its_place(house: House) -> None:
    first, second = (house.send("AAPL", "buy", 1, limit_price=price) for price in ("200", "201"))
    house.hand.pass_by(1)
    assert house.not_replaced(first, qty="100000") == "insufficient buying power"
    assert list(house.account.open_on("AAPL", Side.BUY)) == [first, second]
    assert list(house.account.open_orders) == [first.id, second.id]


async def test_the_smallest_cost_is_asked_of_the_whole_order(house: House) -> None:
    house.quote("BTC/USD", "80000", "80010")
    order = house.send("BTC/USD", "buy", "0.001", limit_price="70000")
    house.hand.pass_by(1)
    order.fill(Decimal("0.0009"), Decimal(70000))
    assert house.replace(order, limit_price="70001").qty == Decimal("0.0001")


async def test_a_triggered_stop_that_keeps_its_price_stays_triggered(house: House) -> None:
    order = house.send("AAPL", "buy", 10, type="stop_limit", stop_price="235", limit_price="235.50")
    house.hand.pass_by(1)
    house.trade("AAPL", "235")
    house.quote("AAPL", "236.00", "236.10")
    house.hand.pass_by(1)
    assert order.triggered
    house.quote("AAPL", "229.99", "236.10")
    house.trade("AAPL", "230")
    new = house.replace(order, limit_price="237")
    house.hand.pass_by(1)
    assert (new.triggered, new.status) == (True, Status.FILLED)
