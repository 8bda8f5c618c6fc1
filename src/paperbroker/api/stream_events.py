"""What the data streams tell, encoded once for each codec that asks."""

from collections.abc import Iterator

import msgspec

from paperbroker.api.quotes_json import (
    JsonForm,
    MsgpackForm,
    bar_fields,
    book_fields,
    halt_fields,
    quote_fields,
    trade_fields,
)
from paperbroker.prices.quotes import Bar, Halt, Quote, Trade

_to_json = msgspec.json.Encoder(decimal_format="number").encode
_to_msgpack = msgspec.msgpack.Encoder().encode
_KINDS = {
    "quotes": "q", "trades": "t", "bars": "b", "updatedBars": "u", "dailyBars": "d", "orderbooks": "o", "statuses": "s",
}  # fmt: skip


class Event:
    """Something to tell on one channel."""

    __slots__ = ("_json", "_msgpack", "_what", "channel", "symbol")

    def __init__(self, what: Quote | Trade | Bar | Halt, channel: str) -> None:
        self._what = what
        self.symbol = what.symbol
        self.channel = channel
        self._json: bytes | None = None
        self._msgpack: bytes | None = None

    def json(self) -> bytes:
        if self._json is None:
            self._json = _to_json(self._message(JsonForm))
        return self._json

    def msgpack(self) -> bytes:
        if self._msgpack is None:
            self._msgpack = _to_msgpack(self._message(MsgpackForm))
        return self._msgpack

    def _message(self, form: type[JsonForm] | type[MsgpackForm]) -> dict[str, object]:
        what = self._what
        head: dict[str, object] = {"T": _KINDS[self.channel], "S": what.symbol}
        if isinstance(what, Trade):
            return {**head, **trade_fields(what, form)}
        if isinstance(what, Bar):
            return {**head, **bar_fields(what, form)}
        if isinstance(what, Halt):
            return {**head, **halt_fields(what, form)}
        if self.channel == "orderbooks":
            return {**head, **book_fields(what, form), "r": True}  # each one is the whole book
        return {**head, **quote_fields(what, form)}


def events_of(what: Quote | Trade | Bar, *, books: bool) -> Iterator[Event]:
    """What a change of prices is on the channels.

    `books`: somebody follows order books, which are made of quotes.
    """
    if isinstance(what, Trade):
        yield Event(what, "trades")
    elif isinstance(what, Quote):
        yield Event(what, "quotes")
        if books:
            yield Event(what, "orderbooks")
    else:
        yield Event(what, "bars")


def array_header(length: int) -> bytes:
    """MessagePack's array head, so that encoded events can be joined."""
    if length < 16:
        return bytes([0x90 | length])
    return b"\xdc" + length.to_bytes(2) if length < 1 << 16 else b"\xdd" + length.to_bytes(4)
