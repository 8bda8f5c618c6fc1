"""What the answer to a halt names: every order that may still arrive, whoever sent it."""

from __future__ import annotations

import pytest
from tests.unit.execution.scripted import Running

from oms.domain.errors import BrokerUnknown
from oms.domain.reports import BrokerOrder
from oms.execution import decisions
from oms.ports import Ticket


async def test_an_order_whose_answer_was_lost_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation found it: no request is under way any more, and the first one arrives late."""
    monkeypatch.setattr(decisions, "WIRE_S", 0.1)

    async def lost(_: Ticket) -> BrokerOrder:
        raise BrokerUnknown("timeout")

    async with Running() as running:
        running.broker.on_submit = lost
        order_id = running.accept()
        await running.until(lambda: order_id in running.session.book.orders)
        await running.until(lambda: running.order(order_id).outcome_unknown)
        running.store.ask("halt", running.order(order_id))
        await running.until(lambda: any(commit.commands for commit in running.store.commits))
    answers = [text for commit in running.store.commits for _, _, text in commit.commands]
    assert answers == [f"halted: nothing new is sent; already on the wire, and followed: {order_id}"]
