"""Somebody else's bracket in the account: its legs wait at the broker, begin to work, and end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.integration.execution.conftest import Trading

from oms.audit.audit import audit_record
from oms.storage.audit import PostgresRecord

ENTRY = {"symbol": "AAPL", "side": "buy", "qty": "2", "type": "limit", "limit_price": "100", "time_in_force": "gtc"}
EXITS: dict[str, Any] = {"take_profit": {"limit_price": "120"}, "stop_loss": {"stop_price": "90"}}


def quoted(trading: Trading, price: int) -> None:
    trading.paper.control.set_price("AAPL", bid=price, ask=price + 1, bid_size=100, ask_size=100, price=price)


async def statuses(trading: Trading) -> dict[str, str]:
    """Of the entry and its exits, by their type at the broker."""
    rows = await trading.pool.fetch("select side, limit_price, status, origin from orders")
    assert all(row["origin"] == "external" for row in rows)
    names = {("buy", Decimal(100)): "entry", ("sell", Decimal(120)): "profit", ("sell", None): "stop"}
    return {names[row["side"], row["limit_price"]]: row["status"] for row in rows}


async def test_a_leg_is_shown_as_the_broker_has_it_from_held_to_its_end(trading: Trading) -> None:
    quoted(trading, 110)
    await trading.post_at_broker({**ENTRY, "order_class": "bracket", **EXITS})

    async def are(wanted: dict[str, str]) -> bool:
        return await statuses(trading) == wanted

    await trading.until(lambda: are({"entry": "submitted", "profit": "held", "stop": "held"}))
    quoted(trading, 99)
    await trading.until(lambda: are({"entry": "filled", "profit": "submitted", "stop": "held"}))
    await trading.passes(2)
    assert await are({"entry": "filled", "profit": "submitted", "stop": "held"})
    quoted(trading, 121)
    await trading.until(lambda: are({"entry": "filled", "profit": "filled", "stop": "cancelled"}))
    await trading.passes(2)
    assert trading.standing() == []
    assert await trading.position("AAPL") == 0
    assert [one.as_data() for one in (await audit_record(PostgresRecord(trading.pool))).differences] == []
