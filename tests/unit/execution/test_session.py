"""Corners of a session: answers lost at the worst moment, stops, and data that would stop a careless engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from tests.unit.execution.scripted import Running, Store, at_broker

from oms.domain.errors import BrokerBusy, BrokerNotFound, BrokerUnknown, StoreConflict, StoreUnavailable
from oms.domain.orders import OrderStatus
from oms.domain.reports import BrokerOrder, BrokerPosition, OrderUpdate, UpdateKind
from oms.domain.values import AssetClass
from oms.execution import resolver
from oms.execution.book import PROVEN_ABSENT
from oms.execution.status import EngineStatus
from oms.ports import Changes, Command, Configs, Purpose, StoredOrder, Ticket


@pytest.fixture
def quick_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same logic, in fractions of a second."""
    monkeypatch.setattr(resolver, "ABSENT_AFTER_S", 0.4)
    monkeypatch.setattr(resolver, "BACKOFF_S", (0.02, 0.05))


async def lost(_: Ticket) -> BrokerOrder:
    raise BrokerUnknown("timeout")


async def test_an_order_that_never_arrived_ends_only_when_that_is_proven(quick_proofs: None) -> None:
    async with Running() as running:
        running.broker.on_submit = lost
        order = await running.ended(running.accept(valid_for_s=Decimal("0.2")))
        assert (order.status, order.error_code) == (OrderStatus.EXPIRED, "PROVEN_ABSENT")
        assert len({ticket.client_order_id for ticket in running.broker.posts}) == 1


async def test_the_proof_begins_anew_with_each_request_whose_answer_was_lost(quick_proofs: None) -> None:
    """The last of many requests was executed; the broker shows it a little later."""
    async with Running() as running:
        executed: list[float] = []
        loop = asyncio.get_running_loop()
        begin = loop.time()

        async def submit(_: Ticket) -> BrokerOrder:
            if loop.time() - begin > 0.6:
                executed.append(loop.time())
            raise BrokerUnknown("answer lost")

        async def lookup(client_order_id: str) -> BrokerOrder:
            if executed and loop.time() - executed[0] > 0.3:
                return at_broker(client_order_id)
            raise BrokerNotFound("not shown yet")

        running.broker.on_submit, running.broker.on_lookup = submit, lookup
        order_id = running.accept(valid_for_s=Decimal(3600))
        await running.until(lambda: order_id in running.session.book.orders)
        await running.until(lambda: running.order(order_id).alpaca_id is not None)
        assert running.order(order_id).status is OrderStatus.SUBMITTED


async def test_a_proof_counts_for_nothing_when_the_order_appears_while_it_is_made(quick_proofs: None) -> None:
    async with Running() as running:
        running.broker.on_submit = lost
        order_id = running.accept(valid_for_s=Decimal("0.1"))

        async def listing() -> Sequence[BrokerOrder]:
            order = running.session.book.orders.get(order_id)
            if order is not None and order.is_open and order.alpaca_id is None:
                await running.session.ledger.observe(at_broker(order.client_order_id))  # the stream was quicker
            return []

        await running.until(lambda: order_id in running.session.book.orders)
        running.broker.on_list = listing
        await running.until(lambda: running.order(order_id).alpaca_id is not None)
        await asyncio.sleep(0.2)
        assert running.order(order_id).status is OrderStatus.SUBMITTED


async def test_a_listing_that_left_something_out_proves_no_absence(
    quick_proofs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many are asked for together, and the broker's record of one of them cannot be read in the listing."""
    monkeypatch.setattr(resolver, "ASKED_SINGLY_MAX", 0)
    monkeypatch.setattr(resolver, "LISTING_HOLDS_S", 0.1)
    async with Running() as running:
        broker = running.broker

        async def listing() -> Sequence[BrokerOrder]:
            broker.left_out += 1
            return []

        async def lookup(client_order_id: str) -> BrokerOrder:
            return at_broker(client_order_id)

        broker.on_submit, broker.on_list, broker.on_lookup = lost, listing, lookup
        order_id = running.accept(valid_for_s=Decimal("0.1"))
        await running.until(lambda: order_id in running.session.book.orders)
        await running.until(lambda: running.order(order_id).alpaca_id is not None)
        assert running.order(order_id).status is OrderStatus.SUBMITTED


async def test_no_listing_is_older_than_the_request_or_a_few_seconds(
    quick_proofs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many share it; an order that it did not show yet must be found by the next."""
    monkeypatch.setattr(resolver, "ASKED_SINGLY_MAX", 0)
    monkeypatch.setattr(resolver, "LISTING_HOLDS_S", 0.1)
    async with Running() as running:
        broker = running.broker
        listings: list[int] = []

        async def listing() -> Sequence[BrokerOrder]:
            listings.append(len(broker.posts))
            return [at_broker(ticket.client_order_id) for ticket in broker.posts] if len(listings) > 2 else []

        broker.on_submit, broker.on_list = lost, listing
        order_id = running.accept(valid_for_s=Decimal("0.05"))
        await running.until(lambda: order_id in running.session.book.orders)
        await running.until(lambda: running.order(order_id).alpaca_id is not None)
        assert running.order(order_id).status is OrderStatus.SUBMITTED
        assert listings[0] == 1, "it was asked for before it was sent"


async def test_nothing_goes_out_after_it_is_stale() -> None:
    """A 429 with a long pause comes between the approval and the request."""
    async with Running() as running:
        running.budget.refused(60)
        order = running.store.accept(valid_for_s=Decimal("0.5"))
        running.session.wake()
        await running.until(lambda: order.id in running.session.book.orders, 5)
        ended = await running.ended(order.id)
        assert (ended.status, ended.error_code) == (OrderStatus.REJECTED, "SIGNAL_STALE")
        assert running.broker.posts == []
        assert running.budget.blocked_s(Purpose.CANCEL) <= 1


async def refused_for_now(running: Running) -> UUID:
    """An order whose request has met a 429, so that it waits for its turn."""

    async def busy(_: Ticket) -> BrokerOrder:
        running.budget.refused(1)
        raise BrokerBusy("too many requests", 1)

    running.broker.on_submit = busy
    order_id = running.accept(valid_for_s=Decimal(3600))
    await running.until(lambda: len(running.broker.posts) == 1)
    return order_id


async def test_an_approved_order_that_waits_for_its_turn_is_cancelled_here() -> None:
    """Its request met a 429, which executes nothing: who cancels it then must not see it sent, and filled, later."""
    async with Running() as running:
        order_id = await refused_for_now(running)
        running.store.ask("cancel", running.store.accepted[0])
        order = await running.ended(order_id)
        assert (order.status, order.error_message) == (OrderStatus.CANCELLED, "Cancelled before it was sent")
        await asyncio.sleep(1.2)
        assert len(running.broker.posts) == 1
        outcomes = [command for changes in running.store.commits for command in changes.commands]
        assert [(outcome, text) for _, outcome, text in outcomes] == [("done", "cancelled before it was sent")]


async def test_a_cancel_of_an_order_that_the_stream_has_shown_goes_to_the_broker() -> None:
    """A 429 that an edge wrote, behind which the order was taken all the same: it waits for its turn, and works."""
    async with Running() as running:
        order_id = await refused_for_now(running)
        there = at_broker(running.broker.posts[0].client_order_id)
        running.broker.updates_queue.put_nowait(OrderUpdate(UpdateKind.ACCEPTED, "new", there, there.submitted_at))
        await running.until(lambda: running.order(order_id).alpaca_id is not None)
        running.store.ask("cancel", running.store.accepted[0])
        await running.until(lambda: any(changes.commands for changes in running.store.commits))
        assert running.broker.cancels == [there.broker_order_id]
        assert running.order(order_id).status is OrderStatus.SUBMITTED


@pytest.mark.parametrize("ago_s", [1, 120])
async def test_what_was_cancelled_while_no_engine_ran_is_not_sent(ago_s: int) -> None:
    """The first pending orders are read when all is ready to send them; the cancel was there before."""
    running = Running()
    store = running.store
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    accepted = store.accept(created_at=at, valid_for_s=Decimal(3600))

    async def found(*_: object) -> StoredOrder:
        await asyncio.sleep(0.05)
        return StoredOrder(accepted, [])

    store.find_order = found  # type: ignore[method-assign,assignment]
    store.asked.append(Command(uuid4(), "cancel", accepted.id, {}, at))
    async with running:
        order = await running.ended(accepted.id)
        assert (order.status, order.error_message) == (OrderStatus.CANCELLED, "Cancelled before it was sent")
        assert running.broker.posts == []
        outcomes = [outcome for changes in store.commits for _, outcome, _ in changes.commands]
        assert outcomes == ["done"]


async def test_an_order_wanted_cancelled_is_not_sent_again(quick_proofs: None) -> None:
    async with Running() as running:
        running.broker.on_submit = lost
        order_id = running.accept(valid_for_s=Decimal(3600))
        await running.until(lambda: len(running.broker.posts) >= 1)
        running.store.ask("cancel", running.store.accepted[0])
        await running.until(lambda: order_id in running.session.resolver.given_up)
        await asyncio.sleep(0.1)
        sent = len(running.broker.posts)
        await running.ended(order_id)
        assert len(running.broker.posts) == sent


async def test_nor_where_the_cancel_is_too_old_to_be_waited_for(quick_proofs: None) -> None:
    """It was asked for while no engine ran: refused at once, but the order must not be sent again after it."""
    async with Running() as running:
        running.broker.on_submit = lost
        order_id = running.accept(valid_for_s=Decimal(3600))
        await running.until(lambda: bool(running.broker.posts))
        asked_at = datetime.now(UTC) - timedelta(seconds=120)
        running.store.asked.append(Command(uuid4(), "cancel", order_id, {}, asked_at))
        await running.until(lambda: any(changes.commands for changes in running.store.commits))
        posts = len(running.broker.posts)
        order = await running.ended(order_id)
        assert order.error_code == PROVEN_ABSENT
        assert len(running.broker.posts) <= posts + 1  # one may have been under way


async def test_a_stop_ends_although_the_store_is_gone() -> None:
    async with Running() as running:
        release = asyncio.Event()

        async def slow(ticket: Ticket) -> BrokerOrder:
            await release.wait()
            return at_broker(ticket.client_order_id)

        async def gone(_: Changes) -> None:
            raise StoreUnavailable("gone")

        running.broker.on_submit = slow
        running.accept()
        await running.until(lambda: len(running.broker.posts) == 1)
        running.store.on_commit = gone
        running.stop.set()
        await asyncio.sleep(0.05)
        release.set()
        assert running.task is not None
        async with asyncio.timeout(60):
            with pytest.raises(StoreUnavailable):
                await running.task


async def test_a_stopped_session_does_not_run_again() -> None:
    async with Running() as running:
        running.session._set(EngineStatus.STOPPED)
        running.session._set(EngineStatus.RUNNING)
        running.accept()
        await asyncio.sleep(0.1)
        assert running.session.status is EngineStatus.STOPPED
        assert running.broker.posts == []


async def test_whatever_ends_the_streams_reader_is_noticed() -> None:
    async with Running() as running:
        running.broker.updates_queue.put_nowait(OverflowError("a number beyond all bounds"))
        assert running.task is not None
        async with asyncio.timeout(60):
            with pytest.raises(OverflowError):
                await running.task


async def test_numbers_beyond_all_bounds_refuse_one_order_and_stop_nothing() -> None:
    huge = Configs(1, {"max_position_size_usd": "9" * 200})
    async with Running(huge) as running:
        order = await running.ended(running.accept(qty=Decimal("1e11"), valid_for_s=Decimal(10)))
        assert order.status is OrderStatus.REJECTED
        assert running.session.status is EngineStatus.RUNNING


async def test_changes_computed_from_what_has_changed_are_refused() -> None:
    order = Store().accept()
    first, second = Changes(), Changes()
    first.order(order, order.moved(OrderStatus.SUBMITTED, order.created_at))
    second.order(order, order.moved(OrderStatus.EXPIRED, order.created_at))
    with pytest.raises(StoreConflict):
        first.merge(second)


async def test_values_are_written_after_the_position_itself() -> None:
    """A position that was just opened is in memory before it is stored: its price must not be written into nothing."""
    async with Running() as running:
        written: list[str] = []
        release = asyncio.Event()

        async def slowly(_: Changes) -> None:
            await release.wait()
            written.append("position")

        async def value(*_: object) -> None:
            written.append("value")

        running.store.on_commit, running.store.value = slowly, value
        held = BrokerPosition("AAPL", AssetClass.STOCK, Decimal(1), Decimal(100))
        running.session.journal.record(running.session.book.adopt_position(held, datetime.now(UTC)))
        writing = asyncio.ensure_future(running.session.write_values([]))
        await asyncio.sleep(0.05)
        release.set()
        await writing
        assert written == ["position", "value"]
