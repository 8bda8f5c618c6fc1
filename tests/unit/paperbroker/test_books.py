"""What the house does to an account by hand."""

from decimal import Decimal
from pathlib import Path

from tests.unit.paperbroker.house import House

from paperbroker.books import Books
from paperbroker.statuses import Event, Status

D = Decimal


async def test_a_trade_by_hand_that_costs_more_than_there_is_gets_rejected(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.quote("ETH/BTC", "0.0399", "0.04")
    books = Books(house.core)
    books.trade(house.account, "ETH/BTC", "buy", "12", D("0.0416"))  # 0.48 of 0.5 BTC are enough, 0.4992 as well
    books.trade(house.account, "ETH/BTC", "sell", "11.97", D("0.04"))
    held = house.account.qty("BTC/USD")
    books.trade(house.account, "ETH/BTC", "buy", "11", D("0.05"))
    await house.store.settled()
    assert (house.account.qty("BTC/USD"), house.account.open_orders) == (held, {})
    assert [event for event, _ in house.told[-3:]] == [Event.PENDING_NEW, Event.NEW, Event.REJECTED]
    await house.store.close()


async def test_what_comes_in_the_turn_of_a_reset_is_kept(tmp_path: Path) -> None:
    """It was open in memory and gone from the store: 404, and in the way of other orders."""
    house = House(tmp_path)
    house.quote("AAPL", "229.99", "230")
    house.send("AAPL", "buy", 1, limit_price="1")
    await house.store.settled()
    order = house.send("AAPL", "buy", 1, limit_price="1")
    Books(house.core).reset(house.account, None, None)
    assert order.status is Status.CANCELED
    order = house.send("AAPL", "buy", 1, limit_price="1")
    await house.store.settled()
    assert house.store.read("select id from orders") == [(order.id,)]
    assert list(house.account.open_orders) == [order.id]
    await house.store.close()


async def test_a_bust_is_kept_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.quote("AAPL", "229.99", "230")
    order = house.send("AAPL", "buy", 10)
    house.hand.pass_by(1)
    await house.store.settled()
    Books(house.core).bust(house.told[-1][1].id)

    def kept() -> tuple[bool, bool, bool]:
        """What the store has of it: the position, the order, the activity."""
        ((account,),) = house.store.read("select state from accounts")
        ((wire,),) = house.store.read("select wire from orders where id = ?", (order.id,))
        ((activities,),) = house.store.read("select count(*) from activities")
        return b'"AAPL"' not in account, b'"filled_qty":"0"' in wire, activities == 2

    assert kept() == (False, False, False)
    await house.store.settled()
    assert kept() == (True, True, True)
    await house.store.close()
