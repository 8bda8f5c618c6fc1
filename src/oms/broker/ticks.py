"""From the messages of Alpaca's market data to ticks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import structlog

from oms.broker import wire
from oms.broker.translate import moment, number
from oms.broker.wire import DataMessage, Unreadable, decoded
from oms.domain.market import Quote, Tick, Trade

log = structlog.get_logger(__name__)

TICKS_PER_BATCH = 500
_FRAME_BYTES_AT_ONCE = 64 * 1024

Parsed = tuple[list[DataMessage], list[Tick]]


def batches(frame: bytes | str) -> Iterator[Parsed]:
    """The control messages and ticks of one frame, at most 500 elements at a time, so that a caller can pause between.

    An element that cannot be read is logged and left out: a tick is replaced by the next one. Raises Unreadable for a
    frame that is no JSON array.
    """
    if len(frame) <= _FRAME_BYTES_AT_ONCE:
        try:
            messages = decoded(wire.DATA_FRAME, frame)
        except Unreadable:
            yield from _piecewise(frame)  # one bad element need not cost the others
        else:
            yield _sorted_out(messages)
        return
    yield from _piecewise(frame)


def quote(symbol: str, message: DataMessage) -> Quote:
    """A quote. A price of zero is Alpaca's way to say that there is none on that side."""
    return Quote(
        symbol=symbol,
        bid=_price(message.bid),
        ask=_price(message.ask),
        at=_moment(message.at),
        bid_size=message.bid_size,
        ask_size=message.ask_size,
        exchange=message.bid_exchange or "",
    )


def trade(symbol: str, message: DataMessage) -> Trade | None:
    """A trade; None for one without a price."""
    price = _price(message.price)
    if price is None:
        return None
    size = message.size if message.size is not None else Decimal(0)
    return Trade(symbol=symbol, price=price, size=size, at=_moment(message.at), exchange=message.exchange or "")


def latest(
    quotes: Mapping[str, DataMessage | None], trades: Mapping[str, DataMessage | None], wanted: Iterable[str]
) -> list[Tick]:
    """The ticks of an answer to a question for the latest, of the symbols asked for. Raises Unreadable."""
    found: list[Tick] = []
    for symbol in wanted:
        message = quotes.get(symbol)
        if message is not None:
            found.append(quote(symbol, message))
        message = trades.get(symbol)
        if message is not None and (print_ := trade(symbol, message)) is not None:
            found.append(print_)
    return found


def _piecewise(frame: bytes | str) -> Iterator[Parsed]:
    elements = decoded(wire.RAW_FRAME, frame)
    for start in range(0, len(elements), TICKS_PER_BATCH):
        messages = []
        for element in elements[start : start + TICKS_PER_BATCH]:
            try:
                messages.append(decoded(wire.DATA_MESSAGE, element))
            except Unreadable as error:
                log.warning("tick_unreadable", why=str(error), text=bytes(element)[:200].decode("utf-8", "replace"))
        yield _sorted_out(messages)


def _sorted_out(messages: Sequence[DataMessage]) -> Parsed:
    control: list[DataMessage] = []
    found: list[Tick] = []
    for message in messages:
        kind = message.kind
        try:
            if kind == "q":
                found.append(quote(message.symbol, message))
            elif kind == "t":
                print_ = trade(message.symbol, message)
                if print_ is not None:
                    found.append(print_)
            elif kind in {"success", "subscription", "error"}:
                control.append(message)
        except Unreadable as error:
            log.warning("tick_unreadable", why=str(error), symbol=message.symbol[:40])
    return control, found


def _price(value: Decimal | None) -> Decimal | None:
    return value if value is not None and number(value, "price") > 0 else None


def _moment(text: str | None) -> datetime:
    found = moment(text, "t")
    return found if found.tzinfo is UTC else found.astimezone(UTC)
