"""What orders, positions and events look like in an answer: one place, for POST and GET alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oms.api.encoding import raw
from oms.domain.orders import Order
from oms.domain.values import ZERO
from oms.storage.queries import Row

ORDER_FIELDS = (
    "id", "symbol", "asset_class", "side", "qty", "type", "limit_price", "time_in_force", "status", "filled_qty",
    "filled_price", "busted_qty", "alpaca_id", "client_order_id", "origin", "source", "reason", "strategy", "signal_id",
    "valid_for_s", "error_code", "error_message", "checks", "outcome_unknown", "created_at", "submitted_at",
    "ended_at", "updated_at",
)  # fmt: skip
WHOLE_POSITION = "all"


def order_of_row(row: Row) -> dict[str, object]:
    """The public columns of a stored order."""
    shape: dict[str, object] = {name: row[name] for name in ORDER_FIELDS}
    shape["checks"] = raw(shape["checks"])
    return _with_qty(shape)


def order_of_acceptance(order: Order) -> dict[str, object]:
    """The public columns of an order that has just been stored."""
    shape: dict[str, object] = {name: getattr(order, name) for name in ORDER_FIELDS}
    shape["checks"] = list(order.checks)
    return _with_qty(shape)


def _with_qty(shape: dict[str, object]) -> dict[str, object]:
    """While "all" is not resolved, the quantity says so; an external order in dollars has none."""
    if shape["qty"] is None and shape["origin"] == "signal":
        shape["qty"] = WHOLE_POSITION
    return shape


def event_of_row(row: Row) -> dict[str, object]:
    """One line of the trail."""
    return {**row, "data": raw(row["data"])}


def portfolio(account: Row, positions: Sequence[Row]) -> dict[str, object]:
    """The account's totals and open positions.

    `market_value`, `unrealized_pnl` and `total_pnl` sum the positions that have a price; `unpriced` names the others,
    and where no open position has a price the sums are null, not 0. Realised P&L and fees are of all positions, closed
    ones too. `as_of` is when this was read, `account_as_of` when the broker gave cash, equity and buying power.
    """
    priced = [row for row in positions if row["unrealized_pnl"] is not None]
    unpriced = [row["symbol"] for row in positions if row["unrealized_pnl"] is None]
    known = bool(priced) or not positions
    market_value = sum((row["market_value"] for row in priced), ZERO) if known else None
    unrealized = sum((row["unrealized_pnl"] for row in priced), ZERO) if known else None
    totals: Mapping[str, object] = {
        "market_value": market_value,
        "unrealized_pnl": unrealized,
        "realized_pnl": account["realized_pnl"],
        "total_pnl": None if unrealized is None else account["realized_pnl"] + unrealized,
        "fees": account["fees"],
    }
    return {
        "account": account["name"],
        "account_number": account["number"],
        "currency": account["currency"],
        "cash": account["cash"],
        "equity": account["equity"],
        "buying_power": account["buying_power"],
        "account_as_of": account["account_as_of"],
        **totals,
        "unpriced": unpriced,
        "positions": list(positions),
        "as_of": account["as_of"],
    }
