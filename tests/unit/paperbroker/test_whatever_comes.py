"""Whatever orders, cancels, replacements, prices, restarts and days come: what holds for every broker holds."""

import asyncio
import contextlib
import os
import tempfile
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.paperbroker.house import House

from paperbroker.account_json import account_json
from paperbroker.errors import Refusal
from paperbroker.orders import Order
from paperbroker.statuses import TERMINAL
from paperbroker.updates import Update

D = Decimal
SYMBOLS = {"AAPL": 23000, "BTC/USD": 8_000_000, "PFE": 2500}
TICK = D("0.01")
QUANTITIES = st.sampled_from(["1", "3", "10", "0.5", "0.2", "0.001", "50", "400"])
OFFSETS = st.integers(-300, 300)
OPEN_INDEX = st.integers(0, 1000)


def price(symbol: str, offset: int) -> str:
    """A price some ten-thousandths off the symbol's level."""
    return str((SYMBOLS[symbol] + SYMBOLS[symbol] * offset // 10_000) * TICK)


class Broker(RuleBasedStateMachine):
    """A broker in the hands of hypothesis; `story` is what its events told, order by order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.story: dict[str, dict[str, Any]] = {}
        self.executed: dict[str, Decimal] = defaultdict(Decimal)
        self.count = 0
        self.cash = D(100_000)
        self.held: dict[str, Decimal] = defaultdict(Decimal, {"BTC/USD": D("0.5")})
        self.moved_down = D(0)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.house.store.close())
        self.loop.close()
        self.folder.cleanup()

    @initialize(fills=st.sampled_from(["paper", "displayed"]))
    def open(self, fills: Any) -> None:
        self.fills = fills
        self._start()
        for symbol in SYMBOLS:
            self._quote(symbol, 0, 1, 100)

    def _start(self) -> None:
        async def build() -> House:
            house = House(Path(self.folder.name), fills=self.fills)
            house.ledger.listeners.append(self._hear)
            return house

        self.house = self.loop.run_until_complete(build())

    def _run(self, act: Any) -> Any:
        """Act inside the event loop, wait for the commit, so that everything is told."""

        async def run() -> Any:
            result = act()
            await self.house.store.settled()
            return result

        return self.loop.run_until_complete(run())

    def _hear(self, update: Update) -> None:
        order_id, execution, told = update.order_id, update.execution, msgspec.json.decode(update.wire)
        before = self.story.get(order_id)
        assert before is None or before["status"] not in TERMINAL, f"{update.event} after {before['status']}"
        if execution is not None:
            assert execution.qty > 0
            self.executed[order_id] += execution.qty
            assert D(told["filled_qty"]) == self.executed[order_id] == execution.cum_qty
            bought = told["side"] == "buy"
            value = execution.qty * execution.price
            self.cash += -value if bought else value - execution.fee
            self.held[update.symbol] += execution.qty - execution.fee if bought else -execution.qty
        self.story[order_id] = told

    def _quote(self, symbol: str, offset: int, spread: int, size: int) -> None:
        bid = D(price(symbol, offset))
        self.house.quote(symbol, str(bid), str(bid + spread * TICK), size)

    @rule(symbol=st.sampled_from(list(SYMBOLS)), offset=OFFSETS, spread=st.integers(1, 30), size=st.integers(1, 500))
    def price_moves(self, symbol: str, offset: int, spread: int, size: int) -> None:
        self._run(lambda: self._quote(symbol, offset, spread, size))

    @rule(
        symbol=st.sampled_from(list(SYMBOLS)),
        side=st.sampled_from(["buy", "sell"]),
        kind=st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop"]),
        tif=st.sampled_from(["day", "gtc", "ioc", "fok", "opg", "cls"]),
        qty=QUANTITIES,
        offset=OFFSETS,
        money=st.booleans(),
        group=st.sampled_from(["", "", "", "bracket", "oco", "oto"]),
    )
    def order(
        self, symbol: str, side: str, kind: str, tif: str, qty: str, offset: int, money: bool, group: str
    ) -> None:
        body: dict[str, Any] = {"symbol": symbol, "side": side, "type": kind, "time_in_force": tif, "qty": qty}
        body["client_order_id"] = self._fresh_id()
        if "/" in symbol:
            body["time_in_force"] = "ioc" if tif in {"ioc", "fok"} else "gtc"
        if money:
            body = {**body, "qty": None, "notional": "1000", "time_in_force": body["time_in_force"]}
        if kind in {"limit", "stop_limit"}:
            body["limit_price"] = price(symbol, offset)
        if kind in {"stop", "stop_limit"}:
            body["stop_price"] = price(symbol, offset)
        if kind == "trailing_stop":
            body["trail_percent"] = "0.5"
        if group:
            long = (side == "buy") is (group != "oco")
            profit, stop = price(symbol, 350 if long else -350), price(symbol, -350 if long else 350)
            body |= {"order_class": group, "take_profit": {"limit_price": profit}, "time_in_force": "gtc"}
            if group != "oto":
                body["stop_loss"] = {"stop_price": stop}
        self._try(lambda: self.house.send(**body))

    @precondition(lambda self: self.house.account.open_orders)
    @rule(index=OPEN_INDEX)
    def cancel(self, index: int) -> None:
        order = self._pick(index)
        self._run(lambda: self.house.desk.cancel(self.house.account, order.id))

    @precondition(lambda self: self.house.account.open_orders)
    @rule(index=OPEN_INDEX, offset=OFFSETS, qty=QUANTITIES | st.none())
    def replace(self, index: int, offset: int, qty: str | None) -> None:
        order = self._pick(index)
        changes: dict[str, Any] = {"client_order_id": self._fresh_id(), **({} if qty is None else {"qty": qty})}
        if order.limit_price:
            changes["limit_price"] = price(order.symbol, offset)
        elif order.stop_price and order.type == "stop":
            changes["stop_price"] = price(order.symbol, offset)
        self._try(lambda: self.house.replace(order, **changes))

    @rule(seconds=st.sampled_from([0.002, 0.01, 0.05, 1]))
    def time_passes(self, seconds: float) -> None:
        self._run(lambda: self.house.hand.pass_by(seconds))

    @rule()
    def a_day_passes(self) -> None:
        self._run(lambda: self.house.hand.pass_by(24 * 3600))

    @rule()
    def restart(self) -> None:
        before, now = self._seen(), self.house.hand.peek()
        quotes = list(self.house.prices.quotes.values())
        self.loop.run_until_complete(self.house.store.close())
        under_way = any(order["status"].startswith("pending_") for order in self.story.values())
        self._start()
        self.house.hand.set(now)

        def show() -> None:
            for quote in quotes:
                self.house.prices.quote(quote)

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
        assert abs(state.cash - self.cash) <= D("1e-6")
        for symbol in SYMBOLS:
            assert self.house.account.qty(symbol) == self.held[symbol], symbol

    @invariant()
    def nothing_fills_beyond_its_quantity_and_coins_are_never_short(self) -> None:
        for order in self.story.values():
            if order["qty"] is not None:
                assert D(order["filled_qty"]) <= D(order["qty"]), order
        assert self.house.account.qty("BTC/USD") >= 0

    @invariant()
    def buying_power_is_never_negative(self) -> None:
        account = self._account()
        assert D(account["buying_power"]) >= 0
        assert D(account["non_marginable_buying_power"]) >= 0

    @invariant()
    def holds_are_never_negative_and_end_with_the_orders(self) -> None:
        account = self.house.account
        for symbol in SYMBOLS:
            for side in ("buy", "sell"):
                assert account.held(symbol, side) >= 0  # type: ignore[arg-type]
        if not account.open_orders:
            assert account.reserved("margin") == account.reserved("USD") == 0

    @invariant()
    def events_tell_the_same_story_as_rest(self) -> None:
        rows = self.house.store.read("select id, wire, is_open from orders")
        kept = {str(order_id): msgspec.json.decode(wire) for order_id, wire, _ in rows}  # type: ignore[arg-type]
        assert kept.keys() == self.story.keys()
        for order_id, order in kept.items():
            told = self.story[order_id]
            for name in ("status", "filled_qty", "filled_avg_price", "replaced_by"):
                assert order[name] == told[name], (name, order, told)
        assert {str(order_id) for order_id, _, is_open in rows if is_open} == self.house.account.open_orders.keys()


Broker.TestCase.settings = settings(
    max_examples=int(os.environ.get("EXAMPLES", "20")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBroker = Broker.TestCase
