"""Whatever orders, cancels, replacements, prices, busts, restarts and days come: what holds for every broker holds."""

import asyncio
import contextlib
import os
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.paperbroker.house import House
from tests.unit.paperbroker.story import Story

from paperbroker.account_json import account_json
from paperbroker.books import Books
from paperbroker.errors import Refusal
from paperbroker.orders import Order, Side
from paperbroker.statuses import TERMINAL

D = Decimal
# symbol: its level in ticks, its tick
SYMBOLS = {
    "AAPL": (23000, D("0.01")),
    "PFE": (2500, D("0.01")),
    "F": (9000, D("0.0001")),
    "BTC/USD": (8_000_000, D("0.01")),
    "ETH/BTC": (40_000_000, D("0.000000001")),
}
QUANTITIES = st.sampled_from(["1", "3", "10", "0.5", "0.2", "0.001", "50", "400"])
OFFSETS = st.integers(-300, 300)
INDEX = st.integers(0, 1000)
SYMBOL = st.sampled_from(list(SYMBOLS))
SIDE = st.sampled_from(["buy", "sell"])
# what may change without an event of the order's own: a trailing stop follows, an exit shrinks with the other one
QUIET = {"hwm", "stop_price", "qty", "updated_at", "legs"}


def price(symbol: str, offset: int) -> str:
    """A price some ten-thousandths off the symbol's level."""
    level, tick = SYMBOLS[symbol]
    return format((level + level * offset // 10_000) * tick, "f")


class Broker(RuleBasedStateMachine):
    """A broker in the hands of hypothesis; `story` is what its events told, order by order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.story = Story()
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self._the_past_is_the_same_everywhere()
            self.loop.run_until_complete(self.house.store.close())
        self.loop.close()
        self.folder.cleanup()

    @initialize(fills=st.sampled_from(["paper", "displayed"]), hours=st.sampled_from(["all", "all", "nyse"]))
    def open(self, fills: Any, hours: Any) -> None:
        self.fills, self.hours = fills, hours
        self._start()
        for symbol in SYMBOLS:
            self._quote(symbol, 0, 1, 100)

    def _start(self) -> None:
        async def build() -> House:
            house = House(Path(self.folder.name), fills=self.fills, hours=self.hours)
            house.ledger.listeners.append(self.story.hear)
            return house

        self.house = self.loop.run_until_complete(build())
        self.books = Books(self.house.core)

    def _run(self, act: Any) -> Any:
        """Act inside the event loop, wait for the commit, so that everything is told."""

        async def run() -> Any:
            result = act()
            if asyncio.iscoroutine(result):
                result = await result
            await self.house.store.settled()
            return result

        return self.loop.run_until_complete(run())

    def _quote(self, symbol: str, offset: int, spread: int, size: int) -> None:
        bid = D(price(symbol, offset))
        self.house.quote(symbol, str(bid), str(bid + spread * SYMBOLS[symbol][1]), size)

    @rule(symbol=SYMBOL, offset=OFFSETS, spread=st.integers(1, 30), size=st.integers(1, 500))
    def price_moves(self, symbol: str, offset: int, spread: int, size: int) -> None:
        self._run(lambda: self._quote(symbol, offset, spread, size))

    @rule(symbol=SYMBOL, offset=OFFSETS)
    def a_trade_is_printed(self, symbol: str, offset: int) -> None:
        self._run(lambda: self.house.trade(symbol, price(symbol, offset)))

    @rule(
        symbol=SYMBOL,
        side=SIDE,
        kind=st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop"]),
        tif=st.sampled_from(["day", "gtc", "ioc", "fok", "opg", "cls"]),
        qty=QUANTITIES,
        offset=OFFSETS,
        money=st.booleans(),
        extended=st.booleans(),
    )
    def order(
        self, symbol: str, side: str, kind: str, tif: str, qty: str, offset: int, money: bool, extended: bool
    ) -> None:
        body: dict[str, Any] = {"symbol": symbol, "side": side, "type": kind, "time_in_force": tif, "qty": qty}
        body |= {"client_order_id": self._fresh_id(), "extended_hours": extended and kind == "limit"}
        if "/" in symbol:
            body["time_in_force"] = "ioc" if tif in {"ioc", "fok"} else "gtc"
        if money:
            body |= {"qty": None, "notional": "0.02" if symbol == "ETH/BTC" else "1000"}
        if kind in {"limit", "stop_limit"}:
            body["limit_price"] = price(symbol, offset)
        if kind in {"stop", "stop_limit"}:
            body["stop_price"] = price(symbol, offset)
        if kind == "trailing_stop":
            body |= {"trail_percent": "0.5"} if offset % 2 else {"trail_price": "0.5"}
        self._try(lambda: self.house.send(**body))

    @rule(
        symbol=st.sampled_from(["AAPL", "PFE", "F"]),
        side=SIDE,
        kind=st.sampled_from(["market", "limit", "stop", "stop_limit"]),
        tif=st.sampled_from(["day", "gtc"]),
        qty=QUANTITIES,
        offset=st.integers(-40, 40),
        group=st.sampled_from(["bracket", "oco", "oto", "oto-stop"]),
        limited=st.booleans(),
    )
    def group(
        self, symbol: str, side: str, kind: str, tif: str, qty: str, offset: int, group: str, limited: bool
    ) -> None:
        long = (side == "buy") is (group != "oco")
        profit, stop = price(symbol, 150 if long else -150), price(symbol, -150 if long else 150)
        body: dict[str, Any] = {"symbol": symbol, "side": side, "type": kind, "time_in_force": tif, "qty": qty}
        body |= {"client_order_id": self._fresh_id(), "order_class": group.partition("-")[0]}
        if group == "oco":
            body["type"] = "limit"
        elif kind in {"limit", "stop_limit"}:
            body["limit_price"] = price(symbol, offset)
        if kind in {"stop", "stop_limit"} and group != "oco":
            body["stop_price"] = price(symbol, offset)
        if group != "oto-stop":
            body["take_profit"] = {"limit_price": profit}
        if group != "oto":
            limit = price(symbol, -200 if long else 200)
            body["stop_loss"] = {"stop_price": stop, **({"limit_price": limit} if limited else {})}
        self._try(lambda: self.house.send(**body))

    @precondition(lambda self: self.house.account.state.positions)
    @rule(index=INDEX, part=st.sampled_from(["1", "0.5", "0.1"]))
    def close(self, index: int, part: str) -> None:
        """As `DELETE /v2/positions/{symbol}` does."""
        positions = list(self.house.account.state.positions.values())
        position = positions[index % len(positions)]
        if position.symbol not in SYMBOLS:
            return
        qty = (abs(position.qty) * D(part)).quantize(D("1e-9"))
        side = "sell" if position.qty > 0 else "buy"
        self._try(lambda: self.house.send(position.symbol, side, str(qty), client_order_id=self._fresh_id()))

    @precondition(lambda self: self.house.account.open_orders)
    @rule(index=INDEX)
    def cancel(self, index: int) -> None:
        order = self._pick(index)
        self._run(lambda: self.house.desk.cancel(self.house.account, order.id))

    @precondition(lambda self: self.house.account.open_orders)
    @rule(index=INDEX, offset=OFFSETS, qty=QUANTITIES | st.none(), tif=st.sampled_from(["day", "gtc", None, None]))
    def replace(self, index: int, offset: int, qty: str | None, tif: str | None) -> None:
        order = self._pick(index)
        changes: dict[str, Any] = {"client_order_id": self._fresh_id(), **({} if qty is None else {"qty": qty})}
        if tif is not None:
            changes["time_in_force"] = tif
        if order.limit_price:
            changes["limit_price"] = price(order.symbol, offset)
        if order.stop_price and order.type in {"stop", "stop_limit"}:
            changes["stop_price"] = price(order.symbol, offset)
        if order.type == "trailing_stop":
            changes["trail"] = str(1 + abs(offset) // 100)
        self._try(lambda: self.house.replace(order, **changes))

    @rule(kind=st.sampled_from(["fill_before_cancel", "fill_before_replace", "reject_cancel", "reject_accepted"]))
    def a_fault_waits(self, kind: str) -> None:
        self.house.core.faults.add({"kind": kind})

    @rule(symbol=SYMBOL, side=SIDE, qty=QUANTITIES, offset=OFFSETS)
    def somebody_trades_in_the_account(self, symbol: str, side: str, qty: str, offset: int) -> None:
        at = D(price(symbol, offset))
        self._try(lambda: self.books.trade(self.house.account, symbol, side, qty, at))

    @precondition(lambda self: self.story.executions)
    @rule(index=INDEX)
    def a_trade_is_busted(self, index: int) -> None:
        """Not one whose coins have been sold meanwhile, which would leave less than none."""
        executions = list(self.story.executions.values())
        execution = executions[index % len(executions)]
        if execution.order.is_open or self.story.coins_without(execution) < 0:
            return
        self._run(lambda: self.books.bust(execution.id))
        self.story.busted(execution.id)
        self._try(lambda: self.books.bust(execution.id))  # it is gone

    @rule(cash=st.sampled_from(["1000", "30000", "250000"]), coins=st.sampled_from(["0.25", "2"]))
    def the_account_is_reset(self, cash: str, coins: str) -> None:
        held = {"BTC/USD": D(coins), "AAPL": D(5)}
        self._run(lambda: self.books.reset(self.house.account, D(cash), held))
        self.house.ledger.listeners.remove(self.story.hear)
        self.story = Story(D(cash), held)
        self.house.ledger.listeners.append(self.story.hear)

    @rule(symbol=SYMBOL)
    def a_symbol_is_halted_or_resumed(self, symbol: str) -> None:
        if symbol in self.house.core.floor.halted:
            self._run(lambda: self.books.resume([symbol]))
        else:
            self._run(lambda: self.books.halt(symbol))

    @rule(seconds=st.sampled_from([0.002, 0.01, 0.05, 1, 3600]))
    def time_passes(self, seconds: float) -> None:
        self._run(lambda: self.house.hand.pass_by(seconds))

    @rule()
    def a_day_passes(self) -> None:
        self._run(lambda: self.house.hand.pass_by(24 * 3600))

    @rule()
    def restart(self) -> None:
        self._the_past_is_the_same_everywhere()
        before, now = self._seen(), self.house.hand.peek()
        quotes = list(self.house.prices.quotes.values())
        trades = list(self.house.prices.trades.values())
        self.loop.run_until_complete(self.house.store.close())
        under_way = any(order["status"].startswith("pending_") for order in self.story.orders.values())
        self._start()
        self.house.hand.set(now)

        def show() -> None:
            for quote in quotes:
                self.house.prices.quote(quote)
            for trade in trades:
                self.house.prices.trade(trade)

        self._run(show)
        if not under_way:
            assert self._seen() == before

    def _seen(self) -> Any:
        """What a client sees of the account."""
        return (
            self._account(),
            {p.symbol: (p.qty, p.avg_entry_price) for p in self.house.account.state.positions.values()},
            {order.id: (order.qty, order.filled_qty) for order in self.house.account.open_orders.values()},
        )

    def _account(self) -> dict[str, Any]:
        return account_json(self.house.account, self.house.account.figures(self.house.prices))

    def _fresh_id(self) -> str:
        """Counted, because luck depends on it and a run has to be repeatable."""
        self.count += 1
        return f"order-{self.count}"

    def _pick(self, index: int) -> Order:
        orders = list(self.house.account.open_orders.values())
        return orders[index % len(orders)]

    def _try(self, act: Any) -> None:
        def refused() -> None:
            with contextlib.suppress(Refusal):
                act()

        self._run(refused)

    @invariant()
    def money_and_holdings_are_what_the_executions_say(self) -> None:
        state = self.house.account.state
        assert abs(state.cash - self.story.cash) <= D("1e-6")
        for symbol in ("AAPL", "PFE", "F", "BTC/USD", "ETH/USD"):
            assert self.house.account.qty(symbol) == self.story.held[symbol], symbol

    @invariant()
    def nothing_fills_beyond_its_quantity_and_coins_are_never_short(self) -> None:
        for order in self.story.orders.values():
            if order["qty"] is not None:
                assert D(order["filled_qty"]) <= D(order["qty"]), order
            else:
                spent = D(order["filled_qty"]) * D(order["filled_avg_price"] or 0)
                assert spent <= D(order["notional"]) + D("0.000001"), order
        for coin in ("BTC/USD", "ETH/USD"):
            assert self.house.account.qty(coin) >= 0

    @invariant()
    def buying_power_is_never_negative(self) -> None:
        account = self._account()
        assert D(account["buying_power"]) >= 0
        assert D(account["non_marginable_buying_power"]) >= 0

    @invariant()
    def holds_are_never_negative_and_end_with_the_orders(self) -> None:
        account = self.house.account
        for symbol in ("AAPL", "PFE", "F", "BTC/USD", "ETH/USD"):
            for side in (Side.BUY, Side.SELL):
                assert account.held(symbol, side) >= 0
        if not account.open_orders:
            assert account.reserved("margin") == account.reserved("USD") == account.reserved("BTC") == 0

    @invariant()
    def events_tell_the_same_story_as_rest(self) -> None:
        rows = self.house.store.read("select id, wire, is_open from orders")
        kept = {str(order_id): msgspec.json.decode(wire) for order_id, wire, _ in rows}  # type: ignore[arg-type]
        assert kept.keys() == self.story.orders.keys()
        for order_id, order in kept.items():
            told = self.story.orders[order_id]
            differing = {name for name in order if order[name] != told[name]}
            assert differing <= QUIET, (differing, order, told)
            assert (order["status"] in TERMINAL) is (order_id not in self.house.account.open_orders)
        assert {str(order_id) for order_id, _, is_open in rows if is_open} == self.house.account.open_orders.keys()

    def _the_past_is_the_same_everywhere(self) -> None:
        """What is kept for server-sent events is what was told; the fills among the activities are the executions."""
        account_id = self.house.account.id
        bodies = [msgspec.json.decode(row[0]) for row in self._read("events", account_id)]
        assert [(body["order"]["id"], body["event"]) for body in bodies] == self.story.told
        filled: dict[str, Decimal] = {}
        for activity in (msgspec.json.decode(row[0]) for row in self._read("activities", account_id)):
            if activity["activity_type"] == "FILL":
                sign = -1 if activity.get("execution_type") == "trade_bust" else 1
                filled[activity["order_id"]] = filled.get(activity["order_id"], D(0)) + sign * D(activity["qty"])
        executed = {order_id: qty for order_id, qty in self.story.executed.items() if qty}
        assert {order_id: qty for order_id, qty in filled.items() if qty} == executed

    def _read(self, table: str, account_id: str) -> Any:
        return self.house.store.read(f"select body from {table} where account_id = ? order by seq", (account_id,))


Broker.TestCase.settings = settings(
    max_examples=int(os.environ.get("EXAMPLES", "20")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBroker = Broker.TestCase
