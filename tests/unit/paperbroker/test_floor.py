"""Orders on the floor."""

from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.paperbroker.house import House

from paperbroker.account_json import account_json
from paperbroker.books import Books
from paperbroker.matching import Dice, RestingOrders, fill_price
from paperbroker.orders import Order, OrderType, Side, TimeInForce
from paperbroker.prices.quotes import Quote
from paperbroker.statuses import TERMINAL, TRANSITIONS, Event, Status

D = Decimal


@pytest.fixture
async def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.quote("AAPL", "229.99", "230.00")
    house.quote("BTC/USD", "80000", "80010")
    return house


async def test_a_market_order_is_filled_at_the_ask_soon_after(house: House) -> None:
    order = house.send("AAPL", "buy", 10)
    assert order.status is Status.PENDING_NEW
    house.hand.pass_by(0.2)
    assert (order.status, order.filled_qty, order.filled_avg_price) == (Status.FILLED, 10, 230)
    await house.store.settled()
    events = [event for event, _ in house.told]
    assert events[:2] == [Event.PENDING_NEW, Event.NEW]
    assert events[-1] is Event.FILL


async def test_a_limit_order_waits_for_its_price_and_gets_the_quotes(house: House) -> None:
    order = house.send("AAPL", "buy", 10, limit_price="229.50")
    house.hand.pass_by(1)
    assert order.status is Status.NEW
    house.quote("AAPL", "229.40", "229.51")
    house.hand.pass_by(1)
    assert order.status is Status.NEW
    house.quote("AAPL", "229.30", "229.45")
    house.hand.pass_by(1)
    assert (order.status, order.filled_avg_price) == (Status.FILLED, D("229.45"))


async def test_a_price_that_is_gone_before_the_fill_does_not_fill(house: House) -> None:
    order = house.send("AAPL", "sell", 10, limit_price="230.00")
    house.hand.pass_by(1)
    house.quote("AAPL", "230.01", "230.02")
    house.quote("AAPL", "229.98", "229.99")
    house.hand.pass_by(1)
    assert order.status is Status.NEW
    house.quote("AAPL", "230.01", "230.02")
    house.hand.pass_by(1)
    assert order.status is Status.FILLED


async def test_one_in_ten_fills_is_partial_and_the_rest_follows(house: House) -> None:
    orders = [
        house.send("AAPL", "buy", 4, client_order_id=f"order-{n}") for n in range(200) if not house.hand.pass_by(0.3)
    ]
    house.hand.pass_by(1)
    assert all(order.status is Status.FILLED for order in orders)
    await house.store.settled()
    partial = [execution for event, execution in house.told if event is Event.PARTIAL_FILL]
    assert 8 <= len(partial) <= 40
    assert all(execution and execution.qty == int(execution.qty) for execution in partial)
    assert house.account.qty("AAPL") == 800


async def test_orders_that_clients_do_not_name_meet_the_same_luck_at_another_broker(tmp_path: Path) -> None:
    stories = []
    for name in ("one", "two"):
        house = House(tmp_path / name)
        house.quote("AAPL", "229.99", "230.00")
        ids = set()
        for _ in range(40):
            ids.add(house.send("AAPL", "buy", 10, client_order_id=None).client_order_id)
            house.hand.pass_by(0.3)
        assert "" not in ids
        assert len(ids) == 40
        await house.store.settled()
        stories.append([(execution.order.seq, execution.qty) for _, execution in house.told if execution])
        await house.store.close()
    assert stories[0] == stories[1]
    assert len(stories[0]) > 40, "no order was filled in parts"


async def test_ioc_and_fok_that_are_not_marketable_are_canceled(house: House) -> None:
    for time_in_force in ("ioc", "fok"):
        order = house.send("AAPL", "buy", 1, limit_price="1", time_in_force=time_in_force)
        house.hand.pass_by(1)
        assert order.status is Status.CANCELED


async def test_an_order_without_a_price_waits_for_one(house: House) -> None:
    order = house.send("IBM", "buy", 1)
    house.hand.pass_by(5)
    assert order.status is Status.NEW
    house.quote("IBM", "0", "0")
    house.hand.pass_by(5)
    assert order.status is Status.NEW
    house.quote("IBM", "180", "180.02")
    house.hand.pass_by(1)
    assert order.filled_avg_price == D("180.02")


async def test_a_fill_can_win_the_race_against_a_cancel(house: House) -> None:
    seen = set()
    for number in range(40):
        order = house.send("AAPL", "buy", 1, client_order_id=f"race-{number}")
        house.hand.pass_by(0.012)
        if order.is_open:
            house.desk.cancel(house.account, order.id)
            house.hand.pass_by(1)
        seen.add(order.status)
    assert seen == {Status.FILLED, Status.CANCELED}


async def test_makers_pay_less_than_takers(house: House) -> None:
    house.send("BTC/USD", "buy", "0.1", limit_price="79000")
    house.hand.pass_by(1)
    house.quote("BTC/USD", "78990", "79000")
    house.hand.pass_by(1)
    assert house.account.qty("BTC/USD") == D("0.5") + D("0.1") - D("0.00015")


async def test_a_notional_order_buys_what_its_money_is_worth(house: House) -> None:
    order = house.send("AAPL", "buy", None, notional="100")
    house.hand.pass_by(1)
    assert order.status is Status.FILLED
    assert order.filled_qty == D("0.434782608")
    assert order.qty is None


async def test_day_orders_expire_at_new_yorks_midnight(house: House) -> None:
    order = house.send("AAPL", "buy", 1, limit_price="1")
    lasting = house.send("AAPL", "buy", 1, limit_price="1", time_in_force="gtc")
    house.hand.pass_by(12 * 3600 + 1)
    assert (order.status, lasting.status) == (Status.EXPIRED, Status.NEW)


async def test_an_order_of_the_weekend_waits_for_the_open(tmp_path: Path) -> None:
    house = House(tmp_path, start="2026-11-28T12:00:00-05:00", hours="nyse")
    house.quote("AAPL", "229.99", "230.00")
    order = house.send("AAPL", "buy", 1)
    early = house.send("AAPL", "buy", 1, limit_price="235", extended_hours=True)
    house.quote("AAPL", "229.99", "230.00")
    house.hand.pass_by(39 * 3600)
    assert (order.status, early.status) == (Status.ACCEPTED, Status.ACCEPTED)
    house.hand.pass_by(3600 + 61)
    assert (order.status, early.status) == (Status.ACCEPTED, Status.FILLED)
    house.hand.pass_by(5.5 * 3600)
    assert order.status is Status.FILLED


async def test_after_a_restart_open_orders_go_on_and_holds_stand(house: House, tmp_path: Path) -> None:
    resting = house.send("AAPL", "buy", 10, limit_price="100", client_order_id="mine")
    fresh = house.send("BTC/USD", "sell", "0.1")
    before = house.account.figures(house.prices)
    await house.store.close()
    again = House(tmp_path)
    again.quote("AAPL", "229.99", "230.00")
    again.quote("BTC/USD", "80000", "80010")
    assert again.account.figures(again.prices) == before
    assert again.refused("AAPL", "buy", 1, client_order_id="mine").code == 40010001
    again.hand.pass_by(1)
    orders = again.account.open_orders
    assert fresh.id not in orders
    again.quote("AAPL", "99", "99.50")
    again.hand.pass_by(1)
    assert resting.id not in orders
    assert again.account.qty("AAPL") == 10


async def test_what_the_account_cannot_bear_is_refused(house: House) -> None:
    refusal = house.refused("AAPL", "buy", 1000)
    assert refusal.body() == {
        "code": 40310000, "message": "insufficient buying power", "buying_power": "200000", "cost_basis": "230000",
    }  # fmt: skip
    assert house.refused("BTC/USD", "buy", 2).extras == {"buying_power": "100000", "cost_basis": "160020"}
    assert house.refused("BTC/USD", "buy", "0.0001").message == "cost basis must be >= minimal amount of order 10"
    refusal = house.refused("BTC/USD", "sell", 1)
    assert refusal.message == "insufficient balance for BTC (requested: 1, available: 0.5)"
    assert refusal.extras == {"balance": "0.5", "available": "0.5", "symbol": "USD"}
    assert house.refused("ETH/USD", "sell", 1).status == 403
    assert house.refused("BTC/USDT", "buy", "0.1").message.startswith("insufficient balance for USDT")
    assert house.refused("PFE", "sell", 1).body() == {"code": 42210000, "message": 'asset "PFE" cannot be sold short'}
    assert house.refused("AAPL", "sell", "0.5").message == "fractional orders cannot be sold short"


async def test_what_open_orders_hold_is_not_available_twice(house: House) -> None:
    house.send("BTC/USD", "sell", "0.3", limit_price="90000")
    refusal = house.refused("BTC/USD", "sell", "0.3", limit_price="90000")
    assert refusal.extras == {"balance": "0.5", "available": "0.2", "symbol": "USD"}
    house.send("AAPL", "buy", 1000, limit_price="150")
    assert house.refused("AAPL", "buy", 1000, limit_price="150").extras["buying_power"] == "50000"


async def test_a_refused_sale_names_the_orders_that_hold_the_shares(house: House) -> None:
    house.send("AAPL", "buy", 5)
    house.hand.pass_by(1)
    holding = [house.send("AAPL", "sell", qty, limit_price="300").id for qty in (3, 2)]
    assert house.refused("AAPL", "sell", 1, limit_price="300").extras == {
        "available": "0", "existing_qty": "5", "held_for_orders": "5", "symbol": "AAPL", "related_orders": holding,
    }  # fmt: skip
    house.desk.cancel(house.account, holding[0])
    house.desk.cancel(house.account, holding[1])
    house.hand.pass_by(1)
    assert "related_orders" not in house.refused("AAPL", "sell", 6, limit_price="300").extras


async def test_stocks_are_bought_for_a_dollar_at_least(house: House) -> None:
    refusal = house.refused("AAPL", "buy", "0.004")
    assert (refusal.code, refusal.message) == (40310000, "cost basis must be >= minimal amount of order 1")
    house.send("AAPL", "buy", "0.005")
    house.hand.pass_by(1)
    house.send("AAPL", "sell", "0.001")


async def test_shorting_works_and_flips_are_refused_either_way(house: House) -> None:
    short = house.send("AAPL", "sell", 10)
    house.hand.pass_by(1)
    assert (short.position_intent, house.account.qty("AAPL")) == ("sell_to_open", -10)
    assert "available: 10" in house.refused("AAPL", "buy", 11).message
    cover = house.send("AAPL", "buy", 10)
    house.hand.pass_by(1)
    assert (cover.position_intent, house.account.qty("AAPL")) == ("buy_to_close", 0)
    house.send("AAPL", "buy", 5)
    house.hand.pass_by(1)
    assert "available: 5" in house.refused("AAPL", "sell", 6).message


async def test_last_equity_is_told_as_of_the_day_it_was_the_end_of(house: House) -> None:
    house.hand.pass_by(13 * 3600)
    told = account_json(house.account, house.account.figures(house.prices))
    assert (told["last_equity"], told["balance_asof"]) == ("140000", "2026-11-23")


async def test_wash_trades_are_refused(house: House) -> None:
    resting = house.send("AAPL", "buy", 1, limit_price="200", time_in_force="gtc")
    house.hand.pass_by(1)
    market = house.refused("AAPL", "sell", 1)
    assert market.extras["existing_order_id"] == resting.id
    assert house.refused("AAPL", "sell", 1, limit_price="200").code == 40310000
    house.send("AAPL", "sell", 1, limit_price="200.01")


async def test_every_event_is_told_only_after_its_commit(house: House) -> None:
    house.send("AAPL", "buy", 1)
    house.hand.pass_by(1)
    assert house.told == []
    await house.store.settled()
    assert house.told[-1][0] is Event.FILL


def an_order(seq: int, side: Side, limit: str | None) -> Order:
    return Order(
        id=str(seq), account_id="a", seq=seq, client_order_id=str(seq), symbol="AAPL", side=side,
        type=OrderType.LIMIT if limit else OrderType.MARKET, time_in_force=TimeInForce.DAY, status=Status.NEW,
        created_ns=0, updated_ns=0, submitted_ns=0, expires_ns=0, qty=D(1), limit_price=D(limit) if limit else None,
    )  # fmt: skip


def test_the_best_price_then_the_earliest_is_first_and_a_discarded_order_is_gone() -> None:
    resting = RestingOrders()
    buys = [an_order(n, Side.BUY, price) for n, price in enumerate(("10", "12", "11", "12", None))]
    sells = [an_order(n, Side.SELL, price) for n, price in enumerate(("13", "15"), start=10)]
    for order in (*buys, *sells):
        resting.add(order)
    resting.discard(buys[3])
    resting.discard(buys[3])
    quote = Quote("AAPL", 1, D(14), D(11), 1, 1)
    assert [order.id for order in resting.take_marketable(quote)] == ["4", "1", "2", "10"]
    assert sorted(order.id for order in resting) == ["0", "11"]


def test_a_side_without_an_offer_fills_nothing() -> None:
    assert fill_price(an_order(1, Side.BUY, None), Quote("AAPL", 1, D(10), D(0), 1, 1)) is None
    assert fill_price(an_order(1, Side.SELL, None), Quote("AAPL", 1, D(0), D(10), 1, 1)) is None


def test_nothing_happens_in_a_final_status() -> None:
    assert TERMINAL.isdisjoint(TRANSITIONS)
    order = an_order(1, Side.BUY, None)
    order.apply(Event.FILL, 1)
    with pytest.raises(ValueError, match="cannot happen in filled"):
        order.apply(Event.CANCELED, 2)


def test_the_dice_fall_the_same_for_the_same_order_and_differently_for_the_next_execution() -> None:
    order, dice = an_order(1, Side.BUY, None), Dice(5)
    first = dice.delay(order, "fill", (5, 30))
    assert first == Dice(5).delay(order, "fill", (5, 30)) != Dice(6).delay(order, "fill", (5, 30))
    assert 0.005 <= first <= 0.030
    order.fill(D(1), D(1))
    assert first != dice.delay(order, "fill", (5, 30))


async def test_a_bust_ends_the_sales_that_it_leaves_uncovered(house: House) -> None:
    """Found by test_whatever_comes: coins were sold that had been taken back."""
    house.quote("BTC/USD", "80000", "80010")
    house.send("BTC/USD", "buy", "1")
    house.hand.pass_by(1)
    resting = house.send("BTC/USD", "sell", "0.2", limit_price="90000")
    too_much = house.send("BTC/USD", "sell", "1.2", limit_price="95000")
    house.hand.pass_by(1)
    await house.store.settled()
    for execution in [execution for _, execution in house.told if execution is not None]:
        Books(house.core).bust(execution.id)
    assert house.account.qty("BTC/USD") == D("0.5")
    assert [order.status for order in (resting, too_much)] == [Status.NEW, Status.CANCELED]
