"""The audit's own way to a position agrees with the domain's fold, and with the money that changed hands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from oms.audit.holdings import worked_out
from oms.domain.positions import Entry, Position, recomputed
from oms.domain.values import AssetClass

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
QTY = st.decimals(-50, 50, places=3)
PRICE = st.decimals("0.01", 500, places=2)
MOVES = st.lists(st.tuples(st.sampled_from(["fill", "coin fee", "cash fee", "back to zero"]), QTY, PRICE), max_size=30)


def steps_of(moves: list[tuple[str, Decimal, Decimal]]) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    held = Decimal(0)
    for second, (what, qty, price) in enumerate(moves):
        step = {
            "at": NOW + timedelta(seconds=second), "broker_order_id": "b", "cum_qty": Decimal(1), "rank": 0,
            "qty": qty, "price": price, "cash": Decimal(0), "is_fee": False,
        }  # fmt: skip
        if what == "coin fee":
            step |= {"qty": -abs(qty) / 1000, "price": None, "is_fee": True, "rank": 1}
        elif what == "cash fee":
            step |= {"qty": Decimal(0), "price": None, "cash": -price, "is_fee": True, "rank": 1}
        elif what == "back to zero":
            step["qty"] = -held
        held += step["qty"]
        steps.append(step)
    return steps


@given(MOVES)
@settings(max_examples=500, deadline=None)
def test_both_ways_agree(moves: list[tuple[str, Decimal, Decimal]]) -> None:
    steps = steps_of(moves)
    entries = [
        Entry(
            (one["at"], one["broker_order_id"], one["cum_qty"], one["rank"]), one["qty"], one["price"], one["cash"],
            one["is_fee"],
        )
        for one in steps
    ]  # fmt: skip
    folded = recomputed(Position(UUID(int=1), UUID(int=2), "X", AssetClass.CRYPTO), entries, from_beginning=True)
    found = worked_out(steps)
    assert found.qty == folded.qty
    assert (found.last, found.flat) == (folded.last_key, folded.flat_key)
    for name in ("avg_price", "realized_pnl", "fees", "flat_realized", "flat_fees"):
        assert abs(getattr(found, name) - getattr(folded, name)) < Decimal("1e-9"), name
    if found.qty:
        assert found.opened_at == folded.opened_at


@given(MOVES)
@settings(max_examples=300, deadline=None)
def test_realised_is_what_was_paid_and_received_and_what_is_left_at_cost(
    moves: list[tuple[str, Decimal, Decimal]],
) -> None:
    steps = steps_of(moves)
    found = worked_out(steps)
    paid = sum((one["qty"] * one["price"] for one in steps if one["price"] is not None), Decimal(0))
    cash = sum((one["cash"] for one in steps), Decimal(0))
    assert abs(found.realized_pnl - (found.qty * found.avg_price - paid + cash)) < Decimal("1e-7")
