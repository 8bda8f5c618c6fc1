"""The audit over a real record: clean as the engine wrote it, and each kind of damage named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest

from oms.audit.audit import audit_record
from oms.domain.instruments import Symbols
from oms.domain.orders import Order, OrderStatus
from oms.domain.positions import Adjustment, AdjustmentKind
from oms.domain.reports import BrokerAccount, BrokerFill, BrokerOrder, BrokerPosition
from oms.domain.signals import Signal
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce
from oms.execution.book import Book, LateEntry
from oms.ports import Changes
from oms.risk.gate import ApprovedOrder
from oms.storage.audit import PostgresRecord
from oms.storage.database import Pool, open_pool
from oms.storage.engine import PostgresStore
from oms.storage.signals import PostgresSignalStore
from oms.system import new_id

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
TOTALS = BrokerAccount("b-1", "PA1", "ACTIVE", "USD", Decimal(1), Decimal(2), Decimal(3), False)


class Trading:
    """An engine's store and book, without the engine: what it commits is what the engine would."""

    def __init__(self, pool: Pool, account_id: UUID, epoch: int, book: Book) -> None:
        self.pool = pool
        self.account_id = account_id
        self.epoch = epoch
        self.book = book
        self._numbers = count(1)

    async def commit(self, changes: Changes) -> None:
        await PostgresStore(self.pool).commit(self.account_id, self.epoch, changes)

    async def accept(self, symbol: str, side: str, qty: str) -> Order:
        asset_class = AssetClass.CRYPTO if "/" in symbol else AssetClass.STOCK
        signal = Signal(
            f"s-{next(self._numbers)}", "rest", symbol, asset_class, Side(side), Decimal(qty), OrderType.MARKET,
            TimeInForce.GTC, reason="why",
        )  # fmt: skip
        [answer] = await PostgresSignalStore(self.pool).accept(self.account_id, [(new_id(), signal, NOW)])
        return answer.order

    async def trade(self, symbol: str, side: str, qty: str, price: str, pieces: int = 1) -> Order:
        """One order that is accepted, approved, sent and filled in equal pieces."""
        order = await self.accept(symbol, side, qty)
        fee_rate = Decimal("0.0025") if order.asset_class is AssetClass.CRYPTO else None
        checks = [{"code": "X", "verdict": "pass", "value": Decimal("1.50")}]
        await self.commit(self.book.approve(ApprovedOrder(order, Decimal(qty), checks), fee_rate))
        place = f"b-{order.seq}"
        seen = BrokerOrder(
            place, order.client_order_id, symbol, order.asset_class, order.side, Decimal(qty), "market",
            TimeInForce.GTC, OrderStatus.SUBMITTED, "new", Decimal(0), None, None, NOW, NOW,
        )  # fmt: skip
        changes = self.book.observe(self.book.orders[order.id], seen)
        for piece in range(1, pieces + 1):
            one = Decimal(qty) / pieces
            at = NOW + timedelta(seconds=order.seq, milliseconds=piece)
            fill = BrokerFill(place, symbol, order.side, one, Decimal(price), one * piece, at, f"{place}-{piece}")
            changes.merge(self.book.fill(self.book.orders[order.id], fill))
        await self.commit(changes)
        return self.book.orders[order.id]


@pytest.fixture
async def trading(migrated_database_url: str) -> AsyncIterator[Trading]:
    """A record with stocks and coins, long, short and flat, a refusal, an unknown outcome and an order of others."""
    pool = await open_pool(migrated_database_url, size=4, name="test")
    store = PostgresStore(pool)
    account_id = await store.register_account(TOTALS, "hash", "address", NOW)
    epoch = await store.take_lease(account_id, "one", 600)
    assert epoch is not None
    ticks = count()
    book = Book(
        await store.load(account_id), Symbols([], {}), new_id, lambda: NOW + timedelta(microseconds=next(ticks))
    )
    trading = Trading(pool, account_id, epoch, book)
    await trading.commit(
        book.adopt_position(BrokerPosition("SPY", AssetClass.STOCK, Decimal(7), Decimal("500.5")), NOW)
    )
    await trading.trade("AAPL", "buy", "10", "189.23", pieces=2)
    await trading.trade("AAPL", "sell", "25", "190.01", pieces=5)
    await trading.trade("BTC/USD", "buy", "0.3", "65000.55", pieces=3)
    await trading.trade("BTC/USD", "sell", "0.1", "66000.45")
    await trading.trade("MSFT", "buy", "3", "400")
    await trading.trade("MSFT", "sell", "3", "390")
    refused = await trading.accept("TSLA", "buy", "1")
    await trading.commit(book.reject(refused, "MAX_ORDER_QTY", "too many", [{"code": "MAX_ORDER_QTY"}]))
    lost = await trading.accept("NVDA", "buy", "1")
    changes = book.approve(ApprovedOrder(lost, Decimal(1), []), None)
    changes.merge(book.mark_unknown(book.orders[lost.id], "no answer"))
    await trading.commit(changes)
    replaced = BrokerOrder(
        "foreign", "theirs", "QQQ", AssetClass.STOCK, Side.BUY, Decimal(2), "stop", TimeInForce.DAY,
        OrderStatus.REPLACED, "replaced", Decimal(0), None, None, NOW, NOW, replaced_by="another",
    )  # fmt: skip
    await trading.commit(book.adopt(replaced, baseline=Decimal(0)))
    yield trading
    await pool.close()


async def test_what_the_engine_wrote_is_clean(trading: Trading) -> None:
    findings = await audit_record(PostgresRecord(trading.pool))
    assert [one.as_data() for one in findings.differences] == []
    assert findings.is_clean
    assert (findings.checked["orders"], findings.checked["fills"], findings.checked["positions"]) == (9, 13, 4)


AAPL = "(select id from orders where symbol = 'AAPL' and side = 'buy')"
OTHER = UUID(int=7)
OTHER_ACCOUNT = f"insert into accounts (id, name, broker_account_id, created_at) values ('{OTHER}', 'b', 'b', now())"
NO_GUARD = "alter table order_events disable trigger user"
DAMAGE = [
    ("update orders set status = 'cancelled' where symbol = 'MSFT' and side = 'buy'", "order", "status"),
    (f"update orders set filled_qty = 9 where id = {AAPL}", "order", "filled_qty"),
    (f"update orders set filled_value = filled_value + 0.01 where id = {AAPL}", "order", "filled_value"),
    (f"update orders set alpaca_id = 'other' where id = {AAPL}", "order", "alpaca_id"),
    ("update orders set error_message = 'nice' where symbol = 'TSLA'", "order", "error_message"),
    ("update orders set outcome_unknown = false where symbol = 'NVDA'", "order", "outcome_unknown"),
    ("update orders set attempt_epoch = 9 where symbol = 'NVDA'", "order", "attempt_epoch"),
    ("update orders set attempted_at = null where symbol = 'NVDA'", "order", "attempted_at"),
    (f"update orders set checks = '[]' where id = {AAPL}", "order", "checks"),
    (f"update orders set reason = 'other' where id = {AAPL}", "order", "reason"),
    (f"update orders set client_order_id = 'other' where id = {AAPL}", "order", "client_order_id"),
    (f"update orders set updated_at = updated_at + interval '1 us' where id = {AAPL}", "order", "updated_at"),
    (f"update orders set version = version + 1 where id = {AAPL}", "order", "version"),
    (f"update orders set busted_qty = 1 where id = {AAPL}", "order", "busted_qty"),
    ("update orders set error_message = null where symbol = 'QQQ'", "order", "error_message"),
    (f"delete from fills where order_id = {AAPL} and cum_qty = 10", "fill", "row"),
    (f"update fills set price = 1 where order_id = {AAPL} and cum_qty = 10", "fill", "price"),
    (f"update fills set qty = 4 where order_id = {AAPL} and cum_qty = 10", "fill", "begins"),
    (f"update fills set execution_id = 'other' where order_id = {AAPL} and cum_qty = 10", "fill", "execution_id"),
    (f"update fills set symbol = 'SPY' where order_id = {AAPL} and cum_qty = 10", "fill", "symbol"),
    ("delete from adjustments where kind = 'fee' and cum_qty = 0.2", "fee", "fee_qty"),
    ("update adjustments set cash = cash * 2 where kind = 'fee' and cash <> 0", "fee", "fee_cash"),
    ("update adjustments set cum_qty = 7 where kind = 'fee' and cash <> 0", "fee", "fill"),
    ("update positions set qty = qty + 1 where symbol = 'AAPL'", "position", "qty"),
    ("update positions set avg_price = avg_price + 0.000001 where symbol = 'BTC/USD'", "position", "avg_price"),
    ("update positions set realized_pnl = realized_pnl + 0.01 where symbol = 'MSFT'", "position", "realized_pnl"),
    ("update positions set fees = 0 where symbol = 'BTC/USD'", "position", "fees"),
    ("update positions set last_price = 1, market_value = 99 where symbol = 'AAPL'", "position", "market_value"),
    ("update positions set asset_class = 'stock' where symbol = 'BTC/USD'", "position", "asset_class"),
    (f"{OTHER_ACCOUNT}; update orders set account_id = '{OTHER}' where id = {AAPL}", "order", "account_id"),
    (f"{OTHER_ACCOUNT}; update fills set account_id = '{OTHER}' where symbol = 'MSFT'", "order", "account_id"),
    ("delete from positions where symbol = 'SPY'", "position", "row"),
    ("delete from adjustments where kind = 'adopted'", "position", "qty"),
    (f"{NO_GUARD}; delete from order_events where seq = 4", "event", "events"),
    (f"{NO_GUARD}; delete from order_events where seq = 1", "event", "first event"),
    (f"{NO_GUARD}; update order_events set status = 'held' where seq = 2", "event", "approved, held"),
    (f"{NO_GUARD}; update order_events set kind = 'accepted' where seq = 4", "event", "accepted a second time"),
    (f"{NO_GUARD}; delete from order_events where order_id = {AAPL}", "order", "events"),
    ("update accounts set event_seq = event_seq + 1", "event", "last event"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "kind", "what"), DAMAGE, ids=[one[0][:70] for one in DAMAGE])
async def test_damage_is_named(trading: Trading, statement: str, kind: str, what: str) -> None:
    async with trading.pool.acquire() as db:
        await db.execute(statement)
    findings = await audit_record(PostgresRecord(trading.pool))
    assert (kind, what) in {(one.kind, one.what) for one in findings.differences}


async def test_what_was_busted_or_corrected_is_audited_too(trading: Trading) -> None:
    order = await trading.trade("IBM", "buy", "4", "150")
    at = NOW + timedelta(hours=1)
    taken_back = BrokerFill(
        order.alpaca_id or "", "IBM", Side.BUY, Decimal(4), Decimal(150), Decimal(4), at, "bust-1", is_bust=True
    )  # fmt: skip
    await trading.commit(trading.book.bust(trading.book.orders[order.id], taken_back, None, at))
    correction = Adjustment(
        new_id(), trading.account_id, "MSFT", AdjustmentKind.CORRECTION, Decimal(2), Decimal(391), Decimal(0),
        NOW + timedelta(hours=2), "drift:1",
    )  # fmt: skip
    await trading.commit(trading.book.adjust(correction, AssetClass.STOCK))
    record = PostgresRecord(trading.pool)
    assert [one.as_data() for one in (await audit_record(record)).differences] == []
    for kind, symbol in (("bust", "IBM"), ("correction", "MSFT")):
        await trading.pool.execute("delete from adjustments where kind = $1", kind)
        found = {(one.kind, one.subject, one.what) for one in (await audit_record(record)).differences}
        assert ("position", symbol, "qty") in found


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_a_coin_fill_that_was_busted_with_its_fee_is_clean(trading: Trading, side: str) -> None:
    """What the bust gives back of the fee stands at the place of the fill, as the fee itself does."""
    order = await trading.trade("BTC/USD", side, "0.1", "64000", pieces=2)
    store = PostgresStore(trading.pool)
    stored = await store.find_order(trading.account_id, None, None, order.id)
    assert stored is not None
    fill, at = stored.fills[1], NOW + timedelta(hours=1)
    taken_back = BrokerFill(
        fill.broker_order_id, "BTC/USD", fill.side, fill.qty, fill.price, Decimal(0), at, None, "bust-1", is_bust=True
    )
    try:
        changes = trading.book.bust(order, taken_back, fill, at)
    except LateEntry as late:
        changes = trading.book.recompute(late, await store.entries(trading.account_id, "BTC/USD", None))
    await trading.commit(changes)
    record = PostgresRecord(trading.pool)
    assert [one.as_data() for one in (await audit_record(record)).differences] == []
    await trading.pool.execute("update adjustments set qty = qty * 2, cash = cash * 2 where reference like 'fee:bust%'")
    assert not (await audit_record(record)).is_clean


async def test_an_audit_sees_one_moment_while_the_engine_writes(trading: Trading) -> None:
    """Between its looks at two tables a whole trade is committed: it is in none of what the audit reads."""
    record = PostgresRecord(trading.pool)
    async with record.snapshot() as snapshot:
        before = [order["id"] async for order in snapshot.orders()]
        late = await trading.trade("AMD", "buy", "1", "100")
        assert late.id not in {event["order_id"] async for event in snapshot.events()}
        assert late.id not in {fill["order_id"] async for fill in snapshot.fills()}
        assert "AMD" not in {row["symbol"] for row in await snapshot.positions()}
        assert [order["id"] async for order in snapshot.orders()] == before
    assert (await audit_record(record)).is_clean
