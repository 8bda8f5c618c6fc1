"""The story of `test_clients.py` with the legacy SDK, alpaca-trade-api; addresses by environment."""

import asyncio
import json
import os
import threading
import time

import alpaca_trade_api as tradeapi

seen = []


def events_of(order):
    return [event for order_id, event in seen if order_id == order.id]


def wait_for(order, event):
    until = time.monotonic() + 60
    while event not in events_of(order):
        assert time.monotonic() < until, (event, seen)
        time.sleep(0.01)
    return events_of(order)


async def hear(update):
    seen.append((update.order["id"], update.event))


def listen():
    asyncio.set_event_loop(asyncio.new_event_loop())
    stream = tradeapi.Stream()
    stream.subscribe_trade_updates(hear)
    stream.run()


threading.Thread(target=listen, daemon=True).start()
api = tradeapi.REST()
account = api.get_account()
quote = api.get_latest_quote("AAPL")
time.sleep(0.5)
order = api.submit_order("AAPL", qty=2, side="buy", type="market", time_in_force="day")
events = wait_for(order, "fill")
filled = api.get_order(order.id)
position = api.get_position("AAPL")
resting = api.submit_order("AAPL", qty=1, side="buy", type="limit", limit_price="1", time_in_force="gtc")
wait_for(resting, "new")
still_open = api.list_orders()
api.cancel_order(resting.id)
cancel_events = wait_for(resting, "canceled")
closing = api.close_position("AAPL")
story = {
    "cash": account.cash,
    "bid": quote.bp,
    "ask": quote.ap,
    "events": events,
    "status": filled.status,
    "price": filled.filled_avg_price,
    "position": position.qty,
    "open": len(still_open),
    "cancel_events": cancel_events,
    "cancel_status": api.get_order(resting.id).status,
    "closed": closing.side,
}
print(json.dumps(story), flush=True)
os._exit(0)
