"""The JSON of a POST becomes an order request, or is refused for what it says; no account is looked at here.

Clients differ: numbers come as strings or as numbers, absent fields as null or "" (see the reference).
"""

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from paperbroker.assets import Asset, Assets
from paperbroker.errors import forbidden, invalid, malformed, unprocessable
from paperbroker.money import NINE_DECIMALS, ZERO, decimals, parse, text
from paperbroker.orders import OrderType, Side, TimeInForce

SMALLEST_COIN_COST = Decimal(10)
SMALLEST_STOCK_NOTIONAL = Decimal(1)
LONGEST_CLIENT_ORDER_ID = 128
INTENTS = frozenset({"buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close"})

Choice = TypeVar("Choice", Side, OrderType, TimeInForce)

_LATER_TYPES = frozenset({"stop", "stop_limit", "trailing_stop"})
_LATER_TIMES = frozenset({"opg", "cls"})
_LATER_CLASSES = frozenset({"bracket", "oco", "oto", "mleg"})
_LATER_FIELDS = ("stop_price", "trail_price", "trail_percent", "take_profit", "stop_loss", "legs")


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A well-formed order: exactly one of `qty` and `notional`; a limit order has its price."""

    asset: Asset
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    qty: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    extended_hours: bool
    client_order_id: str
    order_class: str
    position_intent: str

    @property
    def fractional(self) -> bool:
        return self.notional is not None or (self.qty is not None and self.qty != self.qty.to_integral_value())


def parse_order(body: object, assets: Assets) -> OrderRequest:
    """Read and validate the body of `POST /v2/orders`. Raises Refusal (400, 403, 422) in Alpaca's words."""
    if not isinstance(body, dict):
        raise malformed()
    fields = {str(name): value for name, value in body.items() if value is not None and value != ""}
    asset = _asset(fields, assets)
    _refuse_what_comes_later(fields)
    request = OrderRequest(
        asset=asset,
        side=_choice(fields, "side", Side),
        type=_choice(fields, "type", OrderType),
        time_in_force=_choice(fields, "time_in_force", TimeInForce),
        qty=_positive(fields, "qty"),
        notional=_positive(fields, "notional"),
        limit_price=_positive(fields, "limit_price"),
        extended_hours=_flag(fields, "extended_hours"),
        client_order_id=_client_order_id(fields),
        order_class=_text(fields, "order_class"),
        position_intent=_intent(fields),
    )
    _check_amount(request)
    _check_price(request)
    if asset.crypto:
        _check_coin_order(request)
    else:
        _check_stock_order(request)
    return request


def _asset(fields: dict[str, object], assets: Assets) -> Asset:
    symbol = _text(fields, "symbol")
    if not symbol:
        raise invalid("symbol is required")
    asset = assets.find(symbol)
    if asset is None:
        raise unprocessable(f'asset "{symbol[:64]}" not found')
    return asset


def _refuse_what_comes_later(fields: dict[str, object]) -> None:
    for name, later in (("type", _LATER_TYPES), ("time_in_force", _LATER_TIMES), ("order_class", _LATER_CLASSES)):
        value = fields.get(name)
        if isinstance(value, str) and value in later:
            raise unprocessable(f"{value} orders are not supported by the paper broker yet")
    for name in _LATER_FIELDS:
        if name in fields:
            raise unprocessable(f"{name} is not supported by the paper broker yet")
    if fields.get("order_class", "simple") != "simple":
        raise invalid("invalid order_class")


def _choice(fields: dict[str, object], name: str, kind: type[Choice]) -> Choice:
    value = fields.get(name)
    if value is None:
        raise invalid(f"{name} is required")
    try:
        return kind(str(value))
    except ValueError:
        raise invalid(f"invalid {name}, must be one of {', '.join(kind)}") from None


def _check_amount(request: OrderRequest) -> None:
    if request.qty is not None and request.notional is not None:
        raise invalid("only one of qty or notional is accepted")
    amount = request.qty if request.notional is None else request.notional
    if amount is None:
        raise invalid("qty or notional is required")
    if decimals(amount) > 9:
        raise unprocessable("qty and notional take at most 9 decimal places")


def _check_price(request: OrderRequest) -> None:
    if request.type is OrderType.LIMIT and request.limit_price is None:
        raise invalid("limit orders require a limit price")
    if request.type is OrderType.MARKET and request.limit_price is not None:
        raise invalid("market orders require no limit price")


def _check_coin_order(request: OrderRequest) -> None:
    asset = request.asset
    if request.time_in_force not in {TimeInForce.GTC, TimeInForce.IOC}:
        raise unprocessable("invalid crypto time_in_force")
    increment, price = asset.price_increment, request.limit_price
    if increment and price and price % increment:
        raise unprocessable(f"limit_price must be a multiple of price increment {text(increment)}")
    if request.qty is not None and asset.min_order_size and request.qty < asset.min_order_size:
        raise forbidden(f"qty must be >= minimal qty of order {text(asset.min_order_size)}")
    if request.qty is not None and request.qty % NINE_DECIMALS:
        raise unprocessable(f"qty must be a multiple of trade increment {text(NINE_DECIMALS)}")


def _check_stock_order(request: OrderRequest) -> None:
    if request.fractional:
        _check_fraction(request)
    price = request.limit_price
    if price is not None and decimals(price) > (2 if price >= 1 else 4):
        raise unprocessable(
            f"invalid limit_price {text(price)}. sub-penny increment does not fulfill minimum pricing criteria"
        )
    if request.extended_hours and (
        request.type is not OrderType.LIMIT or request.time_in_force not in {TimeInForce.DAY, TimeInForce.GTC}
    ):
        raise unprocessable("extended hours order must be DAY or GTC limit orders")


def _check_fraction(request: OrderRequest) -> None:
    if not request.asset.fractionable:
        raise forbidden(f'asset "{request.asset.symbol}" is not fractionable')
    if request.time_in_force is not TimeInForce.DAY:
        raise unprocessable("fractional orders must be DAY orders")
    if request.notional is not None and request.notional < SMALLEST_STOCK_NOTIONAL:
        raise forbidden(f"cost basis must be >= minimal amount of order {SMALLEST_STOCK_NOTIONAL}")


def _positive(fields: dict[str, object], name: str) -> Decimal | None:
    if name not in fields:
        return None
    try:
        value = parse(fields[name])
    except ValueError:
        raise invalid(f"{name} is not a valid number") from None
    if value <= ZERO:
        raise invalid(f"{name} must be > 0")
    return value


def _flag(fields: dict[str, object], name: str) -> bool:
    value = fields.get(name, False)
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise invalid(f"{name} must be true or false")
    return value


def _text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise invalid(f"{name} must be a string")
    return value


def _client_order_id(fields: dict[str, object]) -> str:
    value = _text(fields, "client_order_id")
    if len(value) > LONGEST_CLIENT_ORDER_ID:
        raise invalid(f"client_order_id must be no more than {LONGEST_CLIENT_ORDER_ID} characters")
    if not value.isprintable():
        raise invalid("client_order_id must be printable")
    return value or str(uuid.uuid4())


def _intent(fields: dict[str, object]) -> str:
    value = _text(fields, "position_intent")
    if value and value not in INTENTS:
        raise invalid("invalid position_intent")
    return value
