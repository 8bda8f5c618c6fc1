"""What `test_clients.py` does not touch, with alpaca-py: closing, history, watchlists, the past of prices."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.historical import CryptoHistoricalDataClient, StockHistoricalDataClient
from alpaca.data.requests import (
    CryptoBarsRequest,
    CryptoLatestOrderbookRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockQuotesRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import (
    ClosePositionRequest,
    CreateWatchlistRequest,
    GetPortfolioHistoryRequest,
    MarketOrderRequest,
    UpdateWatchlistRequest,
)

START = datetime(2026, 11, 20, 15, tzinfo=UTC)


@pytest.fixture
def keys() -> tuple[str, str]:
    return f"mock-{uuid.uuid4()}", "any"


@pytest.fixture
def trading(broker: Any, keys: tuple[str, str]) -> TradingClient:
    return TradingClient(*keys, url_override=broker.url)


def filled(trading: TradingClient, order: Any) -> Any:
    until = time.monotonic() + 60
    while (now := trading.get_order_by_id(order.id)).status.value != "filled":
        assert time.monotonic() < until, now
        time.sleep(0.02)
    return now


def test_positions_are_closed_in_part_and_altogether(trading: TradingClient) -> None:
    order = MarketOrderRequest(symbol="AAPL", qty=8, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    filled(trading, trading.submit_order(order))
    half = filled(trading, trading.close_position("AAPL", ClosePositionRequest(percentage="50")))
    assert half.filled_qty == "4"
    with pytest.raises(APIError):
        trading.close_position("AAPL", ClosePositionRequest(qty="5"))
    answers = trading.close_all_positions(cancel_orders=True)
    assert {(answer.symbol, answer.status) for answer in answers} == {("AAPL", 200), ("BTCUSD", 200)}
    for answer in answers:
        filled(trading, answer.body)
    assert trading.get_all_positions() == []
    assert trading.close_all_positions() == []


def test_portfolio_history_has_one_value_to_an_instant(trading: TradingClient) -> None:
    for period, timeframe in (("1D", "1Min"), ("1W", "15Min"), ("1M", "1D"), ("1A", "1D")):
        history = trading.get_portfolio_history(GetPortfolioHistoryRequest(period=period, timeframe=timeframe))
        assert len(history.timestamp) == len(history.equity) == len(history.profit_loss_pct)
        assert history.timeframe == timeframe


def test_watchlists(trading: TradingClient) -> None:
    made = trading.create_watchlist(CreateWatchlistRequest(name="mine", symbols=["AAPL", "BTC/USD"]))
    assert [asset.symbol for asset in made.assets] == ["AAPL", "BTC/USD"]
    trading.add_asset_to_watchlist_by_id(made.id, "KO")
    trading.update_watchlist_by_id(made.id, UpdateWatchlistRequest(name="yours"))
    assert [w.name for w in trading.get_watchlists()] == ["yours"]
    trading.remove_asset_from_watchlist_by_id(made.id, "AAPL")
    assert [asset.symbol for asset in trading.get_watchlist_by_id(made.id).assets] == ["BTC/USD", "KO"]
    trading.delete_watchlist_by_id(made.id)
    assert trading.get_watchlists() == []


def test_configurations_are_read_changed_and_read_again(trading: TradingClient) -> None:
    config = trading.get_account_configurations()
    config.no_shorting = True
    assert trading.set_account_configurations(config).no_shorting
    assert trading.get_account_configurations().no_shorting


def test_the_past_of_stocks(broker: Any, keys: tuple[str, str]) -> None:
    data = StockHistoricalDataClient(*keys, url_override=broker.url)
    span = {"symbol_or_symbols": ["AAPL", "KO"], "start": START, "end": START + timedelta(minutes=4, seconds=59)}
    trades = data.get_stock_trades(StockTradesRequest(**span, limit=100))
    bars = data.get_stock_bars(StockBarsRequest(**span, timeframe=TimeFrame.Minute))
    assert [bar.timestamp.minute for bar in bars["AAPL"]] == [0, 1, 2, 3, 4]
    quotes = data.get_stock_quotes(StockQuotesRequest(**span))
    assert len(quotes["AAPL"]) > len(trades["AAPL"]) > 10
    assert data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="AAPL"))["AAPL"].volume > 0
    days = data.get_stock_bars(
        StockBarsRequest(
            symbol_or_symbols="SPY", timeframe=TimeFrame(1, TimeFrameUnit.Day), start=START - timedelta(30)
        )
    )
    assert len(days["SPY"]) >= 28


def test_the_past_of_coins(broker: Any, keys: tuple[str, str]) -> None:
    data = CryptoHistoricalDataClient(*keys, url_override=broker.url)
    hours = TimeFrame(1, TimeFrameUnit.Hour)
    bars = data.get_crypto_bars(
        CryptoBarsRequest(symbol_or_symbols="BTC/USD", timeframe=hours, start=START, end=START + timedelta(hours=2))
    )
    assert [bar.timestamp for bar in bars["BTC/USD"]] == [START + timedelta(hours=n) for n in range(3)]
    book = data.get_crypto_latest_orderbook(CryptoLatestOrderbookRequest(symbol_or_symbols="BTC/USD"))["BTC/USD"]
    assert book.bids[0].price < book.asks[0].price
