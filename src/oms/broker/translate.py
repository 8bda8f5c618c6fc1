"""From Alpaca's records to ours. Whatever contradicts the protocol raises Unreadable; nothing is guessed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import structlog

from oms.broker import wire
from oms.broker.symbols import CLASSES, SymbolBook
from oms.broker.wire import Unreadable
from oms.domain.instruments import Instrument
from oms.domain.orders import OrderStatus
from oms.domain.reports import (
    BrokerAccount,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    FeeActivity,
    MarketClock,
    OrderUpdate,
    UpdateKind,
)
from oms.domain.values import ZERO, AssetClass, Side, TimeInForce

log = structlog.get_logger(__name__)

_EXPONENT_MAX = 40  # beyond it a number is an accident, and its plain notation a flood

# Alpaca's words that say how an order ended, or that it waits. Every other word means that it is at work.
_STATUSES = {
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELLED,
    "expired": OrderStatus.EXPIRED,
    "rejected": OrderStatus.REJECTED,
    "replaced": OrderStatus.REPLACED,
}
_AT_WORK = frozenset({
    "new", "accepted", "pending_new", "accepted_for_bidding", "stopped", "suspended", "calculated", "done_for_day",
    "pending_cancel", "pending_replace", "pending_review", "partially_filled",
})  # fmt: skip

_KINDS = {
    "fill": UpdateKind.FILL,
    "partial_fill": UpdateKind.FILL,
    "canceled": UpdateKind.CANCELLED,
    "expired": UpdateKind.EXPIRED,
    "rejected": UpdateKind.REJECTED,
    "replaced": UpdateKind.REPLACED,
    **dict.fromkeys(("restated", "trade_bust", "trade_correct"), UpdateKind.RESTATED),
    **dict.fromkeys(
        ("new", "accepted", "pending_new", "held", "accepted_for_bidding", "pending_review"), UpdateKind.ACCEPTED
    ),
}

_EXECUTIONS = frozenset({None, "fill", "partial_fill"})  # of FILL activities, beside trade_bust

# Activities tell a short sale apart from a sale; the position says the same.
_SIDES = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}

_unknown_words: set[str] = set()  # said once each

_TRADES = frozenset({"ACTIVE", "ACCOUNT_UPDATED"})  # its data being updated keeps no account from trading


def order(record: wire.Order, book: SymbolBook) -> BrokerOrder | None:
    """An order; None (and a log line) for one of an asset class that is not traded here."""
    asset_class = book.asset_class(record.asset_class, record.symbol)
    if asset_class is None or record.order_class == "mleg" or record.symbol is None:
        book.skip("order", record.symbol)
        return None
    is_crypto = asset_class is AssetClass.CRYPTO
    filled_qty = ZERO if record.filled_qty is None else number(record.filled_qty, "filled_qty")
    submitted = record.submitted_at or record.created_at
    submitted_at = moment(submitted, "submitted_at")
    return BrokerOrder(
        broker_order_id=record.id,
        client_order_id=record.client_order_id or "",
        symbol=book.pair(record.symbol, record.asset_id) if is_crypto else record.symbol,
        asset_class=asset_class,
        side=side(record.side),
        qty=_optional(record.qty, "qty"),
        type=record.type or record.order_type or "",
        time_in_force=_time_in_force(record.time_in_force),
        status=status(record.status, filled_qty),
        broker_status=record.status or "",
        filled_qty=filled_qty,
        filled_avg_price=_optional(record.filled_avg_price, "filled_avg_price"),
        limit_price=_optional(record.limit_price, "limit_price"),
        submitted_at=submitted_at,
        updated_at=moment(record.updated_at, "updated_at") if record.updated_at else submitted_at,
        replaced_by=record.replaced_by,
        replaces=record.replaces,
    )


def status(word: str | None, filled_qty: Decimal) -> OrderStatus:
    """Ours for Alpaca's word. An unknown word counts as at work: reconciliation asks again, an end would be final."""
    if word is None:
        raise Unreadable("an order has no status")
    if word in _STATUSES:
        return _STATUSES[word]
    if filled_qty > 0:
        return OrderStatus.PARTIALLY_FILLED
    if word == "held":
        return OrderStatus.HELD
    if word not in _AT_WORK:
        _say_once("order status", word, OrderStatus.SUBMITTED)
    return OrderStatus.SUBMITTED


def update(record: wire.TradeUpdate, book: SymbolBook) -> OrderUpdate | None:
    """One event of the stream; None for an order of an asset class that is not traded here."""
    found = order(record.order, book)
    if found is None:
        return None
    at = moment(record.timestamp, "timestamp") if record.timestamp else found.updated_at
    kind = _KINDS.get(record.event, UpdateKind.OTHER)
    fill = None
    if kind is UpdateKind.FILL:
        if record.qty is None or record.price is None or record.timestamp is None:
            raise Unreadable(f"a {record.event} without quantity, price or time")
        fill = BrokerFill(
            broker_order_id=found.broker_order_id,
            symbol=found.symbol,
            side=found.side,
            qty=_positive(record.qty, "qty"),
            price=number(record.price, "price"),
            cum_qty=_positive(found.filled_qty, "filled_qty"),
            transacted_at=at,
            execution_id=record.execution_id,
        )
    return OrderUpdate(kind, record.event, found, at, fill, record.reason or record.order.reject_reason)


def fill(record: wire.FillActivity, book: SymbolBook) -> BrokerFill | None:
    """A FILL activity; None for an option's. What is neither a fill nor a bust (a correction) is not guessed at."""
    symbol = book.traded(record.symbol)
    if symbol is None:
        book.skip("fill", record.symbol)
        return None
    is_bust = record.execution_type == "trade_bust"
    if not is_bust and record.execution_type not in _EXECUTIONS:
        raise Unreadable(f"an execution of an unknown type: {record.execution_type}")
    return BrokerFill(
        broker_order_id=record.order_id,
        symbol=symbol,
        side=side(record.side),
        qty=_positive(record.qty, "qty"),
        price=number(record.price, "price"),
        cum_qty=ZERO if is_bust else _positive(record.cum_qty, "cum_qty"),
        transacted_at=moment(record.transaction_time, "transaction_time"),
        activity_id=record.id,
        is_bust=is_bust,
    )


def fee(record: wire.CryptoFeeActivity, book: SymbolBook) -> FeeActivity | None:
    """A CFEE activity under the coin's USD pair; None for one that was cancelled or names no symbol."""
    if record.status == "canceled" or not record.symbol:
        log.warning("crypto_fee_skipped", activity=record.id, status=record.status, symbol=record.symbol)
        return None
    stamp = record.id[:8]
    day = record.date or f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:]}"  # an activity's id begins with its day
    return FeeActivity(
        activity_id=record.id,
        symbol=book.holding(record.symbol),
        day=day[:10],
        qty=_optional(record.qty, "qty") or ZERO,
        price=_optional(record.price, "price"),
        cash=_optional(record.net_amount, "net_amount") or ZERO,
    )


def position(record: wire.Position, book: SymbolBook) -> BrokerPosition | None:
    """A holding, signed; a coin under its USD pair."""
    asset_class = book.asset_class(record.asset_class, record.symbol)
    if asset_class is None:
        book.skip("position", record.symbol)
        return None
    qty = number(record.qty, "qty")
    return BrokerPosition(
        symbol=book.holding(record.symbol, record.asset_id) if asset_class is AssetClass.CRYPTO else record.symbol,
        asset_class=asset_class,
        qty=-abs(qty) if record.side == "short" else qty,
        avg_price=_optional(record.avg_entry_price, "avg_entry_price") or ZERO,
    )


def account(record: wire.Account) -> BrokerAccount:
    """The account's totals. Any of Alpaca's three blocks counts as blocked."""
    equity = record.equity if record.equity is not None else record.portfolio_value
    if equity is None:
        raise Unreadable("the account has no equity")
    return BrokerAccount(
        broker_account_id=record.id,
        number=record.account_number or "",
        status=record.status,
        currency=record.currency or "USD",
        cash=number(record.cash, "cash"),
        equity=number(equity, "equity"),
        buying_power=number(record.buying_power, "buying_power"),
        trading_blocked=bool(record.trading_blocked or record.account_blocked or record.trade_suspended_by_user),
        trouble=_trouble(record),
    )


def _trouble(record: wire.Account) -> str:
    if record.account_blocked:
        return "the broker has blocked the account (account_blocked): ask Alpaca's support why"
    if record.trading_blocked:
        return "the broker has blocked trading on the account (trading_blocked): ask Alpaca's support why"
    if record.trade_suspended_by_user:
        return "trading is suspended in the account's own settings (suspend_trade): switch it off in Alpaca's dashboard"
    if record.status not in _TRADES:
        return f"the account is {record.status}, not ACTIVE: it trades once Alpaca has opened it"
    return ""


def clock(record: wire.Clock) -> MarketClock:
    """The market's clock, in UTC."""
    return MarketClock(
        at=moment(record.timestamp, "timestamp"),
        is_open=record.is_open,
        next_open=moment(record.next_open, "next_open"),
        next_close=moment(record.next_close, "next_close"),
    )


def instrument(record: wire.Asset, book: SymbolBook) -> Instrument | None:
    """An asset; None for other classes. What the broker does not name stays None."""
    asset_class = CLASSES.get(record.asset_class)
    if asset_class is None:
        book.skip("asset", record.symbol)
        return None
    return Instrument(
        symbol=book.pair(record.symbol) if asset_class is AssetClass.CRYPTO else record.symbol,
        asset_class=asset_class,
        broker_asset_id=record.id,
        name=record.name or "",
        exchange=record.exchange or "",
        tradable=bool(record.tradable),
        fractionable=bool(record.fractionable),
        shortable=bool(record.shortable),
        qty_min=_increment(record.min_order_size),
        qty_increment=_increment(record.min_trade_increment),
        price_increment=_increment(record.price_increment),
    )


def moment(text: str | None, field: str) -> datetime:
    """A time in UTC from RFC 3339 text. Nanoseconds are cut off, not rounded: no time may lie in the future of itself.

    Executions of one order whose times become equal so are told apart by their cumulative quantity.
    """
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        raise Unreadable(f"{field} is no time: {text!r}") from None
    if found.tzinfo is None:
        raise Unreadable(f"{field} has no offset: {text!r}")
    return found.astimezone(UTC)


def number(value: Decimal, field: str) -> Decimal:
    """The value, unless it is one that no quantity or price can be (NaN, Infinity, 1e999)."""
    if not value.is_finite() or abs(value.adjusted()) > _EXPONENT_MAX:
        raise Unreadable(f"{field} is no usable number: {str(value)[:40]}")
    return value


def side(word: str | None) -> Side:
    """Ours for Alpaca's word."""
    found = _SIDES.get(word or "")
    if found is None:
        raise Unreadable(f"a side that is neither buy nor sell: {word!r}")
    return found


def _time_in_force(word: str | None) -> TimeInForce:
    try:
        return TimeInForce(word or "")
    except ValueError:
        _say_once("time in force", word or "", TimeInForce.DAY)
        return TimeInForce.DAY  # only an order of somebody else's can have it, and nothing of ours depends on it


def _say_once(what: str, word: str, taken_as: str) -> None:
    if word not in _unknown_words and len(_unknown_words) < 100:
        _unknown_words.add(word)
        log.warning("broker_word_unknown", what=what, word=word[:40], taken_as=taken_as)


def _optional(value: Decimal | None, field: str) -> Decimal | None:
    return None if value is None else number(value, field)


def _positive(value: Decimal, field: str) -> Decimal:
    if number(value, field) <= 0:
        raise Unreadable(f"{field} of an execution is not above zero: {value}")
    return value


def _increment(value: Decimal | None) -> Decimal | None:
    return value if value is not None and value.is_finite() and value > 0 else None
