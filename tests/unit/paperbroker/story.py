"""What a broker's events tell, reckoned apart from the broker: the property test holds the broker against it."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

import msgspec

from paperbroker.activities import Execution
from paperbroker.statuses import TERMINAL, Event
from paperbroker.updates import Update

D = Decimal
NINE = D("1e-9")


class Story:
    """Cash, holdings and orders of one account, made of nothing but its events; begin anew with each reset."""

    def __init__(self, cash: Decimal | None = None, held: dict[str, Decimal] | None = None) -> None:
        self.cash = D(100_000) if cash is None else cash
        self.held: dict[str, Decimal] = defaultdict(Decimal, {"BTC/USD": D("0.5")} if held is None else held)
        self.orders: dict[str, dict[str, Any]] = {}
        self.executed: dict[str, Decimal] = defaultdict(Decimal)
        self.executions: dict[str, Execution] = {}
        self.told: list[tuple[str, str]] = []

    def hear(self, update: Update) -> None:
        """A listener of the ledger."""
        event, order_id, execution = update.event, update.order_id, update.execution
        now = msgspec.json.decode(update.wire)
        assert msgspec.json.decode(update.body)["order"] == now
        before = self.orders.get(order_id)
        over = before is not None and before["status"] in TERMINAL
        assert not over or event is Event.RESTATED, f"{event} after {before['status'] if before else None}"
        if execution is not None:
            assert execution.qty > 0
            self.executed[order_id] += execution.qty
            self.executions[execution.id] = execution
            assert D(now["filled_qty"]) == self.executed[order_id] == execution.cum_qty
            self._book(execution, 1)
            assert self.held[execution.asset.holding] == execution.position_qty or execution.fee
        self.orders[order_id] = now
        self.told.append((order_id, event.value))

    def busted(self, execution_id: str) -> None:
        """An execution was taken back."""
        execution = self.executions.pop(execution_id)
        self.executed[execution.order.id] -= execution.qty
        self._book(execution, -1)

    def coins_without(self, execution: Execution) -> Decimal:
        """The least holding of coins that there would be without an execution."""
        before = dict(self.held)
        self._book(execution, -1)
        least = min((qty for symbol, qty in self.held.items() if "/" in symbol), default=D(0))
        self._book(execution, 1)
        assert {k: v for k, v in self.held.items() if v} == {k: v for k, v in before.items() if v}
        return least

    def _book(self, execution: Execution, sign: int) -> None:
        """What is credited pays the fee: the coin of a buy, the money (or the paying coin) of a sale."""
        asset, fee = execution.asset, execution.fee
        bought = execution.order.side == "buy"
        value = (execution.qty * execution.price).quantize(NINE)
        paid = -value if bought else value - fee
        got = execution.qty - fee if bought else -execution.qty
        self.held[asset.holding] += sign * got
        if asset.quote_currency == "USD":
            self.cash += sign * paid
        else:
            self.held[f"{asset.quote_currency}/USD"] += sign * paid
