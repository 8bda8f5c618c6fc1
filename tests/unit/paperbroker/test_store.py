"""The store: folders of earlier versions, and memory that forgets what has ended."""

import gc
import sqlite3
from pathlib import Path

from tests.unit.paperbroker.house import House

from paperbroker import tables
from paperbroker.orders import Order
from paperbroker.store import Store
from paperbroker.updates import Update

_SECOND_VERSION = """
create table orders (id text primary key, account_id text not null, seq integer not null, client_order_id text not null,
    symbol text not null, side text not null, asset_class text not null, is_open integer not null,
    submitted_ns integer not null, parent_id text, wire blob not null, state blob);
create unique index orders_client_order_id on orders (account_id, client_order_id);
create index orders_submitted on orders (account_id, submitted_ns, seq);
create index orders_open on orders (account_id, submitted_ns, seq) where is_open = 1;
create unique index orders_seq on orders (seq);
create index orders_parent on orders (parent_id, seq) where parent_id is not null;
pragma user_version = 2;
"""


async def test_a_folder_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    house = House(tmp_path / "new")
    house.quote("AAPL", "229.99", "230")
    order = house.send("AAPL", "buy", 1, limit_price="1", client_order_id="mine")
    await house.store.close()

    (tmp_path / "old").mkdir()
    old = sqlite3.connect(tmp_path / "old" / "paperbroker.sqlite", isolation_level=None)
    old.executescript(_SECOND_VERSION)
    columns = "id, account_id, seq, client_order_id, symbol, side, asset_class, is_open, submitted_ns, parent_id, wire"
    with sqlite3.connect(tmp_path / "new" / "paperbroker.sqlite") as new:
        rows = new.execute(f"select {columns}, state from orders").fetchall()
    old.executemany(f"insert into orders ({columns}, state) values ({', '.join('?' * 12)})", rows)
    old.close()

    store = Store(tmp_path / "old")
    assert [kept.id for kept in store.load_open_orders()] == [order.id]
    assert store.client_order_id_taken(order.account_id, "mine")
    assert store.next_order_seq() == order.seq + 1
    assert store.read("pragma user_version") == [(tables.SCHEMA_VERSION,)]
    names = {str(name) for (name,) in store.read("select name from sqlite_master where type = 'index'")}
    assert "orders_now_open" in names
    assert "orders_seq" not in names
    await store.close()


async def test_an_id_is_taken_before_and_after_its_commit(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.quote("AAPL", "229.99", "230")
    house.send("AAPL", "buy", 1, limit_price="1", client_order_id="mine")
    assert house.refused("AAPL", "buy", 1, limit_price="1", client_order_id="mine").status == 422
    await house.store.settled()
    assert house.refused("AAPL", "buy", 1, limit_price="1", client_order_id="mine").status == 422
    await house.store.close()


def _alive() -> list[str]:
    """What is in memory of this test's orders: they themselves, and what was told of them."""
    gc.collect()
    things = [thing for thing in gc.get_objects() if isinstance(thing, Order | Update)]
    return [thing.client_order_id for thing in things if thing.client_order_id.startswith("forgotten-")]


async def test_nothing_is_left_in_memory_of_orders_that_have_ended(tmp_path: Path) -> None:
    house = House(tmp_path)
    for number in range(40):
        house.quote("AAPL", "229.99", "230")
        fields = {"limit_price": "1"} if number % 4 == 0 else {}
        order = house.send("AAPL", "buy", 1, client_order_id=f"forgotten-{number}", **fields)
        if number == 0:  # the looking itself sees what is there; it takes long in a heap of many tests
            assert "forgotten-0" in _alive()
        if fields:
            house.desk.cancel(house.account, order.id)
        house.hand.pass_by(1)
        await house.store.settled()
        house.told.clear()
        house.events.clear()
    del order
    assert not house.account.open_orders
    assert _alive() == []
    assert house.store.read("select count(*) from orders") == [(40,)]
    await house.store.close()


async def test_an_order_that_has_ended_can_be_kept_once_more(tmp_path: Path) -> None:
    """Found by test_whatever_comes: it was taken for a fresh one, and the commit failed."""
    house = House(tmp_path)
    house.quote("AAPL", "229.99", "230")
    order = house.send("AAPL", "buy", 1)
    house.hand.pass_by(1)
    await house.store.settled()
    assert not order.is_open
    house.ledger.keep(order)
    await house.store.settled()
    await house.store.close()
    again = House(tmp_path)
    again.send("AAPL", "buy", 1, limit_price="1")
    await again.store.settled()
    assert again.store.read("select count(*) from orders") == [(2,)]
    await again.store.close()
