"""What the gate refuses, what it says, and what it lets pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from oms.domain.instruments import Instrument
from oms.domain.market import Price
from oms.domain.orders import Order
from oms.domain.reports import MarketClock
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce
from oms.risk.controls import RiskView
from oms.risk.gate import ApprovedOrder, RefusedOrder, check
from oms.risk.limits import Limits

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
OPEN = MarketClock(NOW, True, datetime(2026, 3, 3, 14, 30, tzinfo=UTC), datetime(2026, 3, 2, 21, 0, tzinfo=UTC))
CLOSED = replace(OPEN, is_open=False)
AAPL = Instrument("AAPL", AssetClass.STOCK, "1")
BTC = Instrument("BTC/USD", AssetClass.CRYPTO, "2", qty_min=Decimal("0.00001"), qty_increment=Decimal("0.000000001"))


def order(side: str = "buy", qty: str | None = "10", instrument: Instrument = AAPL, **more: object) -> Order:
    made = Order(
        UUID(int=1), UUID(int=2), "c", instrument.symbol, instrument.asset_class, Side(side),
        None if qty is None else Decimal(qty), OrderType.MARKET, TimeInForce.DAY, NOW,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def limits(**values: str) -> Limits:
    modes = {key: mode for key, mode in values.items() if mode in {"warn", "off"}}
    return Limits.read(1, {key: value for key, value in values.items() if key not in modes}, modes)


def view(instrument: Instrument = AAPL, bid: str = "99", ask: str = "100", **more: object) -> RiskView:
    price = Price(instrument.symbol, Decimal(bid), Decimal(bid), Decimal(ask), NOW, fresh=True)
    made = RiskView(instrument, Decimal(0), Decimal(0), Decimal(0), price, OPEN, NOW, Decimal(0), limits())
    return replace(made, **more)  # type: ignore[arg-type]


def refusal(order: Order, view: RiskView) -> RefusedOrder:
    verdict = check(order, view)
    assert isinstance(verdict, RefusedOrder), "it was approved"
    return verdict


def test_an_ordinary_order_passes() -> None:
    verdict = check(order(), view())
    assert isinstance(verdict, ApprovedOrder)
    assert verdict.qty == 10


@pytest.mark.parametrize(
    ("instrument", "qty", "passes"),
    [(AAPL, "100", True), (AAPL, "101", False), (BTC, "1", True), (BTC, "1.000000001", False)],
)
def test_quantity_limits(instrument: Instrument, qty: str, passes: bool) -> None:
    around = view(instrument, limits=limits(max_position_size_usd="100000000"))
    verdict = check(order("buy", qty, instrument), around)
    assert isinstance(verdict, ApprovedOrder) is passes
    if isinstance(verdict, RefusedOrder):
        assert verdict.code == "MAX_ORDER_QTY"
        assert "up to" in verdict.message


def test_the_position_limit_counts_open_orders_and_says_what_would_pass() -> None:
    refused = refusal(order("buy", "41"), view(position_qty=Decimal(30), open_buys=Decimal(30)))
    assert refused.code == "MAX_POSITION_SIZE"
    assert "101 x 100 = 10100 USD" in refused.message
    assert "up to 40 passes" in refused.message
    assert isinstance(check(order("buy", "40"), view(position_qty=Decimal(30), open_buys=Decimal(30))), ApprovedOrder)


def test_limits_use_the_ask_to_buy_and_the_bid_to_sell() -> None:
    wide = {"bid": "100", "ask": "101", "limits": limits(max_order_qty_stock="1000")}
    assert isinstance(check(order("buy", "100"), view(**wide)), RefusedOrder)  # type: ignore[arg-type]
    assert isinstance(check(order("sell", "100"), view(**wide)), ApprovedOrder)  # type: ignore[arg-type]


def test_an_exit_passes_above_the_limit_and_without_a_price() -> None:
    held = view(position_qty=Decimal(500), price=None, limits=limits(max_order_qty_stock="1000"))
    assert isinstance(check(order("sell", "500"), held), ApprovedOrder)
    assert refusal(order("sell", "501"), held).code == "PRICE_STALE"  # it would go short


def test_a_second_exit_is_not_one() -> None:
    held = view(position_qty=Decimal(50), open_sells=Decimal(30), price=None)
    assert isinstance(check(order("sell", "20"), held), ApprovedOrder)
    assert refusal(order("sell", "21"), held).code == "PRICE_STALE"


@pytest.mark.parametrize("fresh", [True, False])
def test_a_stale_price_stops_what_increases_risk(fresh: bool) -> None:
    price = Price("AAPL", Decimal(99), Decimal(99), Decimal(100), NOW, fresh=fresh)
    verdict = check(order(), view(price=price))
    assert isinstance(verdict, ApprovedOrder) is fresh


def test_closed_markets_refuse_stocks_and_say_when_they_open() -> None:
    refused = refusal(order(), view(market=CLOSED))
    assert refused.code == "MARKET_CLOSED"
    assert refused.message.startswith("Market closed")
    assert "Tue 2026-03-03 at 09:30 EST" in refused.message
    assert refusal(order(), view(market=CLOSED, price=None)).message == refused.message  # nobody asked for a price
    assert refusal(order("buy", "0.1", BTC), view(BTC, market=CLOSED, price=None)).code == "PRICE_STALE"
    small = view(BTC, bid="9999", ask="10000", market=CLOSED)
    assert isinstance(check(order("buy", "0.1", BTC), small), ApprovedOrder)


def test_crypto_is_not_sold_short() -> None:
    refused = refusal(order("sell", "0.3", BTC), view(BTC, position_qty=Decimal("0.5"), open_sells=Decimal("0.3")))
    assert refused.code == "INSUFFICIENT_HOLDING"
    assert "You hold 0.5 BTC" in refused.message
    assert "cannot be sold short" in refused.message


def test_all_means_what_is_held_and_not_yet_being_sold() -> None:
    verdict = check(order("sell", None, BTC), view(BTC, position_qty=Decimal("0.5"), open_sells=Decimal("0.2")))
    assert isinstance(verdict, ApprovedOrder)
    assert verdict.qty == Decimal("0.3")
    assert refusal(order("buy", None), view(position_qty=Decimal(5))).code == "NOTHING_TO_CLOSE"
    short = check(order("buy", None), view(position_qty=Decimal(-5)))
    assert isinstance(short, ApprovedOrder)
    assert short.qty == 5


@pytest.mark.parametrize(
    ("waited", "own", "passes"), [("30", None, True), ("30.1", None, False), ("50", "60", True), ("3", "2", False)]
)
def test_signals_age(waited: str, own: str | None, passes: bool) -> None:
    late = order(valid_for_s=None if own is None else Decimal(own))
    assert isinstance(check(late, view(waited_s=Decimal(waited))), ApprovedOrder) is passes


def test_every_failed_limit_is_named() -> None:
    refused = refusal(order("buy", "200"), view(market=CLOSED))
    assert refused.code == "MARKET_CLOSED"
    for text in ("Market closed", "max_order_qty_stock 100", "max_position_size_usd 10000"):
        assert text in refused.message


def test_warn_records_and_off_is_silent() -> None:
    warned = check(order("buy", "101"), view(limits=limits(max_order_qty_stock="warn", max_position_size_usd="off")))
    assert isinstance(warned, ApprovedOrder)
    assert [one["code"] for one in warned.checks if one["verdict"] == "warn"] == ["MAX_ORDER_QTY"]
    assert "MAX_POSITION_SIZE" not in [one["code"] for one in warned.checks]


@given(
    held=st.integers(-300, 300), buys=st.integers(0, 200), sells=st.integers(0, 200), qty=st.integers(1, 100),
    side=st.sampled_from(["buy", "sell"]), ask=st.decimals("1", "500", places=2),
)  # fmt: skip
def test_nothing_slips_under_the_position_limit(
    held: int, buys: int, sells: int, qty: int, side: str, ask: Decimal
) -> None:
    """An approved order leaves the worst position below the limit, or only reduces what was there."""
    around = view(
        position_qty=Decimal(held), open_buys=Decimal(buys), open_sells=Decimal(sells), bid=str(ask), ask=str(ask)
    )
    verdict = check(order(side, str(qty)), around)
    assume(isinstance(verdict, ApprovedOrder))
    worst = held + buys + qty if side == "buy" else held - sells - qty
    reduces = (held > 0 and side == "sell" and worst >= 0) or (held < 0 and side == "buy" and worst <= 0)
    assert reduces or abs(worst) * ask <= 10000
