"""What only the house can do: trade in an account by hand, take a trade back, set it up anew; halt a symbol."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from paperbroker import tables
from paperbroker.accounts import OPENING_CASH, Account, open_account
from paperbroker.activities import bust_activity
from paperbroker.assets import Asset
from paperbroker.core import Core
from paperbroker.errors import not_found, unprocessable
from paperbroker.ids import id_of
from paperbroker.intake import OrderRequest
from paperbroker.money import text
from paperbroker.orders import Side
from paperbroker.prices.quotes import Halt
from paperbroker.rules import parse_order
from paperbroker.statuses import Event
from paperbroker.timestamps import new_york_date, parse, rfc3339
from paperbroker.updates import Update, update_body

_FORGET = (
    "delete from orders where account_id = ?",
    "delete from activities where account_id = ?",
    "delete from events where account_id = ?",
)


def _read(stored: object) -> dict[str, Any]:
    return dict(msgspec.json.decode(stored if isinstance(stored, bytes) else b"{}"))


class Books:
    """The hands of the house."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def trade(self, account: Account, symbol: str, side: str, qty: str, price: Decimal | None) -> bytes:
        """A market order that no client of the API sent, as from the broker's own page; filled at once at a price.

        Raises Refusal.
        """
        core = self._core
        body = {"symbol": symbol, "side": side, "type": "market", "time_in_force": "day", "qty": qty}
        asset = core.assets.find(symbol)
        if asset is not None and asset.crypto:
            body["time_in_force"] = "gtc"
        request: OrderRequest = parse_order(body, core.assets)
        before = set(account.open_orders)
        wire = core.desk.submit(account, request)
        if price is not None:
            order = next(order for order_id, order in account.open_orders.items() if order_id not in before)
            core.floor.fill_now(order, price)
        return wire

    def bust(self, execution_id: str) -> dict[str, object]:
        """Take a fill back: position, cash and the order's filled quantity; the stream tells `restated`.

        Raises Refusal.
        """
        core = self._core
        sql = "select body, account_id, order_id from fills where json_extract(body, '$.execution_id') = ?"
        rows = core.store.read(sql, (execution_id,))
        if not rows:
            raise not_found(f"execution not found for {execution_id[:64]}")
        body, account_id, order_id = rows[0]
        bust_id = id_of(execution_id, "bust")
        if core.store.read(
            "select 1 from activities where account_id = ? and id like ?", (account_id, f"%::{bust_id}")
        ):
            raise unprocessable(f"execution {execution_id} has been busted already")
        fill = _read(body)
        account = core.ledger[str(account_id)]
        if account.open_orders.get(str(order_id)) is not None:
            raise unprocessable("only fills of orders that have ended can be busted")
        asset = core.assets[fill["symbol"]]
        side, qty, price = Side(fill["side"]), Decimal(fill["qty"]), Decimal(fill["price"])
        ns = core.clock.now()
        fee, day = Decimal(fill["fee"]), new_york_date(parse(fill["time"]))
        account.unbook(asset, side, qty=qty, price=price, fee=fee, day=day, prices=core.prices, ns=ns)
        core.store.put_account(account)
        self._cancel_what_is_not_covered(account, asset)
        ((before,),) = core.store.read("select wire from orders where id = ?", (order_id,))
        order = _read(before)
        left = Decimal(order["filled_qty"]) - qty
        value = Decimal(order["filled_qty"]) * Decimal(order["filled_avg_price"]) - qty * price
        order["filled_qty"] = text(left)
        order["filled_avg_price"] = text((value / left).quantize(Decimal("1e-9"))) if left else None
        order["updated_at"] = rfc3339(ns)
        wire = msgspec.json.encode(order)
        core.store.put("update orders set wire = ? where id = ?", (wire, order_id))
        core.store.put_activity(bust_activity(fill, ns, bust_id))
        core.ledger.tell(
            Update(
                event=Event.RESTATED,
                account_id=str(account_id),
                order_id=order["id"],
                client_order_id=order["client_order_id"],
                symbol=order["symbol"],
                ns=ns,
                wire=wire,
                execution=None,
                body=update_body(Event.RESTATED, order["id"], wire, ns, None),
            )
        )
        return fill

    def _cancel_what_is_not_covered(self, account: Account, asset: Asset) -> None:
        """Coins cannot be short: open orders that would give away what a bust took back end, the newest first."""
        if not asset.crypto:
            return
        for coin in {asset.coin, asset.quote_currency} - {"USD"}:
            for order in reversed(list(account.open_orders.values())):
                traded = self._core.assets[order.symbol]
                given = traded.coin if order.side is Side.SELL else traded.quote_currency
                if given == coin and account.held(f"{coin}/USD", Side.SELL) > account.qty(f"{coin}/USD"):
                    self._core.floor.end(order, Event.CANCELED)

    def halt(self, symbol: str) -> None:
        """Orders of the symbol are taken, and neither accepted nor filled until the halt ends."""
        core = self._core
        if symbol not in core.floor.halted:
            core.floor.halted.add(symbol)
            core.store.put(tables.PUT_HALT, (symbol,))
            core.prices.halt(Halt(symbol, core.clock.now(), resumed=False))

    def resume(self, symbols: Iterable[str]) -> None:
        """End the halts of those of the symbols that are halted."""
        core = self._core
        for symbol in sorted(core.floor.halted.intersection(symbols)):
            core.floor.halted.discard(symbol)
            core.store.put(tables.DROP_HALT, (symbol,))
            core.prices.halt(Halt(symbol, core.clock.now(), resumed=True))
        core.floor.wake()

    def reset(self, account: Account, cash: Decimal | None, positions: dict[str, Decimal] | None) -> None:
        """Begin anew: no orders, no history, and the holdings that are given (else the opening ones)."""
        core = self._core
        for order in list(account.open_orders.values()):
            core.floor.end(order, Event.CANCELED)  # one of a group may have been ended with another: nothing then
        core.store.commit()  # what they tell is told before they are forgotten
        ns = core.clock.now()
        holdings = core.ledger.opening
        if positions is not None:
            holdings = {core.assets.get(symbol).holding: qty for symbol, qty in positions.items()}
        fresh = open_account(
            account.state.key, holdings, core.prices, ns, new_york_date(ns), OPENING_CASH if cash is None else cash
        )
        fresh.state.created_ns = account.state.created_ns
        account.state = fresh.state
        for statement in _FORGET:
            core.store.put(statement, (account.id,))
        core.store.put_account(account)
        core.store.commit()  # an order that comes in the same turn is none of those that are forgotten
