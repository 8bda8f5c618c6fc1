"""Calls every implemented operation of a running broker and holds each answer against Alpaca's OpenAPI file.

Runs in the environment `clients-openapi`, with the broker's address as its argument. Prints one JSON line for each
answer: operation, method, path, status, and what is wrong with it (null: nothing; "undocumented": the file knows no
such status).
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
from contract import Answer, Contracts

URL = sys.argv[1]
HEADERS = {"APCA-API-KEY-ID": f"mock-{time.time_ns()}", "APCA-API-SECRET-KEY": "any"}


class Walk:
    """The calls, in an order in which each finds what it needs."""

    def __init__(self) -> None:
        self._http = httpx.Client(base_url=URL, headers=HEADERS, timeout=20)
        self._contracts = Contracts()

    def call(self, method: str, path: str, body: object = None, **parameters: str) -> Any:
        response = self._http.request(method, path, json=body, params=parameters)
        self.report(response)
        return response.json() if response.content else None

    def report(self, response: httpx.Response) -> None:
        path, content_type = response.request.url.path, response.headers.get("content-type", "")
        answer = Answer(response.request.method, path, response.status_code, content_type, response.content)
        operation, wrong = self._contracts.judge(answer)
        line = {
            "operation": operation,
            "method": response.request.method,
            "path": path,
            "status": response.status_code,
            "wrong": wrong,
        }
        print(json.dumps(line), flush=True)

    def order(self, symbol: str, side: str = "buy", **fields: Any) -> Any:
        crypto = "/" in symbol
        body = {"symbol": symbol, "side": side, "type": "market", "time_in_force": "gtc" if crypto else "day"}
        return self.call("POST", "/v2/orders", {**body, **fields})

    def wait(self, order: Any, status: str) -> Any:
        until = time.monotonic() + 60
        while True:
            now = self._http.get(f"/v2/orders/{order['id']}").json()
            if now["status"] == status:
                return now
            assert time.monotonic() < until, now
            time.sleep(0.02)

    def account(self) -> None:
        self.report(httpx.get(f"{URL}/v2/account"))
        self.call("GET", "/v2/account")
        config = self.call("GET", "/v2/account/configurations")
        self.call("PATCH", "/v2/account/configurations", {**config, "trade_confirm_email": "none"})
        self.call("PATCH", "/v2/account/configurations", {"max_margin_multiplier": "7"})
        for path in ("/v2/assets", "/v2/assets/AAPL", "/v2/assets/BTCUSD", "/v2/assets/NOSUCH"):
            self.call("GET", path)
        self.call("GET", "/v2/assets", asset_class="crypto")
        for path in ("/v2/clock", "/v3/clock"):
            self.call("GET", path)
        self.call("GET", "/v3/clock", markets="NYSE,OPRA,OTC", time="2026-11-27T12:00:00Z")
        self.call("GET", "/v3/clock", markets="MOON")
        self.call("GET", "/v2/calendar", start="2026-11-01", end="2026-12-31")
        self.call("GET", "/v2/calendar", start="2026-11-01", end="2026-11-30", date_type="SETTLEMENT")
        self.call("GET", "/v2/calendar", start="soon")
        self.call("GET", "/v3/calendar/NASDAQ")
        self.call("GET", "/v3/calendar/NYSE", start="2026-11-01", end="2026-12-31", timezone="UTC")
        self.call("GET", "/v3/calendar/NYSE", start="soon")

    def trading(self) -> None:
        bought = self.order("AAPL", qty="10", client_order_id="walk-1")
        self.order("BTC/USD", notional="500")
        self.order("KO", qty="3")
        self.order("AAPL", qty="1", client_order_id="walk-1")
        self.order("AAPL", qty="100000000")
        self.order("AAPL")
        self.call("POST", "/v2/orders", [1])
        self.wait(bought, "filled")
        resting = self.order("MSFT", qty="2", type="limit", limit_price="1")
        self.wait(resting, "new")
        self.order("SPY", qty="1", type="limit", limit_price="1", time_in_force="gtc", order_class="bracket",
                   take_profit={"limit_price": "2000"}, stop_loss={"stop_price": "0.5"})  # fmt: skip
        self.order("TSLA", qty="1", type="trailing_stop", trail_percent="5", time_in_force="gtc")
        self.order("IBM", qty="1", type="stop", stop_price="5000")
        replaced = self.call("PATCH", f"/v2/orders/{resting['id']}", {"limit_price": "1.5"})
        self.call("PATCH", f"/v2/orders/{bought['id']}", {"limit_price": "1.5"})
        for status in ("open", "closed", "all"):
            self.call("GET", "/v2/orders", status=status, nested="true")
            self.call("GET", "/v2/orders", status=status, nested="false")
        self.call("GET", f"/v2/orders/{bought['id']}")
        self.call("GET", "/v2/orders/00000000-0000-4000-8000-000000000000")
        self.call("GET", "/v2/orders/no-uuid")
        self.call("GET", "/v2/orders", side="both")
        self.call("GET", "/v2/orders:by_client_order_id", client_order_id="walk-1")
        self.call("GET", "/v2/orders:by_client_order_id", client_order_id="unknown")
        self.call("DELETE", f"/v2/orders/{replaced.get('id', resting['id'])}")
        self.call("DELETE", f"/v2/orders/{bought['id']}")
        self.call("DELETE", "/v2/orders/00000000-0000-4000-8000-000000000000")
        self.call("DELETE", "/v2/orders")

    def positions(self) -> None:
        self.call("GET", "/v2/positions")
        for path in ("/v2/positions/AAPL", "/v2/positions/BTCUSD", "/v2/positions/GE"):
            self.call("GET", path)
        part = self.call("DELETE", "/v2/positions/AAPL", qty="4")
        self.wait(part, "filled")
        self.call("DELETE", "/v2/positions/AAPL", percentage="50")
        self.call("DELETE", "/v2/positions/AAPL", qty="1", percentage="50")
        self.call("DELETE", "/v2/positions/KO", qty="1000")
        self.call("DELETE", "/v2/positions/GE")
        self.call("DELETE", "/v2/positions", cancel_orders="true")
        time.sleep(0.2)
        for parameters in ({}, {"category": "trade_activity", "page_size": "2"}, {"activity_types": "FILL"}):
            self.call("GET", "/v2/account/activities", **parameters)
        self.call("GET", "/v2/account/activities", page_token="rubbish")
        self.call("GET", "/v2/account/activities/FILL", direction="asc")
        self.call("GET", "/v2/account/activities/CFEE")
        for timeframe in ("1Min", "5Min", "15Min", "1H", "1D"):
            self.call("GET", "/v2/account/portfolio/history", period="1W", timeframe=timeframe)
        self.call("GET", "/v2/account/portfolio/history", intraday_reporting="continuous", period="1D")
        self.call("GET", "/v2/account/portfolio/history", period="fortnight")

    def watchlists(self) -> None:
        made = self.call("POST", "/v2/watchlists", {"name": "walk", "symbols": ["AAPL", "BTC/USD"]})
        self.call("POST", "/v2/watchlists", {"name": "walk"})
        self.call("GET", "/v2/watchlists")
        path = f"/v2/watchlists/{made['id']}"
        self.call("POST", path, {"symbol": "KO"})
        self.call("PUT", path, {"name": "walked", "symbols": ["T", "SPY"]})
        self.call("GET", path)
        self.call("DELETE", f"{path}/SPY")
        self.call("POST", "/v2/watchlists:by_name", {"symbol": "IBM"}, name="walked")
        self.call("PUT", "/v2/watchlists:by_name", {"name": "again"}, name="walked")
        self.call("GET", "/v2/watchlists:by_name", name="again")
        self.call("GET", "/v2/watchlists:by_name", name="unknown")
        self.call("DELETE", "/v2/watchlists:by_name", name="again")
        other = self.call("POST", "/v2/watchlists", {"name": "other"})
        self.call("DELETE", f"/v2/watchlists/{other['id']}")
        self.call("DELETE", f"/v2/watchlists/{other['id']}")
        self.call("GET", f"/v2/watchlists/{other['id']}")

    def data(self) -> None:
        span = {"start": "2026-11-20T15:00:00Z", "end": "2026-11-20T15:05:00Z", "limit": "50"}
        for what in ("bars", "quotes", "trades"):
            frame = {"timeframe": "1Min"} if what == "bars" else {}
            self.call("GET", f"/v2/stocks/{what}", symbols="AAPL,KO", **span, **frame)
            self.call("GET", f"/v2/stocks/AAPL/{what}", **span, **frame)
            self.call("GET", f"/v1beta3/crypto/us/{what}", symbols="BTC/USD,ETH/BTC", **span, **frame)
            self.call("GET", f"/v2/stocks/{what}/latest", symbols="AAPL,KO")
            self.call("GET", f"/v2/stocks/AAPL/{what}/latest")
            self.call("GET", f"/v1beta3/crypto/us/latest/{what}", symbols="BTC/USD,ETH/BTC")
        self.call("GET", "/v2/stocks/bars", symbols="AAPL", timeframe="1Day", start="2026-11-01")
        self.call("GET", "/v2/stocks/bars", symbols="AAPL", timeframe="soon")
        self.call("GET", "/v1beta3/crypto/us/latest/orderbooks", symbols="BTC/USD")
        self.call("GET", "/v2/stocks/snapshots", symbols="AAPL,KO")
        self.call("GET", "/v2/stocks/AAPL/snapshot")
        self.call("GET", "/v1beta3/crypto/us/snapshots", symbols="BTC/USD")
        self.call("GET", "/v1beta3/crypto/eu-1/snapshots", symbols="BTC/USD")
        self.call("GET", "/v1beta3/crypto/moon/snapshots", symbols="BTC/USD")

    def steps(self) -> Iterator[None]:
        for step in (self.account, self.trading, self.positions, self.watchlists, self.data):
            yield step()


if __name__ == "__main__":
    for _ in Walk().steps():
        pass
