"""Closing positions: `DELETE /v2/positions/{symbol}` and `DELETE /v2/positions`.

A position is closed by an order like any other, so it is refused like any other, for instance when open orders hold
the position.
"""

from decimal import Decimal

import msgspec

from paperbroker.accounts import Account
from paperbroker.api.endpoint import Call, Reply, Routes
from paperbroker.api.round_trip import leaving, wait_while
from paperbroker.assets import Asset, Assets
from paperbroker.desk import Desk
from paperbroker.errors import Refusal, invalid, not_found, unprocessable
from paperbroker.money import NINE_DECIMALS, decimals, floor_to, parse, text
from paperbroker.orders import OrderType, Side
from paperbroker.positions import Position
from paperbroker.rules import parse_order

CANCEL_SECONDS = 1.0  # how long cancels may take before the positions are closed all the same
UNDER_WAY_SECONDS = 0.25  # and market orders that are about to be filled, such as those of the same request before
_HUNDRED = Decimal(100)


class Closing:
    """The handlers that end positions."""

    def __init__(self, desk: Desk, assets: Assets) -> None:
        self._desk = desk
        self._assets = assets

    def routes(self) -> Routes:
        return [("/v2/positions", "DELETE", self.all), ("/v2/positions/{symbol:path}", "DELETE", self.one)]

    async def one(self, call: Call) -> Reply:
        """All of it, `qty` of it, or a `percentage` (0 to 100) of it; answers the order."""
        spelling = call.path["symbol"]
        asset = self._assets.find(spelling)
        if asset is None:
            raise not_found(f"symbol not found: {spelling[:64]}")
        await wait_while(lambda: any(leaving(call.account, asset.symbol, side) for side in Side))
        position = call.account.state.positions.get(asset.holding)
        if position is None:
            raise not_found("position does not exist")
        return Reply(self._close(call.account, position, _part(call, position)))

    async def all(self, call: Call) -> Reply:
        """207 with an entry for each position; with `cancel_orders` the open orders are canceled before."""
        account = call.account
        if call.query.get("cancel_orders", "").lower() == "true":
            await self._cancel_orders(account)
        else:
            await wait_while(lambda: _under_way(account), UNDER_WAY_SECONDS)
        holdings = sorted(account.state.positions)
        return Reply([self._try_to_close(account, account.state.positions[holding]) for holding in holdings], 207)

    async def _cancel_orders(self, account: Account) -> None:
        for order_id in list(account.open_orders):
            if order_id in account.open_orders:  # canceling one of a group may have ended others
                self._desk.cancel(account, order_id)
        await wait_while(lambda: bool(account.open_orders), CANCEL_SECONDS)

    def _try_to_close(self, account: Account, position: Position) -> dict[str, object]:
        symbol = self._assets[position.symbol].compact
        try:
            wire = self._close(account, position, abs(position.qty))
        except Refusal as refusal:
            return {"symbol": symbol, "status": refusal.status, "body": refusal.body()}
        return {"symbol": symbol, "status": 200, "body": msgspec.Raw(wire)}

    def _close(self, account: Account, position: Position, qty: Decimal) -> bytes:
        asset: Asset = self._assets[position.symbol]
        order = {
            "symbol": asset.symbol,
            "qty": text(qty),
            "side": "sell" if position.qty > 0 else "buy",
            "type": "market",
            "time_in_force": "gtc" if asset.crypto else "day",
        }
        return self._desk.submit(account, parse_order(order, self._assets))


def _under_way(account: Account) -> bool:
    return any(order.type is OrderType.MARKET for order in account.open_orders.values())


def _part(call: Call, position: Position) -> Decimal:
    """How much of a position is asked to be closed; a percentage of whole shares stays whole."""
    whole = abs(position.qty)
    qty, percentage = _number(call, "qty"), _number(call, "percentage")
    if qty is not None and percentage is not None:
        raise invalid("only one of qty or percentage is accepted")
    if qty is not None:
        return qty
    if percentage is None:
        return whole
    if percentage > _HUNDRED:
        raise unprocessable("percentage must be between 0 and 100")
    in_shares = "/" not in position.symbol and whole == whole.to_integral_value()
    part = floor_to(whole * percentage / _HUNDRED, Decimal(1) if in_shares else NINE_DECIMALS)
    if part <= 0:
        raise unprocessable("percentage is too small: nothing would be closed")
    return part


def _number(call: Call, name: str) -> Decimal | None:
    given = call.query.get(name, "")
    if not given:
        return None
    try:
        value = parse(given)
    except ValueError:
        raise invalid(f"{name} is not a valid number") from None
    if value <= 0:
        raise unprocessable(f"{name} must be > 0")
    if decimals(value) > 9:
        raise unprocessable(f"{name} takes at most 9 decimal places")
    return value
