"""What we send is what Alpaca's own SDK sends: the same operations through both, to one recording server.

Differences that are meant, and why:
- alpaca-py posts numbers as JSON numbers, ours are strings: compared as Decimals. Alpaca documents strings.
- alpaca-py sets no `client_order_id` unless told; ours always does. Here it is told.
- Lists: we also name direction, limit and nested, since a page must be known to be a whole one; alpaca-py's words for
  what it does send are the same. `nested=false` is written `False` by alpaca-py; Alpaca takes both.
- Times in queries: alpaca-py writes `+00:00` where we write `Z`: compared as times.
- alpaca-py 0.44 has no method for activities; its `get` is used with the documented path and parameters.
- Data streams: alpaca-py speaks MessagePack, ours JSON; so only the order stream's frames are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from aiohttp import web
from alpaca.data.historical.crypto import CryptoHistoricalDataClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import (
    CryptoLatestQuoteRequest,
    CryptoLatestTradeRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
)
from alpaca.trading import enums
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import GetAssetsRequest, GetOrdersRequest, LimitOrderRequest, MarketOrderRequest
from alpaca.trading.stream import TradingStream
from tests.acceptance.broker.broker_recorder import KEY, SECRET, Recorder, Seen, an_order, gateway

from oms.broker import AlpacaBroker, AlpacaMarketData
from oms.domain.instruments import Instrument
from oms.domain.values import AssetClass, OrderType, Side, TimeInForce
from oms.ports import Ticket

ORDER_ID = an_order()["id"]
AFTER = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
LISTS = {"/v2/orders", "/v2/assets", "/v2/positions", "/v2/account/activities"}
OURS_ONLY = {
    "/v2/orders": {"direction": "asc", "limit": "500", "nested": "false"},
    "/v2/account/activities": {"direction": "asc", "page_size": "100"},
}


async def answer(request: web.Request) -> web.StreamResponse:
    """Whatever both can read."""
    if request.method == "DELETE":
        return web.Response(status=204)
    if request.method == "GET" and request.path in LISTS:
        return web.json_response([])
    if request.path == "/v2/clock":
        at = "2026-07-01T09:30:00-04:00"
        return web.json_response({"timestamp": at, "is_open": True, "next_open": at, "next_close": at})
    if request.path == "/v2/account":
        return web.json_response({"id": ORDER_ID, "status": "ACTIVE", "cash": "1", "equity": "1", "buying_power": "1"})
    if "latest" in request.path:
        return web.json_response({"quotes" if "quotes" in request.path else "trades": {}})
    return web.json_response(an_order())


@dataclass
class Sdk:
    """alpaca-py's clients, giving back raw data."""

    trading: TradingClient
    stocks: StockHistoricalDataClient
    coins: CryptoHistoricalDataClient


Ours = Callable[[AlpacaBroker, AlpacaMarketData], Awaitable[object]]
Theirs = Callable[[Sdk], object]


def ticket(symbol: str, side: Side, qty: str, limit: str | None = None, tif: str = "day") -> Ours:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    price = None if limit is None else Decimal(limit)
    asked = Ticket("t1-1", symbol, side, Decimal(qty), kind, TimeInForce(tif), price)
    return lambda broker, _: broker.submit(asked)


def request(symbol: str, side: str, qty: float, limit: float | None = None, tif: str = "day") -> Theirs:
    common = {
        "symbol": symbol, "qty": qty, "side": enums.OrderSide(side), "time_in_force": enums.TimeInForce(tif),
        "client_order_id": "t1-1",
    }  # fmt: skip
    asked = MarketOrderRequest(**common) if limit is None else LimitOrderRequest(**common, limit_price=limit)
    return lambda sdk: sdk.trading.submit_order(asked)


OPERATIONS: dict[str, tuple[Ours, Theirs]] = {
    "buy stock at market": (ticket("AAPL", Side.BUY, "10"), request("AAPL", "buy", 10)),
    "sell stock at market": (ticket("AAPL", Side.SELL, "0.5"), request("AAPL", "sell", 0.5)),
    "buy stock at a limit": (ticket("AAPL", Side.BUY, "10", "190.1"), request("AAPL", "buy", 10, 190.10)),
    "sell stock at a limit": (ticket("AAPL", Side.SELL, "1E+1", "2E+2"), request("AAPL", "sell", 10, 200.0)),
    "buy coin at market": (
        ticket("BTC/USD", Side.BUY, "0.000000001", tif="gtc"),
        request("BTC/USD", "buy", 0.000000001, tif="gtc"),
    ),
    "sell coin at market": (
        ticket("BTC/USD", Side.SELL, "0.25", tif="ioc"),
        request("BTC/USD", "sell", 0.25, tif="ioc"),
    ),
    "buy coin at a limit": (
        ticket("BTC/USD", Side.BUY, "0.1", "67000.5", "gtc"),
        request("BTC/USD", "buy", 0.1, 67000.5, "gtc"),
    ),
    "sell coin at a limit": (
        ticket("BTC/USD", Side.SELL, "0.1", "67000", "gtc"),
        request("BTC/USD", "sell", 0.1, 67000, "gtc"),
    ),
    "order by id": (lambda b, _: b.order(str(ORDER_ID)), lambda sdk: sdk.trading.get_order_by_id(str(ORDER_ID))),
    "order by our id": (
        lambda b, _: b.order_by_client_id("t1:a/b&c=1 ü+"),
        lambda sdk: sdk.trading.get_order_by_client_id("t1:a/b&c=1 ü+"),
    ),
    "cancel": (lambda b, _: b.cancel(str(ORDER_ID)), lambda sdk: sdk.trading.cancel_order_by_id(str(ORDER_ID))),
    "open orders": (
        lambda b, _: b.open_orders(),
        lambda sdk: sdk.trading.get_orders(GetOrdersRequest(status=enums.QueryOrderStatus.OPEN)),
    ),
    "orders since": (
        lambda b, _: b.orders_since(AFTER),
        lambda sdk: sdk.trading.get_orders(GetOrdersRequest(status=enums.QueryOrderStatus.ALL, after=AFTER)),
    ),
    "positions": (lambda b, _: b.positions(), lambda sdk: sdk.trading.get_all_positions()),
    "account": (lambda b, _: b.account(), lambda sdk: sdk.trading.get_account()),
    "clock": (lambda b, _: b.clock(), lambda sdk: sdk.trading.get_clock()),
    "assets": (
        lambda b, _: b.instruments(),
        lambda sdk: [
            sdk.trading.get_all_assets(GetAssetsRequest(status=enums.AssetStatus.ACTIVE, asset_class=one))
            for one in (enums.AssetClass.US_EQUITY, enums.AssetClass.CRYPTO)
        ],
    ),
    "fills": (
        lambda b, _: b.fills_since(AFTER),
        lambda sdk: sdk.trading.get("/account/activities", {"activity_types": "FILL", "after": AFTER.isoformat()}),
    ),
    "latest of stocks": (
        lambda _, data: data.latest([Instrument(name, AssetClass.STOCK, "") for name in ("AAPL", "BRK.B")]),
        lambda sdk: [
            sdk.stocks.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=["AAPL", "BRK.B"], feed="iex")),
            sdk.stocks.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=["AAPL", "BRK.B"], feed="iex")),
        ],
    ),
    "latest of coins": (
        lambda _, data: data.latest([Instrument(name, AssetClass.CRYPTO, "") for name in ("BTC/USD", "ETH/USD")]),
        lambda sdk: [
            sdk.coins.get_crypto_latest_quote(CryptoLatestQuoteRequest(symbol_or_symbols=["BTC/USD", "ETH/USD"])),
            sdk.coins.get_crypto_latest_trade(CryptoLatestTradeRequest(symbol_or_symbols=["BTC/USD", "ETH/USD"])),
        ],
    ),
}


def compared(seen: Seen, ignore: dict[str, str]) -> dict[str, object]:
    """What of a request must agree."""
    query: dict[str, object] = {name: value for name, value in seen.query.items() if ignore.get(name) != value}
    if "after" in query:
        query["after"] = datetime.fromisoformat(str(query["after"]))
    body = seen.body
    if isinstance(body, dict):
        body = {name: Decimal(value) if name in {"qty", "limit_price"} else value for name, value in body.items()}
    keys = {name: seen.headers.get(name) for name in ("APCA-API-KEY-ID", "APCA-API-SECRET-KEY")}
    has_json = "application/json" in seen.headers.get("Content-Type", "")
    return {"line": (seen.method, seen.path), "query": query, "body": body, "keys": keys, "json": has_json}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_the_request_is_the_one_that_alpaca_py_sends(name: str) -> None:
    ours, theirs = OPERATIONS[name]
    async with Recorder(answer) as server:
        broker, data = gateway(server.url)
        await ours(broker, data)
        await broker.close()
        await data.close()
        mine = server.seen[:]
        server.seen.clear()
        keys = {"api_key": KEY, "secret_key": SECRET, "raw_data": True, "url_override": server.url}
        sdk = Sdk(TradingClient(**keys), StockHistoricalDataClient(**keys), CryptoHistoricalDataClient(**keys))
        await asyncio.to_thread(theirs, sdk)
        reference = server.seen[:]
    assert mine
    assert by_path(mine, OURS_ONLY) == by_path(reference, {})


def by_path(requests: list[Seen], ours_only: dict[str, dict[str, str]]) -> list[dict[str, object]]:
    """In an order that does not depend on which of two simultaneous requests came first."""
    found = [compared(seen, ours_only.get(seen.path, {}) if seen.method == "GET" else {}) for seen in requests]
    return sorted(found, key=lambda one: json.dumps(one, default=str))


async def test_the_order_streams_messages_are_those_of_alpaca_py() -> None:
    """Both are answered, so that both go through authenticating and listening."""

    async def stream(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await server.next_frame(ws)
        await ws.send_bytes(b'{"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}')
        await server.next_frame(ws)
        await ws.send_bytes(b'{"stream": "listening", "data": {"streams": ["trade_updates"]}}')
        listened.set()
        async for _ in ws:
            pass
        return ws

    async def ignore(_: object) -> None:
        pass

    listened = asyncio.Event()
    async with Recorder(stream) as server:
        broker, _ = gateway(server.url)
        async with broker.updates():
            pass
        await broker.close()
        mine, mine_path = server.frames[:], server.seen[0].path
        server.frames.clear()
        listened.clear()
        theirs = TradingStream(KEY, SECRET, url_override=f"ws://127.0.0.1:{server.port}/stream")
        theirs.subscribe_trade_updates(ignore)
        running = asyncio.ensure_future(theirs._run_forever())
        await asyncio.wait_for(listened.wait(), 60)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await theirs.close()
        assert mine == server.frames
        assert mine_path == server.seen[-1].path
