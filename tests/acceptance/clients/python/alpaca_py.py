"""The story of `test_clients.py` with alpaca-py; addresses by `url_override`, as its documentation says."""

import json
import os
import threading
import time
from typing import Any

from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockLatestQuoteRequest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest
from alpaca.trading.stream import TradingStream

url = os.environ["APCA_API_BASE_URL"]
keys = os.environ["APCA_API_KEY_ID"], os.environ["APCA_API_SECRET_KEY"]
seen: list[tuple[str, str]] = []


def events_of(order: Any) -> list[str]:
    return [event for order_id, event in seen if order_id == str(order.id)]


def wait_for(order: Any, event: str) -> list[str]:
    until = time.monotonic() + 60
    while event not in events_of(order):
        assert time.monotonic() < until, (event, seen)
        time.sleep(0.01)
    return events_of(order)


async def hear(update: Any) -> None:
    seen.append((str(update.order.id), str(getattr(update.event, "value", update.event))))


trading = TradingClient(*keys, url_override=url)
stream = TradingStream(*keys, url_override=f"{url.replace('http', 'ws', 1)}/stream")
stream.subscribe_trade_updates(hear)
threading.Thread(target=stream.run, daemon=True).start()
data = StockHistoricalDataClient(*keys, url_override=url)
account = trading.get_account()
quote = data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="AAPL"))["AAPL"]
time.sleep(0.5)
order = trading.submit_order(
    MarketOrderRequest(symbol="AAPL", qty=2, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
)
events = wait_for(order, "fill")
filled = trading.get_order_by_id(order.id)
position = trading.get_open_position("AAPL")
resting = trading.submit_order(
    LimitOrderRequest(symbol="AAPL", qty=1, side=OrderSide.BUY, limit_price=1, time_in_force=TimeInForce.GTC)
)
wait_for(resting, "new")
still_open = trading.get_orders()
trading.cancel_order_by_id(resting.id)
cancel_events = wait_for(resting, "canceled")
closing = trading.close_position("AAPL")
story = {
    "cash": account.cash,
    "bid": quote.bid_price,
    "ask": quote.ask_price,
    "events": events,
    "status": filled.status.value,
    "price": filled.filled_avg_price,
    "position": position.qty,
    "open": len(still_open),
    "cancel_events": cancel_events,
    "cancel_status": trading.get_order_by_id(resting.id).status.value,
    "closed": closing.side.value,
}
print(json.dumps(story), flush=True)
os._exit(0)
