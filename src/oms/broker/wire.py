"""The shapes of Alpaca's JSON, as far as we read it, and how a body becomes one.

Numbers become Decimals, exactly: Alpaca writes money as strings in the trading API and as JSON numbers in market data,
and msgspec reads both from their text, never by way of a float. Timestamps stay text here, since msgspec would round
their nanoseconds up. Unknown fields are ignored; only what identifies a thing is required, so that an order of a kind
that we do not trade (an option, a multi-leg parent with null fields) can still be read far enough to be skipped.
Source: Alpaca's OpenAPI files and recorded paper responses.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Unreadable(ValueError):
    """A body or message is not what the protocol promises; the text says where."""


class Order(msgspec.Struct):
    """An order, from REST or inside an update."""

    id: str
    client_order_id: str | None = None
    symbol: str | None = None
    asset_id: str | None = None
    asset_class: str | None = None
    order_class: str | None = None
    side: str | None = None
    type: str | None = None
    order_type: str | None = None
    time_in_force: str | None = None
    status: str | None = None
    qty: Decimal | None = None
    filled_qty: Decimal | None = None
    filled_avg_price: Decimal | None = None
    limit_price: Decimal | None = None
    created_at: str | None = None
    submitted_at: str | None = None
    updated_at: str | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    reject_reason: str | None = None


class Position(msgspec.Struct):
    """A holding. `qty` is negative, and `side` is short, for a short one."""

    symbol: str
    qty: Decimal
    asset_class: str | None = None
    asset_id: str | None = None
    side: str | None = None
    avg_entry_price: Decimal | None = None


class Account(msgspec.Struct):
    """The account's totals."""

    id: str
    status: str
    cash: Decimal
    buying_power: Decimal
    equity: Decimal | None = None
    portfolio_value: Decimal | None = None
    account_number: str | None = None
    currency: str | None = None
    trading_blocked: bool | None = None
    account_blocked: bool | None = None
    trade_suspended_by_user: bool | None = None


class Clock(msgspec.Struct):
    """The market's clock."""

    timestamp: str
    is_open: bool
    next_open: str
    next_close: str


class Asset(msgspec.Struct, rename={"asset_class": "class"}):
    """One line of the asset list. The increments come with crypto only."""

    id: str
    symbol: str
    asset_class: str
    name: str | None = None
    exchange: str | None = None
    status: str | None = None
    tradable: bool | None = None
    fractionable: bool | None = None
    shortable: bool | None = None
    min_order_size: Decimal | None = None
    min_trade_increment: Decimal | None = None
    price_increment: Decimal | None = None


class FillActivity(msgspec.Struct):
    """One execution among the account's activities; with `execution_type` trade_bust, one that is taken back."""

    id: str
    order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    cum_qty: Decimal
    transaction_time: str
    execution_type: str | None = None


class CryptoFeeActivity(msgspec.Struct):
    """One CFEE activity. `date` is a New York day; `status` may be executed, correct or canceled."""

    id: str
    symbol: str | None = None
    date: str | None = None
    qty: Decimal | None = None
    price: Decimal | None = None
    net_amount: Decimal | None = None
    status: str | None = None


class StreamMessage(msgspec.Struct):
    """The envelope of everything on `/stream`."""

    stream: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class Authorization(msgspec.Struct):
    """The answer to `authenticate`."""

    status: str = ""


class Listening(msgspec.Struct):
    """The answer to `listen`: what is listened to now."""

    streams: list[str] = []


class TradeUpdate(msgspec.Struct):
    """One event of `trade_updates`. `price` and `qty` are of this execution only; `timestamp` is when it happened."""

    event: str
    order: Order
    timestamp: str | None = None
    execution_id: str | None = None
    price: Decimal | None = None
    qty: Decimal | None = None
    reason: str | None = None


class DataMessage(
    msgspec.Struct,
    gc=False,
    rename={
        "kind": "T",
        "symbol": "S",
        "at": "t",
        "price": "p",
        "size": "s",
        "exchange": "x",
        "bid": "bp",
        "ask": "ap",
        "bid_size": "bs",
        "ask_size": "as",
        "bid_exchange": "bx",
    },
):
    """Anything on a data stream, and the inner value of a latest quote or trade (which has no `T` and no `S`)."""

    kind: str = ""
    symbol: str = ""
    at: str | None = None
    price: Decimal | None = None
    size: Decimal | None = None
    exchange: str | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    bid_size: Decimal | None = None
    ask_size: Decimal | None = None
    bid_exchange: str | None = None
    msg: str | None = None
    code: int | None = None


class LatestQuotes(msgspec.Struct):
    """Latest quotes by symbol."""

    quotes: dict[str, DataMessage | None]


class LatestTrades(msgspec.Struct):
    """Latest trades by symbol."""

    trades: dict[str, DataMessage | None]


ORDER = msgspec.json.Decoder(Order)
ORDERS = msgspec.json.Decoder(list[Order])
POSITIONS = msgspec.json.Decoder(list[Position])
ACCOUNT = msgspec.json.Decoder(Account)
CLOCK = msgspec.json.Decoder(Clock)
ASSETS = msgspec.json.Decoder(list[Asset])
FILLS = msgspec.json.Decoder(list[FillActivity])
FEES = msgspec.json.Decoder(list[CryptoFeeActivity])
STREAM_MESSAGE = msgspec.json.Decoder(StreamMessage)
AUTHORIZATION = msgspec.json.Decoder(Authorization)
LISTENING = msgspec.json.Decoder(Listening)
TRADE_UPDATE = msgspec.json.Decoder(TradeUpdate)
DATA_FRAME = msgspec.json.Decoder(list[DataMessage])
RAW_FRAME = msgspec.json.Decoder(list[msgspec.Raw])
DATA_MESSAGE = msgspec.json.Decoder(DataMessage)
LATEST_QUOTES = msgspec.json.Decoder(LatestQuotes)
LATEST_TRADES = msgspec.json.Decoder(LatestTrades)


def decoded(decoder: msgspec.json.Decoder[T], body: bytes | str | msgspec.Raw) -> T:
    """The body as the decoder's shape. Raises Unreadable for whatever else it is."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: text that is not UTF-8
        raise Unreadable(str(error)) from None
