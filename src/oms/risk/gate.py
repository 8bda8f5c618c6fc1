"""The gate: runs every control, and makes the only kind of order that may be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from oms.domain.orders import Order
from oms.domain.values import Side
from oms.risk.controls import CONTROLS, Check, RiskView, Verdict, closable

Data = Mapping[str, object]
DIGITS = 80


@dataclass(frozen=True, slots=True)
class ApprovedOrder:
    """An order that passed every control, with the quantity to send. What sends orders accepts nothing else."""

    order: Order
    qty: Decimal
    checks: Sequence[Data]


@dataclass(frozen=True, slots=True)
class RefusedOrder:
    """An order that a control refused. `code` is the first refusal's; `message` names every one."""

    order: Order
    code: str
    message: str
    checks: Sequence[Data]


def check(order: Order, view: RiskView) -> ApprovedOrder | RefusedOrder:
    """Run every control on an order. Reads memory only.

    Numbers as large as PostgreSQL takes must not stop the engine: what cannot be computed refuses this one order.
    """
    try:
        with localcontext(prec=DIGITS):
            return _checked(order, view)
    except ArithmeticError as error:
        text = f"The limits cannot be computed with these numbers ({type(error).__name__}); check the table configs"
        return RefusedOrder(order, "CHECK_FAILED", text, [Check("CHECK_FAILED", Verdict.REFUSE, text).as_data()])


def _checked(order: Order, view: RiskView) -> ApprovedOrder | RefusedOrder:
    qty = order.qty if order.qty is not None else closable(order.side, view)
    if qty <= 0:
        direction = "long" if order.side is Side.SELL else "short"
        text = f'Nothing to {order.side}: "all" needs a {direction} position of {order.symbol} not yet being closed'
        return RefusedOrder(
            order, "NOTHING_TO_CLOSE", text, [Check("NOTHING_TO_CLOSE", Verdict.REFUSE, text).as_data()]
        )
    checks = [found for control in CONTROLS if (found := control(order, qty, view)) is not None]
    data = [one.as_data() for one in checks]
    refusals = [one for one in checks if one.verdict is Verdict.REFUSE]
    if refusals:
        return RefusedOrder(order, refusals[0].code, "; ".join(one.text for one in refusals), data)
    return ApprovedOrder(order, qty, data)
