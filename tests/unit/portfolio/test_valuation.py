"""Positions valued in one pass: only what changed, unpriced is None, stale keeps its value."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from oms.domain.market import Price
from oms.domain.positions import Position
from oms.domain.values import AssetClass
from oms.portfolio.valuation import revalued

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
D = Decimal


def position(qty: str = "10", avg: str = "100", symbol: str = "AAPL") -> Position:
    return Position(uuid4(), UUID(int=1), symbol, AssetClass.STOCK, qty=D(qty), avg_price=D(avg))


def price(last: str | None, *, fresh: bool = True, at: datetime | None = AT, symbol: str = "AAPL") -> Price:
    return Price(symbol, None if last is None else D(last), None, None, at, fresh)


def with_price(held: Position, last: str, *, stale: bool = False, at: datetime = AT) -> Position:
    return replace(held, last_price=D(last), price_time=at, stale=stale)


def test_long_short_and_flat() -> None:
    long, short, flat = position("10"), position("-2"), position("0", "0")
    values = revalued([long, short, flat], {"AAPL": price("101.5")})
    assert [one.position_id for one in values] == [long.id, short.id, flat.id]
    assert {(one.last_price, one.price_time, one.stale) for one in values} == {(D("101.5"), AT, False)}
    priced = [with_price(held, "101.5") for held in (long, short, flat)]
    assert [(one.market_value, one.unrealized_pnl) for one in priced] == [
        (D("1015.0"), D("15.0")),
        (D("-203.0"), D("-3.0")),
        (D(0), D(0)),
    ]


def test_unpriced_is_none_and_never_zero() -> None:
    assert revalued([position()], {}) == []
    assert revalued([position()], {"AAPL": price(None, fresh=False, at=None)}) == []


def test_a_price_that_is_gone_or_old_keeps_its_value_as_stale() -> None:
    held = with_price(position(), "101")
    (gone,) = revalued([held], {})
    (old,) = revalued([held], {"AAPL": price("101", fresh=False)})
    assert gone == old
    assert (gone.stale, gone.last_price, gone.price_time) == (True, D(101), AT)
    assert revalued([with_price(position(), "101", stale=True)], {}) == []


def test_only_what_changed_is_returned() -> None:
    held = with_price(position(), "101")
    assert revalued([held], {"AAPL": price("101.00")}) == []
    assert revalued([held], {"AAPL": price("101", at=AT + timedelta(seconds=59))}) == []
    assert [one.price_time for one in revalued([held], {"AAPL": price("101", at=AT + timedelta(minutes=1))})]
    assert len(revalued([held], {"AAPL": price("101.01")})) == 1
    assert [one.stale for one in revalued([with_price(held, "101", stale=True)], {"AAPL": price("101")})] == [False]


def test_ten_thousand_positions_take_milliseconds() -> None:
    held = [position(symbol=f"S{n}") for n in range(10_000)]
    prices = {f"S{n}": price("101", symbol=f"S{n}") for n in range(10_000)}
    started = time.process_time()
    assert len(revalued(held, prices)) == 10_000
    assert time.process_time() - started < 0.5
