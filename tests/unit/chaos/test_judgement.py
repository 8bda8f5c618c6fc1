"""The judgement after chaos names each thing that can go wrong, and nothing when all is well."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from tests.chaos.judgement import Judgement, compare
from tests.chaos.load import Sent

World = dict[str, Any]
ONE, TWO = Decimal(1), Decimal(2)


def world() -> World:
    """A filled order, a refused one and a resting one, the same on both sides."""
    common = {"error_code": None, "filled_qty": Decimal(0), "alpaca_id": None}
    return {
        "sent": Sent(
            signals={"s1": {}, "s2": {}, "s3": {}}, answers={"s1": {"o1"}, "s2": {"o2"}}, by_stream={"s3"}
        ),
        "orders": [
            {**common, "id": "o1", "signal_id": "s1", "client_order_id": "c1", "symbol": "AAPL", "status": "filled",
             "filled_qty": TWO, "alpaca_id": "b1"},
            {**common, "id": "o2", "signal_id": "s2", "client_order_id": "c2", "symbol": "AAPL", "status": "rejected"},
            {**common, "id": "o3", "signal_id": "s3", "client_order_id": "c3", "symbol": "KO", "status": "submitted",
             "alpaca_id": "b3"},
        ],
        "theirs": [
            {"id": "b1", "client_order_id": "c1", "status": "filled", "filled_qty": "2"},
            {"id": "b3", "client_order_id": "c3", "status": "new", "filled_qty": "0"},
        ],
        "fills": [
            {"order_id": "o1", "broker_order_id": "b1", "symbol": "AAPL", "side": "buy", "qty": ONE, "price": TWO,
             "cum_qty": cum_qty} for cum_qty in (ONE, TWO)
        ],
        "log": [{"order_id": "b1", "qty": "1", "price": "2", "cum_qty": cum_qty} for cum_qty in ("1", "2")],
        "adjustments": [{"symbol": "AAPL", "qty": ONE}],
        "positions": [{"symbol": "AAPL", "qty": Decimal(3)}],
        "held": [{"symbol": "AAPL", "qty": "3"}],
    }  # fmt: skip


def judged(changed: World) -> Judgement:
    return compare(**changed)


def test_nothing_is_wrong_where_both_sides_agree() -> None:
    assert judged(world()).wrong == []


def _order(of: World, number: int, **changed: Any) -> None:
    of["orders"][number].update(changed)


DEFECTS: dict[str, tuple[str, Callable[[World], Any]]] = {
    "an accepted signal without an order": ("lost", lambda w: w["orders"].pop(1)),
    "an entry of the stream without an order": ("lost", lambda w: (w["orders"].pop(), w["theirs"].pop())),
    "an answer that names another order": ("lost", lambda w: w["sent"].answers.update(s2={"o9"})),
    "a signal with two orders": (
        "doubled", lambda w: w["orders"].append({**w["orders"][1], "id": "o4", "client_order_id": "c4"})
    ),
    "two answers to one signal": ("doubled", lambda w: w["sent"].answers.update(s1={"o1", "o2"})),
    "two orders at the broker": ("doubled", lambda w: w["theirs"].append(dict(w["theirs"][0], id="b9"))),
    "an order at the broker that nobody knows": (
        "doubled", lambda w: w["theirs"].append(dict(w["theirs"][1], client_order_id="c9"))
    ),
    "a fill that is booked twice": ("doubled", lambda w: w["fills"].append(w["fills"][0])),
    "a fill that is not booked": ("lost", lambda w: w["log"].append(dict(w["log"][0], cum_qty="3"))),
    "a fill that never was": ("miscounted", lambda w: w["log"].pop()),
    "a fill at another price": ("miscounted", lambda w: w["log"][0].update(price="2.01")),
    "rejected here, filled there": ("false_rejects", lambda w: _order(w, 0, status="rejected")),
    "expired here, open there": ("false_rejects", lambda w: _order(w, 2, status="expired")),
    "pending when all is over": ("lost", lambda w: _order(w, 1, status="pending")),
    "submitted, and not at the broker": ("lost", lambda w: w["theirs"].pop()),
    "submitted here, filled there": ("lost", lambda w: w["theirs"][1].update(status="filled")),
    "another quantity than its fills": ("miscounted", lambda w: _order(w, 0, filled_qty=ONE)),
    "a position that differs from the broker's": ("miscounted", lambda w: w["held"][0].update(qty="4")),
    "a position that is not the sum of its fills": ("miscounted", lambda w: w["adjustments"].clear()),
    "a position that only the broker has": ("miscounted", lambda w: w["held"].append({"symbol": "KO", "qty": "1"})),
}  # fmt: skip


@pytest.mark.parametrize("what", DEFECTS)
def test_each_defect_is_named(what: str) -> None:
    kind, spoil = DEFECTS[what]
    spoilt = deepcopy(world())
    spoil(spoilt)
    assert getattr(judged(spoilt), kind), judged(spoilt)
