"""What the house does to an account by hand."""

from decimal import Decimal
from pathlib import Path

from tests.unit.paperbroker.house import House

from paperbroker.books import Books
from paperbroker.statuses import Event

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
