"""The matrix's judge sees each kind of difference: one that finds nothing would prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.faults.convergence import Ours, Theirs, compare, position_error

Side = dict[str, list[dict[str, Any]]]
ACCEPTED = {"s-1": "1"}


def agreeing() -> tuple[Side, Side]:
    """One order for ten, filled in two parts, on both sides."""
    order = {
        "id": "1", "signal_id": "s-1", "client_order_id": "tm1-1", "alpaca_id": "b-1", "status": "filled",
        "outcome_unknown": False, "error_code": None, "error_message": None, "origin": "signal", "qty": Decimal(10),
        "filled_qty": Decimal(10), "baseline_qty": Decimal(0),
    }  # fmt: skip
    fills = [
        {
            "order_id": "1", "broker_order_id": "b-1", "symbol": "KO", "side": "buy", "qty": Decimal(qty),
            "price": Decimal(5), "cum_qty": Decimal(cum),
        }
        for qty, cum in ((4, 4), (6, 10))
    ]  # fmt: skip
    ours = {"orders": [order], "fills": fills, "positions": [{"symbol": "KO", "qty": Decimal(10)}], "adjustments": []}
    theirs = {
        "orders": [{"id": "b-1", "client_order_id": "tm1-1", "status": "filled"}],
        "fills": [
            {"seq": n, "order_id": "b-1", "symbol": "KO", "side": "buy", "qty": qty, "price": "5", "cum_qty": cum}
            for n, (qty, cum) in enumerate((("4", "4"), ("6", "10")))
        ],
        "positions": [{"symbol": "KO", "qty": "10"}],
    }
    return ours, theirs


def found(change: Callable[[Side, Side], object]) -> set[str]:
    """The kinds of differences after a change."""
    ours, theirs = agreeing()
    change(ours, theirs)
    return {name for name, texts in vars(compare(Ours(**ours), Theirs(**theirs), ACCEPTED)).items() if texts}


def test_what_agrees_has_no_differences() -> None:
    assert found(lambda ours, theirs: None) == set()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("lost", lambda ours, theirs: ours["orders"].clear()),
        ("lost", lambda ours, theirs: theirs["orders"].clear()),
        ("lost", lambda ours, theirs: ours["fills"].pop()),
        ("lost", lambda ours, theirs: ours["fills"].pop(0)),
        ("doubled", lambda ours, theirs: ours["orders"].append({**ours["orders"][0], "id": "2"})),
        ("doubled", lambda ours, theirs: theirs["orders"].append({**theirs["orders"][0], "id": "b-2"})),
        ("doubled", lambda ours, theirs: ours["fills"].append(ours["fills"][0])),
        ("doubled", lambda ours, theirs: theirs["fills"].pop()),
        ("doubled", lambda ours, theirs: ours["orders"][0].update(qty=Decimal(9))),
        ("doubled", lambda ours, theirs: ours["orders"][0].update(id="3")),
        ("false_rejects", lambda ours, theirs: ours["orders"][0].update(status="rejected")),
        ("false_rejects", lambda ours, theirs: ours["orders"][0].update(status="expired")),
        ("unsettled", lambda ours, theirs: ours["orders"][0].update(status="submitted")),
        ("unsettled", lambda ours, theirs: ours["orders"][0].update(outcome_unknown=True)),
        ("unsettled", lambda ours, theirs: ours["orders"][0].update(filled_qty=Decimal(4))),
        ("unsettled", lambda ours, theirs: ours["fills"][0].update(price=Decimal(6))),
        ("unsettled", lambda ours, theirs: ours["positions"].clear()),
        ("unsettled", lambda ours, theirs: theirs["positions"][0].update(qty="11")),
        ("unsettled", lambda ours, theirs: theirs["orders"].append({"client_order_id": "x", "status": "new"})),
    ],
)
def test_each_kind_of_difference_is_found(kind: str, change: Callable[[Side, Side], object]) -> None:
    assert kind in found(change)


def test_the_position_error_is_the_distance_from_fills_and_adjustments() -> None:
    ours, _ = agreeing()
    assert position_error(Ours(**ours)) == 0
    ours["adjustments"].append({"symbol": "KO", "qty": Decimal("-0.5")})
    assert position_error(Ours(**ours)) == Decimal("0.5")
