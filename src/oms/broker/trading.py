"""Alpaca's trading API behind the port `Broker`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar
from urllib.parse import quote

import msgspec

from oms.broker import listings, translate, wire
from oms.broker.listings import Listing, Page, Reader
from oms.broker.symbols import SymbolBook
from oms.broker.transport import Transport
from oms.broker.updates import TradeUpdates, listening
from oms.broker.wire import Unreadable
from oms.domain.errors import BrokerUnknown, BrokerUnreadable
from oms.domain.instruments import Instrument
from oms.domain.reports import (
    BrokerAccount,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    FeeActivity,
    MarketClock,
    UnreadableRecord,
)
from oms.domain.values import trimmed
from oms.ports import Purpose, Ticket

ORDERS_PER_PAGE = 500
ACTIVITIES_PER_PAGE = 100
PAGES_MAX = 1000
FEE_LOOKBACK = timedelta(days=3)  # CFEE activities are posted later than the day that they are dated

Record = TypeVar("Record")
Report = TypeVar("Report")
Item = TypeVar("Item")


class AlpacaBroker:
    """One account at Alpaca, or at whatever speaks its protocol. Nothing is repeated here, whatever fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._book = SymbolBook()
        self._reader = Reader(self._book)

    async def account(self) -> BrokerAccount:
        """The account's totals."""
        return self._read(translate.account, await self._get(wire.ACCOUNT, "/v2/account"))

    async def clock(self) -> MarketClock:
        """The market's clock."""
        return self._read(translate.clock, await self._get(wire.CLOCK, "/v2/clock"))

    async def instruments(self) -> Sequence[Instrument]:
        """All active stocks and coins. From then on symbols of positions are read by this list."""
        found: list[Instrument] = []
        for word in ("us_equity", "crypto"):
            query = {"status": "active", "asset_class": word}
            page = await self._page(listings.ASSETS, "/v2/assets", query)
            found += self._reader.reports(listings.ASSETS, page.items)
        self._book.learn(found)
        return found

    async def submit(self, ticket: Ticket) -> BrokerOrder:
        """Send one order, once. Raises BrokerRefused, BrokerDuplicateId when the client_order_id is taken."""
        body = {
            "symbol": ticket.symbol,
            "qty": plain(ticket.qty),
            "side": ticket.side.value,
            "type": ticket.type.value,
            "time_in_force": ticket.time_in_force.value,
            "client_order_id": ticket.client_order_id,
        }
        if ticket.limit_price is not None:
            body["limit_price"] = plain(ticket.limit_price)
        record = await self._transport.fetch(wire.ORDER, "POST", "/v2/orders", Purpose.SUBMIT, body=body)
        return self._order(record)

    async def cancel(self, broker_order_id: str) -> None:
        """Ask for a cancel; done only when an update says so. Raises BrokerRefused, BrokerNotFound."""
        await self._transport.send("DELETE", _order_path(broker_order_id), Purpose.CANCEL, is_lookup=True)

    async def order(self, broker_order_id: str) -> BrokerOrder:
        """One order. Raises BrokerNotFound."""
        return self._order(await self._get(wire.ORDER, _order_path(broker_order_id), is_lookup=True))

    async def order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        """One order by our id. Raises BrokerNotFound on a definite 404."""
        query = {"client_order_id": client_order_id}
        return self._order(await self._get(wire.ORDER, "/v2/orders:by_client_order_id", query, is_lookup=True))

    async def open_orders(self) -> Sequence[BrokerOrder]:
        """All open orders, oldest first, however many pages."""
        return await self._orders({"status": "open"})

    async def orders_since(self, after: datetime) -> Sequence[BrokerOrder]:
        """All orders submitted after that time, whatever their status, oldest first."""
        return await self._orders({"status": "all"}, after)

    async def fills_since(self, after: datetime) -> Sequence[BrokerFill]:
        """All FILL activities after that time, sorted by order and cumulative quantity."""
        query = {"activity_types": "FILL", "after": rfc3339(after)}
        return in_order(await self._activities(listings.FILLS, query))

    async def fills_of(self, broker_order_id: str) -> Sequence[BrokerFill]:
        """All executions of one order, by cumulative quantity."""
        query = {"activity_types": "FILL", "order_id": broker_order_id}
        fills = await self._activities(listings.FILLS, query)
        return in_order(fill for fill in fills if fill.broker_order_id == broker_order_id)

    async def fees_since(self, after: datetime) -> Sequence[FeeActivity]:
        """All CFEE activities after that time, and some days before it: they are posted later than they are dated.

        So a fee can be answered again that was answered before; `activity_id` tells.
        """
        query = {"activity_types": "CFEE", "after": rfc3339(after - FEE_LOOKBACK)}
        return await self._activities(listings.FEES, query)

    async def positions(self) -> Sequence[BrokerPosition]:
        """All holdings of stocks and coins."""
        page = await self._page(listings.POSITIONS, "/v2/positions", {})
        return self._reader.reports(listings.POSITIONS, page.items)

    @property
    def left_out(self) -> int:
        """How many records listings have left out so far."""
        return self._reader.left_out

    def take_unreadable(self) -> Sequence[UnreadableRecord]:
        """The records that listings left out since this was last asked."""
        return self._reader.take()

    def updates(self) -> AbstractAsyncContextManager[TradeUpdates]:
        """Connect, authenticate and listen to `trade_updates`, one attempt.

        Raises BrokerUnauthorized, BrokerBusy, BrokerUnknown.
        """
        return listening(self._transport, self._book)

    async def close(self) -> None:
        """Drop all connections."""
        await self._transport.close()

    async def _get(
        self,
        decoder: msgspec.json.Decoder[Record],
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        is_lookup: bool = False,
    ) -> Record:
        return await self._transport.fetch(decoder, "GET", path, Purpose.RECONCILE, query=query, is_lookup=is_lookup)

    async def _orders(self, query: Mapping[str, str], after: datetime | None = None) -> list[BrokerOrder]:
        """Oldest first, each page continuing behind the last order's id, which equal times cannot confuse.

        An order's submission time moves forward when the exchange takes it, so it may come again, but none is left out.
        The first page alone has `after`: Alpaca does not want it together with an id.
        """
        query = {**query, "direction": "asc", "limit": str(ORDERS_PER_PAGE), "nested": "false"}
        first = {} if after is None else {"after": rfc3339(after)}
        pages = self._pages(
            listings.ORDERS, "/v2/orders", query, cursor="after_order_id", size=ORDERS_PER_PAGE, first=first
        )
        latest = {record.id: record async for record in pages}
        return self._reader.reports(listings.ORDERS, latest.values())

    async def _activities(self, listing: Listing[Item, Report], query: Mapping[str, str]) -> list[Report]:
        query = {**query, "direction": "asc", "page_size": str(ACTIVITIES_PER_PAGE)}
        pages = self._pages(
            listing, "/v2/account/activities", query, cursor="page_token", size=ACTIVITIES_PER_PAGE, first={}
        )
        return self._reader.reports(listing, [record async for record in pages])

    async def _pages(
        self,
        listing: Listing[Item, Report],
        path: str,
        query: Mapping[str, str],
        *,
        cursor: str,
        size: int,
        first: Mapping[str, str],
    ) -> AsyncIterator[Item]:
        """All records of all pages. A server whose pages do not move on is BrokerUnknown, never half a list."""
        seen: set[str] = set()
        where = first
        for _ in range(PAGES_MAX):
            page = await self._page(listing, path, {**query, **where})
            named = [one for one in page.ids if one]  # behind the last of them, where the very last has no id
            if len(page.ids) >= size and seen.issuperset(named):
                raise BrokerUnknown(f"GET {path}: the pages repeat themselves after {len(seen)} records")
            seen |= set(named)
            for record in page.items:
                yield record
            if len(page.ids) < size:
                return
            where = {cursor: named[-1]}
        raise BrokerUnknown(f"GET {path}: more than {PAGES_MAX} pages")

    async def _page(self, listing: Listing[Item, Report], path: str, query: Mapping[str, str]) -> Page[Item]:
        body = await self._transport.send("GET", path, Purpose.RECONCILE, query=query)
        try:
            return self._reader.page(listing, body)
        except Unreadable as error:
            raise BrokerUnreadable(f"GET {path}: the answer cannot be read: {error}") from None

    def _order(self, record: wire.Order) -> BrokerOrder:
        found = self._read(lambda one: translate.order(one, self._book), record)
        if found is None:
            raise BrokerUnreadable(f"order {record.id} is of a kind that is not traded here: {record.asset_class}")
        return found

    @staticmethod
    def _read(translated: Callable[[Record], Report], record: Record) -> Report:
        try:
            return translated(record)
        except Unreadable as error:
            raise BrokerUnreadable(f"the answer cannot be read: {error}") from None


def plain(value: Decimal) -> str:
    """A number as Alpaca takes it: no exponent, no trailing zeros."""
    return format(trimmed(value), "f")


def rfc3339(at: datetime) -> str:
    """An aware time as Alpaca takes it in queries: UTC, microseconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def in_order(fills: Iterable[BrokerFill]) -> list[BrokerFill]:
    """By order and cumulative quantity: activities of one millisecond can be listed in any order."""
    return sorted(fills, key=lambda one: (one.broker_order_id, one.cum_qty))


def _order_path(broker_order_id: str) -> str:
    return f"/v2/orders/{quote(broker_order_id, safe='')}"
