"""How an order looks on the wire: the whole field set, as Alpaca's paper API sends it."""

import msgspec

from paperbroker.assets import Asset
from paperbroker.money import text, text_or_none
from paperbroker.orders import Order
from paperbroker.timestamps import rfc3339, rfc3339_or_none

_encode = msgspec.json.Encoder().encode


def order_json(order: Order, asset: Asset) -> bytes:
    """JSON text of an order. Money and quantities are strings; what does not apply is null."""
    return _encode(_fields(order, asset))


def with_legs(wire: bytes, legs: list[bytes]) -> bytes:
    """An order's JSON with its legs in it, as the nested style shows it."""
    return wire.replace(b'"legs":null', b'"legs":[' + b",".join(legs) + b"]", 1) if legs else wire


def _fields(order: Order, asset: Asset) -> dict[str, object]:
    group = {} if order.group_id is None else {"group_id": order.group_id, "group_role": order.group_role}
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": rfc3339(order.created_ns),
        "updated_at": rfc3339(order.updated_ns),
        "submitted_at": rfc3339(order.submitted_ns),
        "filled_at": rfc3339_or_none(order.filled_ns),
        "expired_at": rfc3339_or_none(order.expired_ns),
        "expires_at": rfc3339(order.expires_ns),
        "canceled_at": rfc3339_or_none(order.canceled_ns),
        "failed_at": rfc3339_or_none(order.failed_ns),
        "replaced_at": rfc3339_or_none(order.replaced_ns),
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": asset.id,
        "symbol": asset.symbol,
        "asset_class": asset.asset_class,
        "notional": text_or_none(order.notional),
        "qty": text_or_none(order.qty),
        "filled_qty": text(order.filled_qty),
        "filled_avg_price": text_or_none(order.filled_avg_price),
        "order_class": order.order_class,
        "order_type": order.type,
        "type": order.type,
        "side": order.side,
        "position_intent": order.position_intent,
        "time_in_force": order.time_in_force,
        "limit_price": text_or_none(order.limit_price),
        "stop_price": text_or_none(order.stop_price),
        "status": order.status,
        "extended_hours": order.extended_hours,
        "legs": None,
        "trail_percent": text_or_none(order.trail_percent),
        "trail_price": text_or_none(order.trail_price),
        "hwm": text_or_none(order.hwm),
        "subtag": None,
        "source": None,
        **group,
    }
