"""Quotes, trades and bars as Alpaca sends them: JSON numbers with exactly the decimals that prices have.

Their fields are in the order of the alphabet, which tables that clients make of them take over.
"""

import struct
from decimal import Decimal

import msgspec

from paperbroker.money import text
from paperbroker.prices.quotes import Bar, Halt, Quote, Size, Trade
from paperbroker.timestamps import SECOND, rfc3339

_TIMESTAMP_EXTENSION = -1


class JsonForm:
    """For JSON: exact numbers, times as RFC 3339."""

    @staticmethod
    def number(value: Size) -> object:
        return msgspec.Raw(text(value).encode()) if isinstance(value, Decimal) else value

    @staticmethod
    def time(ns: int) -> object:
        return rfc3339(ns)


class MsgpackForm:
    """For MessagePack: doubles, times as the Timestamp extension."""

    @staticmethod
    def number(value: Size) -> object:
        return float(value) if isinstance(value, Decimal) else value

    @staticmethod
    def time(ns: int) -> object:
        seconds, nanoseconds = divmod(ns, SECOND)
        return msgspec.msgpack.Ext(_TIMESTAMP_EXTENSION, struct.pack(">Q", nanoseconds << 34 | seconds))


Form = type[JsonForm] | type[MsgpackForm]


def quote_fields(quote: Quote, form: Form = JsonForm) -> dict[str, object]:
    """Without symbol and kind, as in REST answers; coins have no exchanges and conditions."""
    ask, bid = form.number(quote.ask), form.number(quote.bid)
    ask_size, bid_size, time = form.number(quote.ask_size), form.number(quote.bid_size), form.time(quote.ns)
    if "/" in quote.symbol:
        return {"ap": ask, "as": ask_size, "bp": bid, "bs": bid_size, "t": time}
    return {
        "ap": ask,
        "as": ask_size,
        "ax": quote.ask_exchange,
        "bp": bid,
        "bs": bid_size,
        "bx": quote.bid_exchange,
        "c": ["R"],
        "t": time,
        "z": "C",
    }


def book_fields(quote: Quote, form: Form = JsonForm) -> dict[str, object]:
    """An order book of one level on each side: nothing is known of the others."""
    return {
        "a": [{"p": form.number(quote.ask), "s": form.number(quote.ask_size)}],
        "b": [{"p": form.number(quote.bid), "s": form.number(quote.bid_size)}],
        "t": form.time(quote.ns),
    }


def trade_fields(trade: Trade, form: Form = JsonForm) -> dict[str, object]:
    price, size, time = form.number(trade.price), form.number(trade.size), form.time(trade.ns)
    if "/" in trade.symbol:
        return {"i": trade.id, "p": price, "s": size, "t": time, "tks": "B" if trade.buyer else "S"}
    return {"c": ["@"], "i": trade.id, "p": price, "s": size, "t": time, "x": trade.exchange, "z": "C"}


def bar_fields(bar: Bar, form: Form = JsonForm) -> dict[str, object]:
    average = (bar.value / bar.volume).quantize(Decimal("1e-6")) if bar.volume else bar.close
    return {
        "c": form.number(bar.close),
        "h": form.number(bar.high),
        "l": form.number(bar.low),
        "n": bar.trades,
        "o": form.number(bar.open),
        "t": form.time(bar.ns),
        "v": form.number(bar.volume),
        "vw": form.number(average),
    }


def halt_fields(halt: Halt, form: Form = JsonForm) -> dict[str, object]:
    """A trading status, in the codes of tape C (Nasdaq)."""
    what = ("T", "Trading Resumption") if halt.resumed else ("H", "Trading Halt")
    why = ("", "") if halt.resumed else ("T12", "Trading Halted; For information requested by NASDAQ")
    return {"sc": what[0], "sm": what[1], "rc": why[0], "rm": why[1], "t": form.time(halt.ns), "z": "C"}
