"""The JSON of a POST becomes an order request, or is refused for what it says; no account is looked at here.

Clients differ: numbers come as strings or as numbers, absent fields as null or "" (see the reference). `rules` says
which of the well-formed requests make sense.
"""

from decimal import Decimal
from typing import TypeVar

import msgspec

from paperbroker.assets import Asset, Assets
from paperbroker.errors import invalid, malformed, unprocessable
from paperbroker.money import ZERO, parse
from paperbroker.orders import COMPLEX, OrderClass, OrderType, Side, TimeInForce

LONGEST_CLIENT_ORDER_ID = 128
INTENTS = frozenset({"buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close"})

Choice = TypeVar("Choice", Side, OrderType, TimeInForce)
Fields = dict[str, object]
_CLASSES = frozenset(OrderClass)


class StopLoss(msgspec.Struct, frozen=True):
    """The stop of a bracket, OCO or OTO; with a limit price it is a stop_limit order."""

    stop_price: Decimal
    limit_price: Decimal | None


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it is asked for. `take_profit` is a limit price; for an OCO it is the order's own limit."""

    asset: Asset
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    qty: Decimal | None
    client_order_id: str
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    take_profit: Decimal | None = None
    stop_loss: StopLoss | None = None
    extended_hours: bool = False
    order_class: str = ""
    position_intent: str = ""

    @property
    def fractional(self) -> bool:
        return self.notional is not None or (self.qty is not None and self.qty != self.qty.to_integral_value())

    @property
    def complex(self) -> bool:
        return self.order_class in COMPLEX


def read_order(body: object, assets: Assets) -> OrderRequest:
    """Read the body of `POST /v2/orders`. Raises Refusal (400, 422) in Alpaca's words."""
    if not isinstance(body, dict):
        raise malformed()
    fields = given(body)
    order_class = _text(fields, "order_class")
    if order_class == "mleg" or "legs" in fields:
        raise unprocessable("mleg orders are for options, which the paper broker does not have")
    if order_class and order_class not in _CLASSES:
        raise invalid("invalid order_class")
    take_profit, stop_loss = _take_profit(fields), _stop_loss(fields)
    limit_price, kind = positive(fields, "limit_price"), _choice(fields, "type", OrderType)
    if order_class == OrderClass.OCO and kind is OrderType.LIMIT:
        limit_price = take_profit or limit_price
    return OrderRequest(
        asset=_asset(fields, assets),
        side=_choice(fields, "side", Side),
        type=kind,
        time_in_force=_choice(fields, "time_in_force", TimeInForce),
        qty=positive(fields, "qty"),
        notional=positive(fields, "notional"),
        limit_price=limit_price,
        stop_price=positive(fields, "stop_price"),
        trail_price=positive(fields, "trail_price"),
        trail_percent=positive(fields, "trail_percent"),
        take_profit=take_profit,
        stop_loss=stop_loss,
        extended_hours=_flag(fields, "extended_hours"),
        client_order_id=read_client_order_id(fields),
        order_class=order_class,
        position_intent=_intent(fields),
    )


def given(body: dict[object, object]) -> Fields:
    """The fields that are really given: neither null nor empty."""
    return {str(name): value for name, value in body.items() if value is not None and value != ""}


def _take_profit(fields: Fields) -> Decimal | None:
    inner = _object(fields, "take_profit")
    return positive(inner, "limit_price", "take_profit.limit_price") if inner else None


def _stop_loss(fields: Fields) -> StopLoss | None:
    inner = _object(fields, "stop_loss")
    if not inner:
        return None
    stop = positive(inner, "stop_price", "stop_loss.stop_price")
    if stop is None:
        raise invalid("stop_loss.stop_price is required")
    return StopLoss(stop, positive(inner, "limit_price", "stop_loss.limit_price"))


def _object(fields: Fields, name: str) -> Fields:
    if name not in fields:
        return {}
    value = fields[name]
    if not isinstance(value, dict):
        raise invalid(f"{name} must be an object")
    return given(value)


def _asset(fields: Fields, assets: Assets) -> Asset:
    symbol = _text(fields, "symbol")
    if not symbol:
        raise invalid("symbol is required")
    asset = assets.find(symbol)
    if asset is None:
        raise unprocessable(f'asset "{symbol[:64]}" not found')
    return asset


def _choice(fields: Fields, name: str, kind: type[Choice]) -> Choice:
    value = fields.get(name)
    if value is None:
        raise invalid(f"{name} is required")
    return choice(value, name, kind)


def choice(value: object, name: str, kind: type[Choice]) -> Choice:
    """One of an enumeration's words. Raises Refusal."""
    found = kind.__members__.get(value.upper()) if isinstance(value, str) and value.islower() else None
    if found is None:
        raise invalid(f"invalid {'order type' if name == 'type' else name}")
    return found


def positive(fields: Fields, name: str, called: str | None = None) -> Decimal | None:
    """A number above zero; None when it is not given. Raises Refusal."""
    if name not in fields:
        return None
    try:
        value = parse(fields[name])
    except ValueError:
        raise invalid(f"{called or name} is not a valid number") from None
    if value <= ZERO:
        raise invalid(f"{called or name} must be > 0")
    return value


def _flag(fields: Fields, name: str) -> bool:
    value = fields.get(name, False)
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise invalid(f"{name} must be true or false")
    return value


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise invalid(f"{name} must be a string")
    return value


def read_client_order_id(fields: Fields) -> str:
    """The client's own id; empty when it names none, and the desk gives the order one. Raises Refusal."""
    value = _text(fields, "client_order_id")
    if len(value) > LONGEST_CLIENT_ORDER_ID:
        raise invalid(f"client_order_id must be no more than {LONGEST_CLIENT_ORDER_ID} characters")
    if not value.isprintable():
        raise invalid("client_order_id must be printable")
    return value


def _intent(fields: Fields) -> str:
    value = _text(fields, "position_intent")
    if value and value not in INTENTS:
        raise invalid("invalid position_intent")
    return value
