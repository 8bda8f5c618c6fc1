"""Quotes, trades and bars as Alpaca sends them: JSON numbers with exactly the decimals that prices have."""

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
    prices = {"bp": form.number(quote.bid), "bs": form.number(quote.bid_size)}
    prices |= {"ap": form.number(quote.ask), "as": form.number(quote.ask_size)}
    if "/" in quote.symbol:
        return {**prices, "t": form.time(quote.ns)}
    exchanges = {"bx": quote.bid_exchange, "ax": quote.ask_exchange, "c": ["R"], "z": "C"}
    return {**prices, **exchanges, "t": form.time(quote.ns)}


def book_fields(quote: Quote, form: Form = JsonForm) -> dict[str, object]:
    """An order book of one level on each side: nothing is known of the others."""
    return {
        "t": form.time(quote.ns),
        "b": [{"p": form.number(quote.bid), "s": form.number(quote.bid_size)}],
        "a": [{"p": form.number(quote.ask), "s": form.number(quote.ask_size)}],
    }


def trade_fields(trade: Trade, form: Form = JsonForm) -> dict[str, object]:
    common = {"i": trade.id, "p": form.number(trade.price), "s": form.number(trade.size), "t": form.time(trade.ns)}
    if "/" in trade.symbol:
        return {**common, "tks": "B" if trade.buyer else "S"}
    return {**common, "x": trade.exchange, "c": ["@"], "z": "C"}


def bar_fields(bar: Bar, form: Form = JsonForm) -> dict[str, object]:
    average = (bar.value / bar.volume).quantize(Decimal("1e-6")) if bar.volume else bar.close
    return {
        "o": form.number(bar.open),
        "h": form.number(bar.high),
        "l": form.number(bar.low),
        "c": form.number(bar.close),
        "v": form.number(bar.volume),
        "n": bar.trades,
        "vw": form.number(average),
        "t": form.time(bar.ns),
    }


def halt_fields(halt: Halt, form: Form = JsonForm) -> dict[str, object]:
    """A trading status, in the codes of tape C (Nasdaq)."""
    what = ("T", "Trading Resumption") if halt.resumed else ("H", "Trading Halt")
    why = ("", "") if halt.resumed else ("T12", "Trading Halted; For information requested by NASDAQ")
    return {"sc": what[0], "sm": what[1], "rc": why[0], "rm": why[1], "t": form.time(halt.ns), "z": "C"}
