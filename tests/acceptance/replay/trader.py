"""Runs the strategy against a running OMS: reads quotes at the broker, sends signals by REST and through Redis."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import redis
from tests.acceptance.replay.paper import Broker
from tests.acceptance.replay.strategy import Crossover, Quote, Rules, Wish
from tests.stack import Stack, ask, eventually

ENDS = {"filled", "rejected", "cancelled", "expired"}
BY_CHANNEL, BY_STREAM = 9, 11  # every ninth signal goes over the channel, every eleventh through the stream
QUIET_S = 2.5  # without a new quote the tape has ended


@dataclass(slots=True)
class Working:
    """An order of a symbol that has not ended, as far as the trader knows."""

    signal_id: str
    order_id: str | None
    since_look: int
    rests: bool
    cancelled: bool = False


@dataclass(slots=True)
class Desk:
    """One symbol: its strategy, what it holds by its own count, and its order under way."""

    strategy: Crossover
    held: Decimal = Decimal(0)
    working: Working | None = None


@dataclass(slots=True)
class Trader:
    """Trades until the tape has ended."""

    stack: Stack
    broker: Broker
    rules: Rules
    look_every_s: float
    desks: dict[str, Desk] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    looks: int = 0

    def __post_init__(self) -> None:
        self.desks = {symbol: Desk(Crossover(symbol, self.rules)) for symbol in self.rules.base}

    def trade(self, at_most_s: float) -> None:
        """Look and act until no quote has changed for a while. Fails when that takes too long."""
        give_up = time.monotonic() + at_most_s
        seen: dict[str, Any] = {}
        changed_at = time.monotonic()
        with redis.Redis.from_url(self.stack.addresses["redis_url"]) as client:
            while time.monotonic() - changed_at < QUIET_S:
                assert time.monotonic() < give_up, f"the tape had not ended after {at_most_s} s"
                begun = time.monotonic()
                quotes = self.broker.quotes(list(self.desks))
                if quotes != seen:
                    seen, changed_at = quotes, begun
                    self._look(quotes, client)
                time.sleep(max(0.0, self.look_every_s - (time.monotonic() - begun)))

    def finish(self) -> None:
        """After the end: one more small order of each symbol, so that something is held of each, and that the account's
        figures are read again at the last prices."""
        for symbol, desk in self.desks.items():
            if desk.working is not None and desk.working.order_id is not None:
                self._cancel(desk.working)
                self.stack.ended(desk.working.order_id)
                self._follow(desk)
            side = "buy" if desk.held >= 0 else "sell"
            order = self.stack.traded(symbol=symbol, side=side, qty=3, reason="after the end")
            assert order["status"] == "filled", order
            self.sent["rest"] += 1

    def rest(self, symbol: str, limit_price: Decimal) -> None:
        """Leave an order at the broker that nothing will fill any more."""
        answer = self.stack.signal(
            symbol=symbol, side="buy", qty=1, type="limit", limit_price=str(limit_price), time_in_force="gtc"
        )
        assert answer.status == 202, answer.body
        self.sent["rest"] += 1

    def _look(self, quotes: dict[str, Any], client: redis.Redis) -> None:
        self.looks += 1
        for symbol, desk in self.desks.items():
            if symbol not in quotes:
                continue
            quote = Quote(Decimal(str(quotes[symbol]["bp"])), Decimal(str(quotes[symbol]["ap"])))
            desk.strategy.see(quote)
            self._follow(desk)
            if desk.working is None and (wish := desk.strategy.look(quote, desk.held)) is not None:
                desk.working = self._send(wish, client)

    def _follow(self, desk: Desk) -> None:
        """Take in what became of the order under way; one that rests for too long is cancelled."""
        working = desk.working
        if working is None:
            return
        if working.order_id is None:
            listed = self.stack.get("/api/v1/trading/orders?limit=20")
            working.order_id = next((o["id"] for o in listed if o["signal_id"] == working.signal_id), None)
            assert working.order_id or self.looks - working.since_look < 40, f"{working.signal_id} became no order"
            return
        order = self.stack.order(working.order_id)
        if order["status"] in ENDS:
            desk.held += order["filled_qty"] * (1 if order["side"] == "buy" else -1)
            desk.working = None
        elif working.rests and not working.cancelled and self.looks - working.since_look >= self.rules.patience:
            self._cancel(working)

    def _cancel(self, working: Working) -> None:
        answer = ask("DELETE", f"{self.stack.url}/api/v1/trading/orders/{working.order_id}")
        assert answer.status in {202, 409}, (answer.status, answer.body)  # 409: it was filled meanwhile
        working.cancelled = True

    def _send(self, wish: Wish, client: redis.Redis) -> Working:
        number = self.sent.total() + 1
        signal_id = f"replay-{number}"
        terms = {**wish.terms(), "signal_id": signal_id, "strategy": "crossover"}
        rests = wish.type == "limit" and wish.time_in_force == "day"
        if number % BY_CHANNEL == 0:
            self.sent["channel"] += 1
            client.publish("trade_signals", json.dumps(terms))
            return Working(signal_id, None, self.looks, rests)
        if number % BY_STREAM == 0:
            self.sent["stream"] += 1
            client.xadd("trade_signals", {"signal": json.dumps(terms)})
            return Working(signal_id, None, self.looks, rests)
        self.sent["rest"] += 1
        answer = self.stack.signal(**terms)
        assert answer.status == 202, (answer.status, answer.body)
        return Working(signal_id, answer.json["id"], self.looks, rests)


def all_orders(stack: Stack) -> list[dict[str, Any]]:
    """Every order of the OMS, newest first, page by page."""
    found: list[dict[str, Any]] = []
    path: str | None = "/api/v1/trading/orders?limit=200"
    while path is not None:
        answer = ask("GET", stack.url + path)
        assert answer.status == 200, answer.body
        found += answer.json
        link = next((value for name, value in answer.headers.items() if name.lower() == "link"), None)
        path = None if link is None else link[link.index("<") + 1 : link.index(">")].removeprefix(stack.url)
    return found


def all_events(stack: Stack) -> list[dict[str, Any]]:
    """The whole trail, in order."""
    found: list[dict[str, Any]] = []
    while page := stack.get(f"/api/v1/events?limit=1000&after={found[-1]['seq'] if found else 0}"):
        found += page
    return found


def settled(stack: Stack) -> list[dict[str, Any]]:
    """Every order of the OMS once none is on its way any more: it has ended, or rests at the broker."""

    def look() -> list[dict[str, Any]] | None:
        orders = all_orders(stack)
        resting = {"submitted", "partially_filled"}
        done = all(o["status"] in ENDS or (o["status"] in resting and o["type"] == "limit") for o in orders)
        return orders if done else None

    orders: list[dict[str, Any]] = eventually(look, 120, 0.5, "an order is still on its way")
    return orders
