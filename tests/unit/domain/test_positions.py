"""What holds of positions, whatever fills and adjustments come, in whatever order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.domain.positions import Entry, Position, applied, recomputed
from oms.domain.values import AssetClass

START = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
FLAT = Position(UUID(int=1), UUID(int=2), "AAPL", AssetClass.STOCK)

quantities = st.decimals("0.001", "500", places=3).flatmap(lambda qty: st.sampled_from([qty, -qty]))
prices = st.decimals("0.01", "5000", places=2)


@st.composite
def entries(draw: st.DrawFn, fees: bool = True) -> list[Entry]:
    """Steps at rising times: fills, and between them fees in coin or dollars."""
    steps: list[Entry] = []
    for place in range(draw(st.integers(1, 25))):
        at = START + timedelta(seconds=place)
        steps.append(Entry((at, "order", Decimal(place + 1), 0), draw(quantities), draw(prices)))
        if fees and draw(st.booleans()):
            coin = draw(st.sampled_from([Decimal(0), Decimal("-0.0005")]))
            cash = Decimal(0) if coin else -draw(st.decimals("0.01", "5", places=2))
            steps.append(Entry((at, "order", Decimal(place + 1), 1), coin, None, cash, is_fee=True))
    return steps


def fold(steps: list[Entry], position: Position = FLAT) -> Position:
    for step in steps:
        position = applied(position, step)
    return position


@given(entries())
def test_quantity_is_the_sum_of_fills_and_adjustments(steps: list[Entry]) -> None:
    assert fold(steps).qty == sum((step.qty for step in steps), Decimal(0))


@given(entries(), prices)
def test_profit_is_conserved(steps: list[Entry], last: Decimal) -> None:
    """Money paid and received plus what is held is worth exactly realised plus unrealised P&L."""
    position = fold(steps)
    cash = sum((-step.qty * step.price for step in steps if step.price is not None), Decimal(0))
    cash += sum((step.cash for step in steps), Decimal(0))
    worth = cash + position.qty * last
    told = position.realized_pnl + position.qty * (last - position.avg_price)
    assert abs(worth - told) < Decimal("1e-6")


@given(entries(), st.randoms(use_true_random=False))
def test_any_order_of_arrival_ends_the_same(steps: list[Entry], random: object) -> None:
    """A step that comes late makes the position be computed again; the result is that of the right order."""
    shuffled = list(steps)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    position, arrived = FLAT, list[Entry]()
    for step in shuffled:
        arrived.append(step)
        if position.takes(step):
            position = applied(position, step)
        elif position.needs_all(step):
            position = recomputed(position, arrived, from_beginning=True)
        else:
            assert position.flat_key is not None
            since = [one for one in arrived if one.key > position.flat_key]
            position = recomputed(position, since, from_beginning=False)
    expected = fold(steps)
    for name in ("qty", "avg_price", "realized_pnl", "fees", "last_key", "flat_key", "opened_at"):
        assert getattr(position, name) == getattr(expected, name), name


@pytest.mark.parametrize(
    ("steps", "qty", "avg_price", "realized"),
    [
        ([("10", "100"), ("10", "110")], "20", "105", "0"),
        ([("10", "100"), ("-4", "110")], "6", "100", "40"),
        ([("10", "100"), ("-10", "90")], "0", "0", "-100"),
        ([("10", "100"), ("-15", "110")], "-5", "110", "100"),  # long to short: the rest opens at the fill's price
        ([("-5", "110"), ("5", "100")], "0", "0", "50"),
        ([("-5", "110"), ("-5", "120"), ("2", "100")], "-8", "115", "30"),
        ([("-5", "110"), ("8", "100")], "3", "100", "50"),
        ([("3", "100"), ("-3", "101"), ("2", "50")], "2", "50", "3"),
    ],
)
def test_average_cost(steps: list[tuple[str, str]], qty: str, avg_price: str, realized: str) -> None:
    position = fold(
        [
            Entry((START + timedelta(seconds=place), "o", Decimal(place), 0), Decimal(each), Decimal(price))
            for place, (each, price) in enumerate(steps)
        ]
    )
    assert (position.qty, position.avg_price, position.realized_pnl) == (
        Decimal(qty),
        Decimal(avg_price),
        Decimal(realized),
    )


def test_a_fee_in_coin_is_lost_at_cost() -> None:
    """Buying 0.1 at 50,000 with 0.25 % taken in coin holds 0.09975 at 50,000 and has lost 12.50."""
    position = fold(
        [
            Entry((START, "o", Decimal("0.1"), 0), Decimal("0.1"), Decimal(50000)),
            Entry((START, "o", Decimal("0.1"), 1), Decimal("-0.00025"), None, is_fee=True),
        ]
    )
    assert (position.qty, position.avg_price) == (Decimal("0.09975"), Decimal(50000))
    assert (position.realized_pnl, position.fees) == (Decimal("-12.5"), Decimal("12.5"))


def test_unpriced_is_none_not_zero() -> None:
    held = fold([Entry((START, "o", Decimal(1), 0), Decimal(10), Decimal(100))])
    assert held.market_value is None
    assert held.unrealized_pnl is None
