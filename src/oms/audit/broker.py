"""The record beside the broker: open orders, positions, fills.

The two cannot be read at one moment, and what happens between them is no difference. So each look reads both, and only
what differs in every look, with the same values in the last two, is reported; what differs always but moves on is
listed as under way. The first look that agrees on something settles it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from oms.audit.findings import Difference, Findings
from oms.audit.reading import Record, Row
from oms.domain.orders import FINAL
from oms.domain.reports import BrokerFill, BrokerOrder
from oms.domain.values import ZERO
from oms.ports import Broker

LOOKS = 5
BETWEEN_LOOKS_S = 4.0  # longer together than the engine takes to find a lost update of an open order
_INSTANT = timedelta(milliseconds=1)

Key = tuple[str, str, str]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Look:
    """Both sides, read shortly after each other; the record at `at`."""

    at: datetime
    open_there: Mapping[str, BrokerOrder]
    held_there: Mapping[str, Decimal]
    fills_there: Mapping[tuple[str, Decimal], BrokerFill]
    open_here: Sequence[Row]
    known_here: Sequence[Row]  # orders that the broker's open orders and fills are of
    held_here: Mapping[str, Decimal]
    fills_here: Mapping[tuple[str, Decimal], Row]


async def audit_broker(
    record: Record, broker: Broker, account: Row, findings: Findings, since: datetime, sleep: Sleep = asyncio.sleep
) -> None:
    """Add to the findings what the broker says otherwise. Raises BrokerError, StoreUnavailable."""
    if account["adopted_at"] is None:
        findings.notes.append("No engine has taken this account in yet: there is nothing to compare with the broker.")
        return
    start = max(since, account["adopted_at"])
    lasting: dict[Key, Difference] = {}
    before: dict[Key, Difference] = {}
    for number in range(LOOKS):
        if number:
            await sleep(BETWEEN_LOOKS_S)
        look = await _look(record, broker, account["id"], start)
        if not number:
            findings.checked.update(_counts(look))
            _unanswered(look, findings)
        before = lasting
        seen = {difference.key: difference for difference in differences(look)}
        lasting = {key: one for key, one in seen.items() if not number or key in before}
        if not lasting:
            return
        start = _oldest_doubt(look, lasting)
    for key, difference in lasting.items():
        if _stands(before[key], difference):
            findings.differs(difference)
        else:
            findings.in_flight.append(difference)


async def _look(record: Record, broker: Broker, account_id: UUID, since: datetime) -> Look:
    open_there = {order.broker_order_id: order for order in await broker.open_orders()}
    fills_there = {
        (fill.broker_order_id, fill.cum_qty): fill
        for fill in await broker.fills_since(since - _INSTANT)
        if fill.transacted_at > since and not fill.is_bust
    }
    held_there: dict[str, Decimal] = {}
    for held in await broker.positions():  # a coin may be held under two of its pairs
        held_there[held.symbol] = held_there.get(held.symbol, ZERO) + held.qty
    async with record.snapshot() as snapshot:
        ids = [*open_there, *{order_id for order_id, _ in fills_there}]
        client_ids = [order.client_order_id for order in open_there.values()]
        return Look(
            await snapshot.moment(),
            open_there,
            held_there,
            fills_there,
            await snapshot.open_orders(account_id),
            await snapshot.orders_at_broker(account_id, ids, client_ids),
            {row["symbol"]: row["qty"] for row in await snapshot.positions() if row["account_id"] == account_id},
            {(row["broker_order_id"], row["cum_qty"]): row for row in await snapshot.fills_since(account_id, since)},
        )


def _oldest_doubt(look: Look, lasting: Mapping[Key, Difference]) -> datetime:
    """From where the next look needs fills: those in doubt, all others have been compared."""
    doubtful = {subject for kind, subject, _ in lasting if kind == "broker_fill"}
    times = [fill.transacted_at for key, fill in look.fills_there.items() if _name(*key) in doubtful]
    times += [row["transacted_at"] for key, row in look.fills_here.items() if _name(*key) in doubtful]
    return min(times, default=look.at) - _INSTANT


def _stands(before: Difference, after: Difference) -> bool:
    """Whether it is the same difference still; of quantities that go on moving, the distance counts."""
    pairs = [(one.recorded, one.expected) for one in (before, after)]
    distances = [b - a for a, b in pairs if isinstance(a, Decimal) and isinstance(b, Decimal)]
    return before == after or (len(distances) == 2 and distances[0] == distances[1])


def _name(broker_order_id: str, cum_qty: Decimal) -> str:
    return f"{broker_order_id} up to {cum_qty.normalize():f}"


def differences(look: Look) -> Iterator[Difference]:
    """What one look shows."""
    yield from _orders(look)
    yield from _fills(look)
    for symbol in sorted(look.held_there.keys() | look.held_here.keys()):
        ours, theirs = look.held_here.get(symbol, ZERO), look.held_there.get(symbol, ZERO)
        if ours != theirs:
            yield Difference("broker_position", symbol, "qty", ours, theirs)


def _orders(look: Look) -> Iterator[Difference]:
    by_broker = {row["alpaca_id"]: row for row in look.known_here}
    by_client = {row["client_order_id"]: row for row in look.known_here}
    for row in look.open_here:
        if row["alpaca_id"] is not None and row["alpaca_id"] not in look.open_there:
            yield Difference("broker_order", str(row["id"]), "status", row["status"], "not open")
    for broker_order_id, order in look.open_there.items():
        found: Any = by_broker.get(broker_order_id) or by_client.get(order.client_order_id)
        if found is None:
            what = f"{order.side} {order.qty} {order.symbol}"
            yield Difference("broker_order", f"{broker_order_id} at the broker ({what})", "row", "none", "one")
            continue
        subject = str(found["id"])
        if found["alpaca_id"] != broker_order_id:
            yield Difference("broker_order", subject, "alpaca_id", found["alpaca_id"], broker_order_id)
        elif found["status"] in FINAL:
            yield Difference("broker_order", subject, "status", found["status"], f"open ({order.broker_status})")
        filled = found["filled_qty"] - found["busted_qty"]
        if filled != order.filled_qty:
            yield Difference("broker_order", subject, "filled_qty", filled, order.filled_qty)


def _fills(look: Look) -> Iterator[Difference]:
    baselines = {row["alpaca_id"]: row["baseline_qty"] for row in look.known_here}
    for (order_id, cum_qty), fill in look.fills_there.items():
        name = _name(order_id, cum_qty)
        row = look.fills_here.get((order_id, cum_qty))
        if row is None:
            if cum_qty > baselines.get(order_id, ZERO):  # else it is in the adopted position
                what = f"{fill.side} {fill.qty} {fill.symbol} at {fill.price}"
                yield Difference("broker_fill", name, "row", "none", what)
            continue
        for field in ("qty", "price", "side", "transacted_at"):
            if row[field] != getattr(fill, field):
                yield Difference("broker_fill", name, field, row[field], getattr(fill, field))
    for order_id, cum_qty in look.fills_here.keys() - look.fills_there.keys():
        name = _name(order_id, cum_qty)
        yield Difference("broker_fill", name, "at the broker", "recorded", "not there")


def _counts(look: Look) -> dict[str, int]:
    return {
        "open orders at the broker": len(look.open_there),
        "positions at the broker": len(look.held_there),
        "fills at the broker": len(look.fills_there),
    }


def _unanswered(look: Look, findings: Findings) -> None:
    sent = [row for row in look.open_here if row["alpaca_id"] is None and row["attempted_at"] is not None]
    if sent:
        findings.notes.append(
            f"{len(sent)} order{'s' if len(sent) > 1 else ''} sent whose answer is still waited for or asked for."
        )
