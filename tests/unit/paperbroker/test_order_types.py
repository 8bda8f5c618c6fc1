"""Stops, trailing stops, orders for the open and the close, displayed sizes."""

from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.paperbroker.house import House

from paperbroker.books import Books
from paperbroker.statuses import Status

D = Decimal


@pytest.fixture
async def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.quote("AAPL", "229.99", "230.00")
    house.quote("BTC/USD", "80000", "80010")
    return house


async def test_a_stop_to_buy_waits_for_its_price_and_then_pays_the_market(house: House) -> None:
    order = house.send("AAPL", "buy", 10, type="stop", stop_price="231")
    house.hand.pass_by(1)
    house.trade("AAPL", "230.99")
    house.hand.pass_by(1)
    assert order.status is Status.NEW
    house.quote("AAPL", "230.98", "231.05")
    house.trade("AAPL", "231.00")
    house.hand.pass_by(1)
    assert (order.status, order.filled_avg_price) == (Status.FILLED, D("231.05"))


async def test_a_quote_beyond_the_stop_triggers_it_without_a_trade(house: House) -> None:
    house.send("AAPL", "buy", 10)
    house.hand.pass_by(1)
    order = house.send("AAPL", "sell", 10, type="stop", stop_price="229")
    house.hand.pass_by(1)
    house.quote("AAPL", "228.90", "228.95")
    house.hand.pass_by(1)
    assert (order.status, order.filled_avg_price) == (Status.FILLED, D("228.90"))


async def test_a_triggered_stop_limit_is_a_limit_order(house: House) -> None:
    order = house.send("BTC/USD", "buy", "0.1", type="stop_limit", stop_price="81000", limit_price="81100")
    house.hand.pass_by(1)
    house.quote("BTC/USD", "81200", "81210")
    house.hand.pass_by(1)
    assert (order.status, order.triggered) == (Status.NEW, True)
    house.quote("BTC/USD", "81000", "81090")
    house.hand.pass_by(1)
    assert order.filled_avg_price == D(81090)


async def test_a_trailing_stop_follows_the_price_up_and_not_down(house: House) -> None:
    house.send("AAPL", "buy", 10)
    house.hand.pass_by(1)
    order = house.send("AAPL", "sell", 10, type="trailing_stop", trail_percent="1")
    house.hand.pass_by(1)
    assert (order.hwm, order.stop_price) == (D("229.99"), D("227.69"))
    house.quote("AAPL", "240", "240.02")
    assert (order.hwm, order.stop_price) == (D(240), D("237.6"))
    house.quote("AAPL", "238", "238.02")
    house.hand.pass_by(1)
    assert (order.status, order.stop_price) == (Status.NEW, D("237.6"))
    house.quote("AAPL", "237.50", "237.52")
    house.hand.pass_by(1)
    assert order.filled_avg_price == D("237.50")


async def test_a_trailing_stop_to_buy_follows_the_price_down(house: House) -> None:
    order = house.send("AAPL", "buy", 10, type="trailing_stop", trail_price="2")
    house.hand.pass_by(1)
    house.quote("AAPL", "219.98", "220")
    assert (order.hwm, order.stop_price) == (D("219.98"), D("221.98"))


async def test_stops_survive_a_restart(house: House, tmp_path: Path) -> None:
    stop = house.send("AAPL", "buy", 10, type="stop", stop_price="231")
    house.hand.pass_by(1)
    await house.store.close()
    again = House(tmp_path)
    order = again.account.open_orders[stop.id]
    again.quote("AAPL", "231.00", "231.05")
    again.hand.pass_by(1)
    assert order.status is Status.FILLED


async def test_a_stop_to_buy_reserves_for_its_stop_price(house: House) -> None:
    house.send("AAPL", "buy", 100, type="stop", stop_price="500")
    assert house.account.figures(house.prices).buying_power == 150_000


async def test_a_stop_that_the_price_has_passed_is_refused(house: House) -> None:
    refusal = house.refused("AAPL", "buy", 1, type="stop", stop_price="229.99")
    assert refusal.body() == {
        "code": 42210000, "message": "stop price must be greater than current price",
        "market_price": "229.99", "stop_price": "229.99",
    }  # fmt: skip
    house.send("AAPL", "buy", 1)
    house.hand.pass_by(1)
    refusal = house.refused("AAPL", "sell", 1, type="stop", stop_price="229.99")
    assert refusal.message == "stop price must be less than current price"
    house.send("AAPL", "sell", 1, type="stop", stop_price="229.98")
    house.send("MSFT", "buy", 1, type="stop", stop_price="5")  # nothing is known of its price yet


async def test_the_wash_trade_table(house: House) -> None:
    house.send("AAPL", "buy", 1, type="stop", stop_price="300")
    assert house.refused("AAPL", "sell", 1, limit_price="400").extras["reject_reason"].endswith("stop order exists")
    house.send("AAPL", "sell", 1, type="trailing_stop", trail_price="5")
    house.send("MSFT", "buy", 1, type="stop_limit", stop_price="300", limit_price="310")
    house.send("MSFT", "sell", 1, limit_price="311")
    assert house.refused("MSFT", "sell", 1, limit_price="310").code == 40310000
    assert house.refused("MSFT", "sell", 1, type="stop", stop_price="200").code == 40310000


async def test_an_intent_that_does_not_fit_is_refused(house: House) -> None:
    refusal = house.refused("AAPL", "buy", 1, position_intent="buy_to_close")
    assert refusal.message == "position intent mismatch, inferred: buy_to_open, specified: buy_to_close"


async def test_opg_is_worked_on_at_the_open_and_cls_at_the_close(tmp_path: Path) -> None:
    house = House(tmp_path, start="2026-11-23T08:00:00-05:00", hours="nyse")
    house.quote("AAPL", "229.99", "230.00")
    at_open = house.send("AAPL", "buy", 1, time_in_force="opg")
    too_low = house.send("AAPL", "buy", 1, time_in_force="opg", limit_price="200")
    at_close = house.send("AAPL", "buy", 1, time_in_force="cls", limit_price="240")
    assert {order.status for order in (at_open, too_low, at_close)} == {Status.ACCEPTED}
    house.hand.pass_by(1.51 * 3600)
    assert [order.status for order in (at_open, too_low, at_close)] == [
        Status.FILLED, Status.CANCELED, Status.ACCEPTED,
    ]  # fmt: skip
    house.hand.pass_by(6.5 * 3600)
    assert at_close.status is Status.FILLED
    refusal = house.refused("AAPL", "buy", 1, time_in_force="cls")
    assert (refusal.code, refusal.message) == (40310000, "cls orders must be submitted after 7:00pm and before 3:55pm")


async def test_displayed_sizes_are_respected(tmp_path: Path) -> None:
    house = House(tmp_path, fills="displayed")
    house.quote("AAPL", "229.99", "230.00", 4)
    first = house.send("AAPL", "buy", 6, limit_price="230")
    house.hand.pass_by(1)
    second = house.send("AAPL", "buy", 1, limit_price="230")
    ioc = house.send("AAPL", "buy", 1, time_in_force="ioc")
    house.hand.pass_by(1)
    assert (first.filled_qty, second.filled_qty, ioc.status) == (4, 0, Status.CANCELED)
    fok = house.send("AAPL", "buy", 9, time_in_force="fok")
    house.quote("AAPL", "229.99", "230.00", 8)
    house.hand.pass_by(1)
    assert (first.status, second.status, fok.status) == (Status.FILLED, Status.FILLED, Status.CANCELED)


async def test_a_coin_that_became_dearer_than_the_money_is_not_bought(house: House) -> None:
    order = house.send("BTC/USD", "buy", "1.2")
    house.quote("BTC/USD", "90000", "90010")
    house.hand.pass_by(1)
    assert order.status is Status.REJECTED
    assert house.account.state.cash == 100_000


async def test_a_halted_symbol_waits(house: House) -> None:
    books = Books(house.core)
    books.halt("AAPL")
    order = house.send("AAPL", "buy", 1)
    house.hand.pass_by(1)
    assert order.status is Status.PENDING_NEW
    books.resume(["AAPL"])
    house.hand.pass_by(1)
    assert order.status is Status.FILLED


async def test_a_halt_survives_a_restart(house: House, tmp_path: Path) -> None:
    """Found by test_whatever_comes: an IOC order that waited for the end of the halt was canceled at the start."""
    Books(house.core).halt("AAPL")
    order = house.send("AAPL", "buy", 1)
    await house.store.settled()
    await house.store.close()
    again = House(tmp_path)
    again.quote("AAPL", "229.99", "230.00")
    again.hand.pass_by(1)
    assert again.account.open_orders[order.id].status is Status.PENDING_NEW
    Books(again.core).resume(["AAPL"])
    again.hand.pass_by(1)
    await again.store.settled()
    assert again.account.qty("AAPL") == 1
    assert again.store.read("select symbol from halts") == []
    await again.store.close()
