"""Cancels: of orders that wait here, that are at the broker, and that nobody knows whether they arrived."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog

from oms.domain.errors import BrokerError, BrokerNotFound, BrokerRefused, BrokerUnauthorized, CommandRefused
from oms.domain.events import EventKind
from oms.domain.orders import Order
from oms.execution.desk import Desk
from oms.execution.dispatcher import Dispatcher
from oms.execution.ledger import Ledger
from oms.execution.resolver import Resolver
from oms.ports import Changes, Command

log = structlog.get_logger(__name__)

TRIED_FOR = timedelta(seconds=60)  # a cancel of an order whose fate is unknown waits this long for it


class Cancels:
    """Asks for cancels. Only an event of the broker's ends an order that it has."""

    def __init__(self, desk: Desk, ledger: Ledger, dispatcher: Dispatcher, resolver: Resolver) -> None:
        self._desk = desk
        self._book = desk.book
        self._broker = desk.outside.broker
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._resolver = resolver

    def announce(self, command: Command) -> None:
        """A cancel that will be taken up: what waits here, or will be read, is not sent before."""
        if command.order_id is not None and command.order_id not in self._book.orders:
            self._dispatcher.held_back.add(command.order_id)

    async def cancel(self, command: Command) -> Changes | None:
        """One cancel. Raises CommandRefused."""
        if command.order_id is None:
            raise CommandRefused("a cancel names an order")
        withdrawn = self._dispatcher.withdraw(command.order_id)
        if withdrawn is not None:
            withdrawn.merge(_done(command, "cancelled before it was sent"))
            return withdrawn
        is_late = command.created_at + TRIED_FOR < self._desk.outside.clock.now()
        order = await self._find(command.order_id, is_late=is_late)
        if order is None:
            return None
        self._dispatcher.held_back.discard(order.id)
        if not order.is_open:
            raise CommandRefused(f"the order is already {order.status}")
        if order.alpaca_id is not None:
            return await self._at_broker(command, order)
        self._resolver.given_up.add(order.id)  # it is not sent again once somebody wants it cancelled
        if is_late:
            raise CommandRefused("the broker has not shown the order yet; it is still being asked for")
        return None

    async def unwanted(self) -> None:
        """Cancel what is alive at the broker but was given up here."""
        for broker_order_id in list(self._ledger.unwanted):
            try:
                await self._broker.cancel(broker_order_id)
            except (BrokerRefused, BrokerNotFound) as error:
                log.warning("unwanted_order_not_cancelled", broker_order_id=broker_order_id, reason=str(error))
            except BrokerError:
                continue  # tried again
            self._ledger.unwanted.discard(broker_order_id)

    async def _find(self, order_id: UUID, *, is_late: bool) -> Order | None:
        order = self._book.orders.get(order_id)
        if order is not None:
            return order
        stored = await self._desk.outside.store.find_order(self._desk.account_id, None, None, order_id)
        if stored is None:
            if is_late:
                self._dispatcher.held_back.discard(order_id)
                raise CommandRefused("there is no such order")
            return None
        if stored.order.is_open and not stored.order.was_attempted:
            return None  # accepted, not read yet, however long ago: it waits in the next pass
        return self._book.take_in(stored)

    async def _at_broker(self, command: Command, order: Order) -> Changes | None:
        assert order.alpaca_id is not None  # noqa: S101 — the caller has seen to it
        try:
            await self._broker.cancel(order.alpaca_id)
        except BrokerUnauthorized as error:
            log.warning("cancel_unauthorized", order_id=str(order.id), reason=str(error))
            return None  # it says nothing of the order: the command waits for keys that work
        except BrokerRefused as error:
            self._ledger.ask_for_all()
            raise CommandRefused(f"Alpaca refused the cancel: {error.message}") from None
        except BrokerNotFound:
            self._ledger.ask_for_all()
            raise CommandRefused("Alpaca knows no such order") from None
        except BrokerError as error:
            log.warning("cancel_unknown", order_id=str(order.id), reason=str(error))
            return None  # asked again in the next pass: a second cancel does no harm
        changes = self._book.note(self._book.orders[order.id], EventKind.CANCEL_REQUESTED)
        changes.merge(_done(command, "the broker was asked to cancel it"))
        return changes


def _done(command: Command, text: str) -> Changes:
    return Changes(commands=[(command.id, "done", text)])
