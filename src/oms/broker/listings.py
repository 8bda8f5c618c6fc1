"""Lists of records, read one by one where need be: one that cannot be read is left out and told of.

Else a single odd record would keep the engine from ever catching up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
import structlog

from oms.broker import translate, wire
from oms.broker.symbols import SymbolBook
from oms.broker.wire import Unreadable, decoded
from oms.domain.reports import UnreadableRecord

log = structlog.get_logger(__name__)

_TEXT_MAX = 500
_KEPT_MAX = 1000
_RAW = msgspec.json.Decoder(list[msgspec.Raw])

Item = TypeVar("Item")
Report = TypeVar("Report")


@dataclass(frozen=True, slots=True)
class _Named:
    """What identifies a record, as far as it has it; empty where it does not."""

    id: str = ""
    symbol: str = ""


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item, Report]):
    """A kind of record: its name, how a whole page and one record of it are decoded, what becomes of it."""

    what: str
    page: msgspec.json.Decoder[list[Item]]
    one: msgspec.json.Decoder[Item]
    translated: Callable[[Item, SymbolBook], Report | None]


ASSETS = Listing("asset", wire.ASSETS, msgspec.json.Decoder(wire.Asset), translate.instrument)
ORDERS = Listing("order", wire.ORDERS, wire.ORDER, translate.order)
POSITIONS = Listing("position", wire.POSITIONS, msgspec.json.Decoder(wire.Position), translate.position)
FILLS = Listing("fill", wire.FILLS, msgspec.json.Decoder(wire.FillActivity), translate.fill)
FEES = Listing("fee", wire.FEES, msgspec.json.Decoder(wire.CryptoFeeActivity), translate.fee)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """What could be read of a page, and the ids of all its records, in their order (empty where there is none)."""

    items: Sequence[Item]
    ids: Sequence[str]


class Reader:
    """Reads listings and keeps what it had to leave out, until it is taken."""

    def __init__(self, book: SymbolBook) -> None:
        self._book = book
        self._left_out: dict[tuple[str, str], UnreadableRecord] = {}
        self.left_out = 0  # so far

    def page(self, listing: Listing[Item, Report], body: bytes) -> Page[Item]:
        """The records of a page. Raises Unreadable where it is no list."""
        try:
            items = listing.page.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            records: list[msgspec.Raw] = decoded(_RAW, body)
            return self._one_by_one(listing, records)
        return Page(items, [str(getattr(item, "id", "")) for item in items])

    def reports(self, listing: Listing[Item, Report], items: Iterable[Item]) -> list[Report]:
        """What the records say, without those of kinds that are not traded here."""
        found = []
        for item in items:
            try:
                report = listing.translated(item, self._book)
            except Unreadable as error:
                self._leave_out(listing.what, msgspec.json.encode(item), error)
                continue
            if report is not None:
                found.append(report)
        return found

    def take(self) -> Sequence[UnreadableRecord]:
        """What was left out since this was last asked."""
        taken, self._left_out = list(self._left_out.values()), {}
        return taken

    def _one_by_one(self, listing: Listing[Item, Report], records: Sequence[msgspec.Raw]) -> Page[Item]:
        items, ids = [], []
        for record in records:
            try:
                items.append(decoded(listing.one, record))
            except Unreadable as error:
                self._leave_out(listing.what, bytes(record), error)
            ids.append(_named(bytes(record)).id)
        return Page(items, ids)

    def _leave_out(self, what: str, record: bytes, error: Unreadable) -> None:
        named = _named(record)
        text = record.decode("utf-8", "replace")[:_TEXT_MAX]
        symbol = (self._book.traded(named.symbol) or "") if named.symbol else ""
        log.error("record_unreadable", what=what, id=named.id, symbol=symbol, reason=str(error), text=text)
        self.left_out += 1
        if what != ASSETS.what and len(self._left_out) < _KEPT_MAX:
            key = (what, named.id or text)
            self._left_out[key] = UnreadableRecord(what, named.id, symbol, str(error), text)


def _named(record: bytes) -> _Named:
    """Each by itself: a symbol that is none must not cost the id."""
    try:
        fields = _FIELDS.decode(record)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _Named()
    return _Named(_text(fields.get("id")), _text(fields.get("symbol")))


def _text(value: msgspec.Raw | None) -> str:
    try:
        return "" if value is None else _TEXT.decode(value)
    except (msgspec.MsgspecError, ValueError):
        return ""
