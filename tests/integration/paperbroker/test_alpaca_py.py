"""Alpaca's own Python SDK against the paper broker, unmodified: only its addresses are overridden."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.historical import CryptoHistoricalDataClient, StockHistoricalDataClient
from alpaca.data.live import CryptoDataStream, StockDataStream
from alpaca.data.requests import (
    CryptoLatestQuoteRequest,
    CryptoSnapshotRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetClass, OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
)
from alpaca.trading.stream import TradingStream


@pytest.fixture
def key() -> str:
    return f"mock-{uuid.uuid4()}"


@pytest.fixture
def trading(broker: Any, key: str) -> TradingClient:
    return TradingClient(key, "any", url_override=broker.url)


@contextlib.contextmanager
def running(stream: Any) -> Iterator[None]:
    """Run an SDK stream in a thread of its own, as its users do."""
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            stream.stop()
        thread.join(10)


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if happened():
            return
        pause.wait(0.05)
    raise AssertionError("it did not happen in time")


def test_account_clock_calendar_assets(trading: TradingClient) -> None:
    account = trading.get_account()
    assert (account.cash, account.buying_power, account.non_marginable_buying_power) == ("100000", "200000", "100000")
    assert trading.get_account_configurations().max_margin_multiplier == "2"
    assert trading.get_clock().is_open
    (day,) = trading.get_calendar(GetCalendarRequest(start="2025-11-28", end="2025-11-28"))
    assert day.close.hour == 13
    assert len(trading.get_all_assets(GetAssetsRequest(asset_class=AssetClass.US_EQUITY))) >= 25
    coins = trading.get_all_assets(GetAssetsRequest(asset_class=AssetClass.CRYPTO))
    assert all(coin.min_order_size and coin.price_increment for coin in coins)
    assert trading.get_asset("BTC/USD").id == trading.get_asset("BTCUSD").id
    assert trading.get_asset(trading.get_asset("AAPL").id).symbol == "AAPL"


def test_order_stream_fill_position_cancel(broker: Any, key: str, trading: TradingClient) -> None:
    updates: list[Any] = []

    async def hear(update: Any) -> None:
        updates.append(update)

    stream = TradingStream(key, "any", url_override=f"{broker.ws_url}/stream")
    stream.subscribe_trade_updates(hear)
    with running(stream):
        wait_for(lambda: bool(stream._running))
        threading.Event().wait(0.2)
        order = trading.submit_order(
            MarketOrderRequest(symbol="AAPL", qty=10, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
        )
        assert order.status is OrderStatus.PENDING_NEW
        wait_for(lambda: any(u.event == "fill" and u.order.id == order.id for u in updates))
        assert trading.get_order_by_id(order.id).status is OrderStatus.FILLED
        assert trading.get_open_position("AAPL").qty == "10"
        assert {p.symbol for p in trading.get_all_positions()} == {"AAPL", "BTCUSD"}
        resting = trading.submit_order(
            LimitOrderRequest(
                symbol="BTC/USD", qty=0.1, side=OrderSide.SELL, limit_price=900000, time_in_force=TimeInForce.GTC
            )
        )
        wait_for(lambda: any(u.event == "new" and u.order.id == resting.id for u in updates))
        assert [o.id for o in trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN))] == [resting.id]
        assert trading.get_open_position("BTC/USD".replace("/", "")).qty_available == "0.4"
        trading.cancel_order_by_id(resting.id)
        wait_for(lambda: any(u.event == "canceled" and u.order.id == resting.id for u in updates))
        assert trading.cancel_orders() == []
        with pytest.raises(APIError) as refused:
            trading.submit_order(
                MarketOrderRequest(symbol="AAPL", qty=11, side=OrderSide.SELL, time_in_force=TimeInForce.DAY)
            )
        assert (refused.value.status_code, refused.value.code) == (403, 40310000)
        assert "(requested: 11, available: 10)" in refused.value.message


def test_stock_and_crypto_prices_by_rest(broker: Any, key: str) -> None:
    stocks = StockHistoricalDataClient(key, "any", url_override=broker.url)
    quote = stocks.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="AAPL"))["AAPL"]
    assert 0 < quote.bid_price < quote.ask_price
    stocks.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=["AAPL", "SPY"]))
    assert stocks.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="AAPL"))["AAPL"].latest_quote
    coins = CryptoHistoricalDataClient(key, "any", url_override=broker.url)
    quote = coins.get_crypto_latest_quote(CryptoLatestQuoteRequest(symbol_or_symbols="BTC/USD"))["BTC/USD"]
    assert 0 < quote.bid_price < quote.ask_price
    assert coins.get_crypto_snapshot(CryptoSnapshotRequest(symbol_or_symbols="BTC/USD"))["BTC/USD"].latest_quote


@pytest.mark.parametrize(
    ("stream_type", "path", "symbol"),
    [(StockDataStream, "/v2/iex", "AAPL"), (CryptoDataStream, "/v1beta3/crypto/us", "BTC/USD")],
)
def test_prices_by_stream(broker: Any, key: str, stream_type: Any, path: str, symbol: str) -> None:
    quotes: list[Any] = []

    async def hear(quote: Any) -> None:
        await asyncio.sleep(0)
        quotes.append(quote)

    stream = stream_type(key, "any", url_override=f"{broker.ws_url}{path}")
    stream.subscribe_quotes(hear, symbol)
    with running(stream):
        wait_for(lambda: len(quotes) >= 2)
    assert {quote.symbol for quote in quotes} == {symbol}
    assert quotes[0].bid_price < quotes[0].ask_price
