"""Carries out what the API asks of the engine: rows of `commands`, acknowledged in the row."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog

from oms.domain.errors import BrokerError, BrokerNotFound, BrokerRefused, BrokerUnauthorized
from oms.domain.events import EventKind
from oms.domain.orders import Order
from oms.execution.book import Book
from oms.execution.dispatcher import Dispatcher
from oms.execution.journal import Journal
from oms.execution.ledger import Ledger
from oms.execution.resolver import Resolver
from oms.ports import Broker, Changes, Clock, Command, Store

log = structlog.get_logger(__name__)

TRIED_FOR = timedelta(seconds=60)  # a cancel of an order whose fate is unknown waits this long for it


class Commands:
    """Cancels orders. A command stays in its row until it was carried out or refused, also over a restart."""

    def __init__(
        self,
        account_id: UUID,
        store: Store,
        broker: Broker,
        book: Book,
        journal: Journal,
        ledger: Ledger,
        dispatcher: Dispatcher,
        resolver: Resolver,
        clock: Clock,
    ) -> None:
        self._account_id = account_id
        self._store = store
        self._broker = broker
        self._book = book
        self._journal = journal
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._resolver = resolver
        self._clock = clock
        self._asked: set[UUID] = set()

    async def carry_out(self) -> None:
        """Take up every waiting command once, and cancel what is alive at the broker but was given up here."""
        for broker_order_id in list(self._ledger.unwanted):
            await self._cancel_unwanted(broker_order_id)
        for command in await self._store.commands(self._account_id):
            if command.id not in self._asked:
                await self._one(command)

    async def _one(self, command: Command) -> None:
        if command.kind != "cancel" or command.order_id is None:
            self._done(command, "refused", f"this engine knows no command {command.kind!r}")
            return
        if self._dispatcher.withdraw(command.order_id) is not None:
            self._done(command, "done", "cancelled before it was sent")
            return
        order = await self._find(command.order_id)
        if order is None:
            if command.created_at + TRIED_FOR < self._clock.now():
                self._done(command, "refused", "there is no such order")
        elif not order.is_open:
            self._done(command, "refused", f"the order is already {order.status}")
        elif order.alpaca_id is not None:
            await self._cancel(command, order)
        elif command.created_at + TRIED_FOR >= self._clock.now():
            self._resolver.given_up.add(order.id)  # it is not sent again while somebody wants it cancelled
        else:
            self._done(command, "refused", "the broker has not shown the order yet; it is still being asked for")

    async def _find(self, order_id: UUID) -> Order | None:
        order = self._book.orders.get(order_id)
        if order is not None:
            return order
        stored = await self._store.find_order(self._account_id, None, None, order_id)
        if stored is None or (stored.order.is_open and not stored.order.was_attempted):
            return None  # accepted, not read yet: it waits in the next pass
        return self._book.take_in(stored)

    async def _cancel(self, command: Command, order: Order) -> None:
        assert order.alpaca_id is not None  # noqa: S101 — the caller has seen to it
        try:
            await self._broker.cancel(order.alpaca_id)
        except BrokerUnauthorized as error:
            log.warning("cancel_unauthorized", order_id=str(order.id), reason=str(error))
            return  # it says nothing of the order: the command waits for keys that work
        except BrokerRefused as error:
            self._done(command, "refused", f"Alpaca refused the cancel: {error.message}")
            self._ledger.ask_for_all()
            return
        except BrokerNotFound:
            self._done(command, "refused", "Alpaca knows no such order")
            self._ledger.ask_for_all()
            return
        except BrokerError as error:
            log.warning("cancel_unknown", order_id=str(order.id), reason=str(error))
            return  # asked again in the next pass: a second cancel does no harm
        self._journal.record(self._book.note(self._book.orders[order.id], EventKind.CANCEL_REQUESTED))
        self._done(command, "done", "the broker was asked to cancel it")

    async def _cancel_unwanted(self, broker_order_id: str) -> None:
        try:
            await self._broker.cancel(broker_order_id)
        except (BrokerRefused, BrokerNotFound) as error:
            log.warning("unwanted_order_not_cancelled", broker_order_id=broker_order_id, reason=str(error))
        except BrokerError:
            return  # tried again
        self._ledger.unwanted.discard(broker_order_id)

    def _done(self, command: Command, outcome: str, text: str) -> None:
        self._asked.add(command.id)
        self._journal.record(Changes(commands=[(command.id, outcome, text)]))
