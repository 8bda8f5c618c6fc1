"""Brackets, OCO and OTO."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.paperbroker.house import House

from paperbroker.orders import Order, Role
from paperbroker.statuses import Status

BRACKET: dict[str, Any] = {
    "order_class": "bracket", "take_profit": {"limit_price": "240"}, "stop_loss": {"stop_price": "220"},
}  # fmt: skip


@pytest.fixture
async def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.quote("AAPL", "229.99", "230.00")
    return house


def entered(house: House) -> tuple[Order, Order, Order]:
    entry = house.send("AAPL", "buy", 10, **BRACKET)
    profit, stop = house.legs(entry)
    house.hand.pass_by(1)
    return entry, profit, stop


async def test_a_brackets_legs_are_held_until_its_entry_is_filled(house: House) -> None:
    entry = house.send("AAPL", "buy", 10, limit_price="229", **BRACKET)
    profit, stop = house.legs(entry)
    assert [leg.status for leg in (profit, stop)] == [Status.HELD, Status.HELD]
    assert entry.group_id == profit.group_id == stop.group_id
    assert [order.group_role for order in (entry, profit, stop)] == [Role.ENTRY, Role.TAKE_PROFIT, Role.STOP_LOSS]
    assert (profit.position_intent, stop.position_intent) == ("sell_to_close", "sell_to_close")
    house.quote("AAPL", "228.99", "229.00")
    house.hand.pass_by(1)
    assert [order.status for order in (entry, profit, stop)] == [Status.FILLED, Status.NEW, Status.HELD]
    assert house.refused("AAPL", "sell", 1, limit_price="300").extras["held_for_orders"] == "10"


async def test_the_take_profit_ends_the_stop(house: House) -> None:
    _, profit, stop = entered(house)
    house.quote("AAPL", "240.00", "240.01")
    house.hand.pass_by(1)
    assert (profit.status, stop.status, house.account.qty("AAPL")) == (Status.FILLED, Status.CANCELED, 0)


async def test_the_stop_ends_the_take_profit(house: House) -> None:
    _, profit, stop = entered(house)
    house.quote("AAPL", "219.98", "219.99")
    house.hand.pass_by(1)
    assert (profit.status, stop.status, house.account.qty("AAPL")) == (Status.CANCELED, Status.FILLED, 0)
    await house.store.settled()
    of_stop = [event for order_id, event in house.events if order_id == stop.id]
    assert of_stop[:2] == ["held", "new"]
    assert of_stop[-1] == "fill"


async def test_canceling_one_of_a_group_cancels_all(house: House) -> None:
    entry = house.send("AAPL", "buy", 10, limit_price="229", **BRACKET)
    profit, stop = house.legs(entry)
    house.hand.pass_by(1)
    house.desk.cancel(house.account, stop.id)
    house.hand.pass_by(1)
    assert {order.status for order in (entry, profit, stop)} == {Status.CANCELED}
    assert not house.account.open_orders


async def test_a_partial_take_profit_takes_its_quantity_from_the_stop(tmp_path: Path) -> None:
    house = House(tmp_path, fills="displayed")
    house.quote("AAPL", "229.99", "230.00")
    _, profit, stop = entered(house)
    house.quote("AAPL", "240.00", "240.01", 4)
    house.hand.pass_by(1)
    assert (profit.filled_qty, stop.qty) == (4, 6)
    house.quote("AAPL", "219.00", "219.01")
    house.hand.pass_by(1)
    assert (profit.status, stop.status, house.account.qty("AAPL")) == (Status.CANCELED, Status.FILLED, 0)


async def test_an_oco_closes_a_position_by_one_of_two(house: House) -> None:
    house.send("AAPL", "buy", 10)
    house.hand.pass_by(1)
    exits = {"take_profit": {"limit_price": "240"}, "stop_loss": {"stop_price": "220", "limit_price": "219"}}
    profit = house.send("AAPL", "sell", 10, type="limit", order_class="oco", **exits)
    (stop,) = house.legs(profit)
    house.hand.pass_by(1)
    assert (profit.group_role, profit.limit_price, profit.status) == (Role.TAKE_PROFIT, 240, Status.NEW)
    assert (stop.type, stop.status) == ("stop_limit", Status.HELD)
    house.quote("AAPL", "219.50", "219.51")
    house.hand.pass_by(1)
    assert (profit.status, stop.status) == (Status.CANCELED, Status.FILLED)


async def test_an_oto_brings_one_exit(house: House) -> None:
    entry = house.send("AAPL", "buy", 10, order_class="oto", stop_loss={"stop_price": "220"})
    (stop,) = house.legs(entry)
    house.hand.pass_by(1)
    assert (entry.status, stop.status) == (Status.FILLED, Status.NEW)
    house.quote("AAPL", "219.98", "219.99")
    house.hand.pass_by(1)
    assert stop.status is Status.FILLED


async def test_exits_lie_beyond_the_base_price(house: House) -> None:
    low = {**BRACKET, "stop_loss": {"stop_price": "230"}}
    refusal = house.refused("AAPL", "buy", 1, limit_price="230", **low)
    assert (refusal.code, refusal.message) == (42210000, "stop_loss.stop_price must be <= base_price - 0.01")
    assert refusal.extras == {"base_price": "230"}
    high = {**BRACKET, "take_profit": {"limit_price": "229"}}
    assert "take_profit.limit_price must be >=" in house.refused("AAPL", "buy", 1, limit_price="230", **high).message
    oco = {**BRACKET, "order_class": "oco", "type": "limit"}
    assert house.refused("AAPL", "sell", 1, **oco).message == "oco orders must be exit orders"


@pytest.mark.parametrize(
    ("side", "profit", "stop", "base"), [("buy", "231", "230", "230"), ("sell", "229", "230", "229")]
)
async def test_a_market_entrys_base_price_is_what_it_would_be_filled_at(
    house: House, side: str, profit: str, stop: str, base: str
) -> None:
    house.quote("AAPL", "229", "230")
    house.trade("AAPL", "229.5")
    exits = {"order_class": "bracket", "take_profit": {"limit_price": profit}, "stop_loss": {"stop_price": stop}}
    assert house.refused("AAPL", side, 1, **exits).extras == {"base_price": base}


async def test_groups_survive_a_restart(house: House, tmp_path: Path) -> None:
    _, profit, stop = entered(house)
    await house.store.close()
    again = House(tmp_path)
    orders = again.account.open_orders
    profit, stop = orders[profit.id], orders[stop.id]
    again.quote("AAPL", "219.98", "219.99")
    again.hand.pass_by(1)
    assert (profit.status, stop.status) == (Status.CANCELED, Status.FILLED)


async def test_a_replaced_stop_stays_held_and_triggers_at_its_new_price(house: House) -> None:
    _, profit, stop = entered(house)
    fresh = house.replace(stop, stop_price="225")
    house.hand.pass_by(1)
    assert (stop.status, fresh.status, fresh.parent_id) == (Status.REPLACED, Status.HELD, stop.parent_id)
    house.quote("AAPL", "224.98", "224.99")
    house.hand.pass_by(1)
    assert (profit.status, fresh.status) == (Status.CANCELED, Status.FILLED)


@pytest.mark.parametrize("order_class", ["bracket", "oto"])
async def test_an_entry_that_is_filled_before_its_replacement_keeps_its_exits(house: House, order_class: str) -> None:
    exits = BRACKET if order_class == "bracket" else {"order_class": "oto", "stop_loss": {"stop_price": "220"}}
    entry = house.send("AAPL", "buy", 10, limit_price="229", **exits)
    legs = house.legs(entry)
    house.hand.pass_by(1)
    house.core.faults.add({"kind": "fill_before_replace"})
    fresh = house.replace(entry, limit_price="228")
    house.hand.pass_by(1)
    assert (entry.status, fresh.status) == (Status.FILLED, Status.REJECTED)
    assert [leg.status for leg in legs] == [Status.NEW, Status.HELD][: len(legs)]
    house.quote("AAPL", "219.98", "219.99")
    house.hand.pass_by(1)
    assert (legs[-1].status, house.account.qty("AAPL")) == (Status.FILLED, 0)


async def test_a_leg_that_is_being_replaced_while_its_entry_is_filled_works(house: House) -> None:
    entry = house.send("AAPL", "buy", 10, limit_price="229", **BRACKET)
    profit, _ = house.legs(entry)
    house.hand.pass_by(1)
    fresh = house.replace(profit, limit_price="241")
    house.core.floor.fill_all(entry)
    house.hand.pass_by(1)
    assert (profit.status, fresh.status) == (Status.REPLACED, Status.NEW)
    house.quote("AAPL", "241.00", "241.01")
    house.hand.pass_by(1)
    assert (fresh.status, house.account.qty("AAPL")) == (Status.FILLED, 0)
    assert not house.account.open_orders


async def test_a_replaced_entry_takes_its_legs_along(house: House) -> None:
    entry = house.send("AAPL", "buy", 10, limit_price="229", **BRACKET)
    profit, stop = house.legs(entry)
    house.hand.pass_by(1)
    fresh = house.replace(entry, limit_price="230")
    house.hand.pass_by(1)
    assert (entry.status, fresh.status) == (Status.REPLACED, Status.FILLED)
    assert (profit.parent_id, profit.status, stop.status) == (fresh.id, Status.NEW, Status.HELD)


async def test_a_stop_that_is_replaced_before_its_take_profit_works_triggers_once_it_is_there(house: House) -> None:
    """Found by test_whatever_comes: the replacement was worked while still pending_new, and filled while held."""
    house.send("AAPL", "sell", 3)
    house.hand.pass_by(1)
    exits = {"take_profit": {"limit_price": "220"}, "stop_loss": {"stop_price": "240"}}
    profit = house.send("AAPL", "buy", 1, type="limit", order_class="oco", **exits)
    (stop,) = house.legs(profit)
    reached = house.replace(stop, stop_price="235")
    house.quote("AAPL", "235.00", "235.01")
    house.hand.pass_by(1)
    assert (profit.status, stop.status) == (Status.CANCELED, Status.REPLACED)
    assert (reached.status, reached.filled_qty) == (Status.FILLED, 1)
    await house.store.settled()
    told = [event for order_id, event in house.events if order_id == reached.id]
    assert told == ["pending_new", "held", "new", "fill"]


async def test_an_exit_whose_cancel_is_turned_down_after_its_entry_was_filled_works(house: House) -> None:
    """Found by test_whatever_comes: it rested in the market while it was held."""
    entry = house.send("AAPL", "buy", 1, limit_price="225", **BRACKET)
    house.hand.pass_by(1)
    profit, stop = house.legs(entry)
    house.core.faults.add({"kind": "reject_cancel"})
    house.desk.cancel(house.account, profit.id)
    house.core.floor.fill_all(entry)
    house.hand.pass_by(1)
    assert (entry.status, profit.status, stop.status) == (Status.FILLED, Status.NEW, Status.HELD)
    assert profit.hold_qty == 1


@pytest.mark.parametrize(
    ("which", "changes", "why"),
    [
        ("stop", {"stop_price": "229"}, "stop_loss.stop_price must be <= base_price - 0.01"),
        ("stop", {"stop_price": "245"}, "take_profit.limit_price must be > stop_loss.stop_price"),
        ("profit", {"limit_price": "229"}, "take_profit.limit_price must be >= base_price + 0.01"),
        ("profit", {"limit_price": "219"}, "take_profit.limit_price must be > stop_loss.stop_price"),
        ("entry", {"limit_price": "220"}, "stop_loss.stop_price must be <= base_price - 0.01"),
    ],
)
async def test_what_a_group_may_not_be_sent_with_it_may_not_become(
    house: House, which: str, changes: dict[str, str], why: str
) -> None:
    entry = house.send("AAPL", "buy", 10, limit_price="229", **BRACKET)
    profit, stop = house.legs(entry)
    house.hand.pass_by(1)
    order = {"entry": entry, "profit": profit, "stop": stop}[which]
    assert house.not_replaced(order, **changes) == why


async def test_once_the_entry_is_filled_the_stop_may_follow_into_the_profit(house: House) -> None:
    _, profit, stop = entered(house)
    house.quote("AAPL", "235.00", "235.01")
    assert house.not_replaced(stop, stop_price="236") == "stop_loss.stop_price must be <= base_price - 0.01"
    house.replace(stop, stop_price="234")
    house.replace(profit, limit_price="234.50")
    house.hand.pass_by(1)
    assert (stop.status, profit.status) == (Status.REPLACED, Status.REPLACED)
