"""Fills and fees as Alpaca lists them in `/v2/account/activities`."""

import uuid
from decimal import Decimal
from functools import lru_cache

import msgspec

from paperbroker.assets import Asset
from paperbroker.fees import DayFees
from paperbroker.money import ZERO, text
from paperbroker.orders import Order
from paperbroker.prices.quotes import Quote
from paperbroker.timestamps import SECOND, at, new_york, rfc3339

_encode = msgspec.json.Encoder().encode


class Execution(msgspec.Struct, frozen=True):
    """One fill, with the quote it was made against. `qty` is of this execution, `cum_qty` of the order so far."""

    id: str
    ns: int
    order: Order
    asset: Asset
    qty: Decimal
    price: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    position_qty: Decimal
    fee: Decimal
    quote: Quote

    def facts(self) -> bytes:
        """The line of the fill log, JSON: what was filled, and against which quote."""
        order, quote = self.order, self.quote
        return (
            f'{{"time":"{rfc3339(self.ns)}","account_id":"{order.account_id}","symbol":{_encode(self.asset.symbol).decode()}'
            f',"side":"{order.side}","qty":"{text(self.qty)}","price":"{text(self.price)}","fee":"{text(self.fee)}"'
            f',"order_id":"{order.id}","client_order_id":{_encode(order.client_order_id).decode()}'
            f',"execution_id":"{self.id}","cum_qty":"{text(self.cum_qty)}","leaves_qty":"{text(self.leaves_qty)}"'
            f',"position_qty":"{text(self.position_qty)}","bid":"{text(quote.bid)}","ask":"{text(quote.ask)}"'
            f',"quote_time":"{rfc3339(quote.ns)}"}}'
        ).encode()


class Activity(msgspec.Struct, frozen=True):
    """One entry of the list: its id, when, what kind, of which order, and its JSON."""

    id: str
    account_id: str
    ns: int
    type: str
    order_id: str | None
    body: bytes


def activity_id(ns: int, unique: str) -> str:
    """`YYYYMMDDHHMMSSmmm::uuid`, New York's local time."""
    seconds, rest = divmod(ns, SECOND)
    return f"{_local_second(seconds)}{rest // 1_000_000:03d}::{unique}"


@lru_cache(maxsize=16)
def _local_second(seconds: int) -> str:
    return f"{new_york(seconds * SECOND):%Y%m%d%H%M%S}"


def fill_activity(execution: Execution, *, final: bool) -> Activity:
    """A fill; `final` when it completes its order."""
    order = execution.order
    identity = activity_id(execution.ns, execution.id)
    body = {
        "id": identity,
        "activity_type": "FILL",
        "transaction_time": rfc3339(execution.ns),
        "type": "fill" if final else "partial_fill",
        "price": text(execution.price),
        "qty": text(execution.qty),
        "side": order.side,
        "symbol": execution.asset.symbol,
        "leaves_qty": text(execution.leaves_qty),
        "order_id": order.id,
        "cum_qty": text(execution.cum_qty),
        "order_status": "filled" if final else "partially_filled",
    }
    return Activity(identity, order.account_id, execution.ns, "FILL", order.id, _encode(body))


def bust_activity(fill: dict[str, str], ns: int, unique: str) -> Activity:
    """A trade bust: the fill of a line of the fill log, taken back."""
    identity = activity_id(ns, unique)
    body = {
        "id": identity,
        "activity_type": "FILL",
        "execution_type": "trade_bust",
        "transaction_time": rfc3339(ns),
        "type": "fill",
        **{name: fill[name] for name in ("price", "qty", "side", "symbol", "order_id")},
        "leaves_qty": "0",
        "cum_qty": "0",
        "order_status": "filled",
    }
    return Activity(identity, fill["account_id"], ns, "FILL", fill["order_id"], _encode(body))


def fee_activity(account_id: str, fees: DayFees, asset: Asset, posted_ns: int) -> Activity:
    """The fees of one coin and day in one entry: coins as a negative `qty`, money as a negative `net_amount`.

    Dated with the day of the trades; the id carries that day's midnight, as Alpaca's do, and is the same however
    often it is made.
    """
    name = f"{account_id}/{fees.day}/{fees.symbol}/CFEE"
    identity = activity_id(at(fees.day, 0), str(uuid.uuid5(uuid.NAMESPACE_OID, name)))
    in_coin = fees.coin > 0
    body: dict[str, object] = {
        "id": identity,
        "activity_type": "CFEE",
        "date": fees.day.isoformat(),
        "net_amount": text(-fees.dollars),
        "description": f"Coin Pair Transaction Fee ({'Non USD' if in_coin else 'USD'})",
        "symbol": asset.compact,
        "qty": text(-fees.coin),
        "price": text((fees.value / fees.coin).quantize(Decimal("1e-9")) if in_coin else ZERO),
        "status": "executed",
        "created_at": rfc3339(posted_ns),
    }
    return Activity(identity, account_id, posted_ns, "CFEE", None, _encode(body))
