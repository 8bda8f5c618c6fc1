"""How an order looks on the wire: the whole field set, as Alpaca's paper API sends it.

An order is written with each of its events, so the fields that never change are encoded once and remembered while it
is open; the others are numbers, times, ids and words of ours, which need no escaping.
"""

from decimal import Decimal

import msgspec

from paperbroker.assets import Asset
from paperbroker.money import text, text_or_none
from paperbroker.orders import Order, OrderType
from paperbroker.timestamps import rfc3339

_encode = msgspec.json.Encoder().encode
_REMEMBERED = 4096
_constant: dict[str, str] = {}
# what most orders have
_NEVER = ',"expired_at":null,"canceled_at":null,"failed_at":null,"replaced_at":null,"replaced_by":null,"replaces":null'
_NO_PRICES = ',"limit_price":null,"stop_price":null,"hwm":null'


def order_json(order: Order, asset: Asset) -> bytes:
    """JSON text of an order. Money and quantities are strings; what does not apply is null."""
    constant = _constant.get(order.id) or _encode(_constant_fields(order, asset))[:-1].decode()
    if not order.is_open:
        _constant.pop(order.id, None)
    else:
        if len(_constant) >= _REMEMBERED:
            _constant.clear()
        _constant[order.id] = constant
    ended = (
        _NEVER
        if order.replaces is None
        and not (order.expired_ns or order.canceled_ns or order.failed_ns or order.replaced_ns)
        else f',"expired_at":{_time(order.expired_ns)},"canceled_at":{_time(order.canceled_ns)}'
        f',"failed_at":{_time(order.failed_ns)},"replaced_at":{_time(order.replaced_ns)}'
        f',"replaced_by":{_quoted(order.replaced_by)},"replaces":{_quoted(order.replaces)}'
    )
    prices = (
        _NO_PRICES
        if order.type is OrderType.MARKET
        else f',"limit_price":{_number(order.limit_price)},"stop_price":{_number(order.stop_price)}'
        f',"hwm":{_number(order.hwm)}'
    )
    group = "" if order.group_id is None else f',"group_id":"{order.group_id}","group_role":"{order.group_role}"'
    return (
        f'{constant},"updated_at":"{rfc3339(order.updated_ns)}","submitted_at":"{rfc3339(order.submitted_ns)}"'
        f',"filled_at":{_time(order.filled_ns)}{ended},"qty":{_number(order.qty)}'
        f',"filled_qty":"{text(order.filled_qty)}","filled_avg_price":{_number(order.filled_avg_price)}{prices}'
        f',"status":"{order.status}"{group}}}'
    ).encode()


def with_legs(wire: bytes, legs: list[bytes]) -> bytes:
    """An order's JSON with its legs in it, as the nested style shows it."""
    return wire.replace(b'"legs":null', b'"legs":[' + b",".join(legs) + b"]", 1) if legs else wire


def _constant_fields(order: Order, asset: Asset) -> dict[str, object]:
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": rfc3339(order.created_ns),
        "expires_at": rfc3339(order.expires_ns),
        "asset_id": asset.id,
        "symbol": asset.symbol,
        "asset_class": asset.asset_class,
        "notional": text_or_none(order.notional),
        "order_class": order.order_class,
        "order_type": order.type,
        "type": order.type,
        "side": order.side,
        "position_intent": order.position_intent,
        "time_in_force": order.time_in_force,
        "extended_hours": order.extended_hours,
        "legs": None,
        "trail_percent": text_or_none(order.trail_percent),
        "trail_price": text_or_none(order.trail_price),
        "subtag": None,
        "source": None,
    }


def _time(ns: int | None) -> str:
    return "null" if ns is None else f'"{rfc3339(ns)}"'


def _number(value: Decimal | None) -> str:
    return "null" if value is None else f'"{text(value)}"'


def _quoted(value: str | None) -> str:
    return "null" if value is None else f'"{value}"'
