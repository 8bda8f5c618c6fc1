"""Each control: a small function of an order and what surrounds it, answering one check or none that applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from oms.domain.instruments import Instrument
from oms.domain.market import Price
from oms.domain.orders import Order
from oms.domain.reports import MarketClock
from oms.domain.values import ZERO, Side, trimmed
from oms.risk.limits import Limit, Limits, Mode

NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True)
class Block:
    """A symbol whose position is in doubt, by a row of the drift ledger; `broker_qty` is what the broker says, if it
    can be read."""

    drift_id: int
    broker_qty: Decimal | None


@dataclass(frozen=True, slots=True)
class RiskView:
    """What surrounds an order at the moment of the check. Quantities are of the holding.

    `open_buys` and `open_sells` are what other open, in-flight and unknown orders can still fill. `now` is the broker's
    time, `waited_s` how long the signal has waited. `price` is None where none was ever seen.
    `account_trouble` is why the broker takes no order for the account.
    """

    instrument: Instrument | None
    position_qty: Decimal
    open_buys: Decimal
    open_sells: Decimal
    price: Price | None
    market: MarketClock
    now: datetime
    waited_s: Decimal
    limits: Limits
    account_trouble: str = ""
    block: Block | None = None


class Verdict(StrEnum):
    """What a control said."""

    PASS = "pass"  # noqa: S105 — a verdict, not a password
    WARN = "warn"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Check:
    """One control's result: stable `code`, value, limit, and for a person a text with both."""

    code: str
    verdict: Verdict
    text: str = ""
    value: Decimal | None = None
    limit: Decimal | None = None

    def as_data(self) -> Mapping[str, object]:
        """As it is stored with the order."""
        numbers = {"value": self.value, "limit": self.limit}
        return {"code": self.code, "verdict": str(self.verdict), "text": self.text, **numbers}


def is_reducing(order_side: Side, qty: Decimal, view: RiskView) -> bool:
    """Whether the order, with the open ones on its side, cannot carry the position through zero."""
    if order_side is Side.SELL:
        return view.position_qty > 0 and view.open_sells + qty <= view.position_qty
    return view.position_qty < 0 and view.open_buys + qty <= -view.position_qty


def closable(side: Side, view: RiskView) -> Decimal:
    """What an order on this side can still take off the position: the meaning of "all"."""
    held = view.position_qty if side is Side.SELL else -view.position_qty
    waiting = view.open_sells if side is Side.SELL else view.open_buys
    left = max(held - waiting, ZERO)
    return view.instrument.floor(left) if view.instrument else left


def account_open(order: Order, qty: Decimal, view: RiskView) -> Check | None:
    """The broker lets the account trade; closing a position is an order too, and refused like any other."""
    if not view.account_trouble:
        return None
    return Check("ACCOUNT_BLOCKED", Verdict.REFUSE, f"No order can be sent: {view.account_trouble}")


def tradable(order: Order, qty: Decimal, view: RiskView) -> Check:
    """The broker lists the symbol and trades it."""
    if view.instrument is None:
        return Check("UNKNOWN_SYMBOL", Verdict.REFUSE, f"{order.symbol} is not on the broker's asset list")
    if not view.instrument.tradable:
        return Check("NOT_TRADABLE", Verdict.REFUSE, f"{order.symbol} is not tradable at the broker now")
    return Check("TRADABLE", Verdict.PASS)


def increments(order: Order, qty: Decimal, view: RiskView) -> Check | None:
    """The quantity fits the broker's minimum and increment."""
    instrument = view.instrument
    if instrument is None or instrument.qty_increment is None:
        return None
    floor = instrument.floor(qty)
    if floor != qty:
        text = f"{order.symbol} is traded in steps of {instrument.qty_increment}; {_n(floor)} would have passed"
        return Check("QTY_INCREMENT", Verdict.REFUSE, text, qty, instrument.qty_increment)
    if instrument.qty_min is not None and qty < instrument.qty_min:
        text = f"Quantity {_n(qty)} of {order.symbol} is below the broker's minimum of {_n(instrument.qty_min)}"
        return Check("QTY_MIN", Verdict.REFUSE, text, qty, instrument.qty_min)
    return Check("QTY_INCREMENT", Verdict.PASS, value=qty, limit=instrument.qty_increment)


def order_quantity(order: Order, qty: Decimal, view: RiskView) -> Check | None:
    """The guide's largest quantity of one order."""
    is_crypto = view.instrument is not None and view.instrument.is_crypto
    limit = view.limits.order_qty_crypto if is_crypto else view.limits.order_qty_stock
    what = "crypto order" if is_crypto else "stock order"
    text = f"Quantity {_n(qty)} exceeds {limit.key} {_n(limit.value)} for one {what}; up to {_n(limit.value)} passes"
    return _judged("MAX_ORDER_QTY", limit, qty, text)


def position_size(order: Order, qty: Decimal, view: RiskView) -> Check | None:
    """The guide's largest position value, open and in-flight orders included; orders that reduce pass."""
    limit = view.limits.position_usd
    if limit.mode is Mode.OFF or _lowers_risk(order, qty, view):
        return None
    price = _reference(order.side, view)
    if price is None:
        return None  # price_freshness says so
    opening = view.open_buys if order.side is Side.BUY else view.open_sells
    before = order.side.sign * view.position_qty + opening
    value = trimmed(abs(before + qty) * price)
    room = max((limit.value / price - before).quantize(Decimal("1e-9"), ROUND_DOWN), ZERO)
    step = room.to_integral_value(ROUND_DOWN) if not (view.instrument and view.instrument.is_crypto) else room
    passing = f"up to {_n(step)} passes" if step > 0 else "nothing more passes"
    cents = value.quantize(Decimal("0.01"))
    text = (
        f"Position of {order.symbol} would be {_n(abs(before + qty))} x {_n(price)} = {_n(cents)} USD "
        f"with open orders, above {limit.key} {_n(limit.value)}; {passing}"
    )
    return _judged("MAX_POSITION_SIZE", limit, value, text)


def price_freshness(order: Order, qty: Decimal, view: RiskView) -> Check | None:
    """A limit that needs a price gets a fresh one, or the order does not increase risk."""
    if view.limits.position_usd.mode is Mode.OFF or _lowers_risk(order, qty, view):
        return None
    if view.price is None or _reference(order.side, view) is None:
        if view.instrument is not None and not view.instrument.is_crypto and not view.market.is_open:
            return None  # nobody asked for one: market_hours refuses it
        return Check(
            "PRICE_STALE", Verdict.REFUSE, f"There is no price of {order.symbol} to check the position limit with"
        )
    limit = view.limits.price_age_s
    if view.price.fresh or limit.mode is Mode.OFF:
        return Check("PRICE_STALE", Verdict.PASS, limit=limit.value)
    age = None if view.price.at is None else Decimal(str((view.now - view.price.at).total_seconds()))
    seen = "never" if age is None else f"{_n(age.quantize(Decimal('0.1')))} s ago"
    text = f"The price of {order.symbol} is stale (last {seen}, {limit.key} {_n(limit.value)})"
    return Check("PRICE_STALE", Verdict.REFUSE if limit.mode is Mode.ENFORCE else Verdict.WARN, text, age, limit.value)


def market_hours(order: Order, qty: Decimal, view: RiskView) -> Check | None:
    """Stocks trade in the regular session, by the broker's clock."""
    if view.instrument is None or view.instrument.is_crypto:
        return None
    if view.market.is_open:
        return Check("MARKET_CLOSED", Verdict.PASS)
    opens = view.market.next_open.astimezone(NEW_YORK)
    now = view.now.astimezone(NEW_YORK)
    text = f"Market closed (New York time is {now:%a %Y-%m-%d %H:%M}); it opens next on {opens:%a %Y-%m-%d at %H:%M %Z}"
    return Check("MARKET_CLOSED", Verdict.REFUSE, text)


def symbol_block(order: Order, qty: Decimal, view: RiskView) -> Check | None:
    """While here and at the broker differ, only what reduces by either count passes."""
    block = view.block
    if block is None:
        return None
    theirs = view if block.broker_qty is None else replace(view, position_qty=block.broker_qty)
    if is_reducing(order.side, qty, view) and is_reducing(order.side, qty, theirs):
        return Check("SYMBOL_BLOCKED", Verdict.PASS)
    says = "cannot be read" if block.broker_qty is None else f"says {_n(block.broker_qty)}"
    text = (
        f"{order.symbol} is blocked by drift {block.drift_id}: the position is {_n(view.position_qty)} here, the "
        f"broker {says}. Orders that reduce it pass. Look with `oms drift`, then `oms drift adopt {block.drift_id}` "
        f"or `oms drift ignore {block.drift_id}`"
    )
    return Check("SYMBOL_BLOCKED", Verdict.REFUSE, text)


def holdings(order: Order, qty: Decimal, view: RiskView) -> Check | None:
    """Crypto cannot be sold short; stocks go to the broker, who decides on shorting."""
    if view.instrument is None or not view.instrument.is_crypto or order.side is Side.BUY:
        return None
    available = view.position_qty - view.open_sells
    if qty <= available:
        return Check("INSUFFICIENT_HOLDING", Verdict.PASS, value=qty, limit=available)
    coin = view.instrument.holding.partition("/")[0]
    reserved = f", {_n(view.open_sells)} of it in open orders" if view.open_sells else ""
    text = f"You hold {_n(view.position_qty)} {coin}{reserved}; crypto cannot be sold short"
    return Check("INSUFFICIENT_HOLDING", Verdict.REFUSE, text, qty, available)


def signal_age(order: Order, qty: Decimal, view: RiskView) -> Check | None:
    """A signal that waited too long is refused rather than sent late."""
    return judged_age(order, view.waited_s, view.limits)


def judged_age(order: Order, waited_s: Decimal, limits: Limits) -> Check | None:
    """The same, for an order that cannot be sent yet and waits."""
    limit = limits.signal_age_s
    if order.valid_for_s is not None:
        limit = Limit("valid_for_s", order.valid_for_s)
    waited = _n(waited_s.quantize(Decimal("0.1")))
    text = f"The signal waited {waited} s, longer than {limit.key} {_n(limit.value)} s"
    return _judged("SIGNAL_STALE", limit, waited_s, text)


def pair(order: Order, qty: Decimal, view: RiskView) -> Check | None:
    """Crypto is booked in USD; a pair quoted in another coin would move two positions."""
    if view.instrument is None or not view.instrument.is_crypto or order.symbol == view.instrument.holding:
        return None
    text = f"{order.symbol} is not quoted in USD; Trademk1 trades {view.instrument.holding} instead"
    return Check("UNSUPPORTED_PAIR", Verdict.REFUSE, text)


CONTROLS = (
    account_open, tradable, pair, market_hours, symbol_block, signal_age, order_quantity, increments, holdings,
    price_freshness, position_size,
)  # fmt: skip


def _lowers_risk(order: Order, qty: Decimal, view: RiskView) -> bool:
    """It reduces the position; a sale of crypto never does anything else: `holdings` refuses what would."""
    is_crypto_sale = order.side is Side.SELL and view.instrument is not None and view.instrument.is_crypto
    return is_crypto_sale or is_reducing(order.side, qty, view)


def _judged(code: str, limit: Limit, value: Decimal, text: str) -> Check | None:
    if limit.mode is Mode.OFF:
        return None
    if value <= limit.value:
        return Check(code, Verdict.PASS, value=value, limit=limit.value)
    return Check(code, Verdict.REFUSE if limit.mode is Mode.ENFORCE else Verdict.WARN, text, value, limit.value)


def _reference(side: Side, view: RiskView) -> Decimal | None:
    """The price that a limit uses: the ask for buying, the bid for selling, else the last trade."""
    if view.price is None:
        return None
    quoted = view.price.ask if side is Side.BUY else view.price.bid
    return quoted or view.price.valuation


def _n(value: Decimal) -> str:
    return format(trimmed(value), "f")
