"""`/v2/orders`: what is listed comes from the store, so it shows what is committed."""

import uuid
from collections.abc import Awaitable

from paperbroker.accounts import Account
from paperbroker.api.endpoint import Call, Reply
from paperbroker.api.parameters import ASSET_CLASSES, flag, instant, one_of, plain_id, some_of, whole_number, words
from paperbroker.api.round_trip import is_in, leaving, wait_while
from paperbroker.api.where import Where
from paperbroker.assets import Assets
from paperbroker.desk import Desk
from paperbroker.errors import Refusal, already_in, invalid, not_found, not_to_be_replaced, unprocessable
from paperbroker.intake import OrderRequest
from paperbroker.order_json import with_legs
from paperbroker.orders import Side
from paperbroker.replacing import Replacing, read_changes
from paperbroker.rules import parse_order
from paperbroker.statuses import Status
from paperbroker.store import Row, Store

DEFAULT_LIMIT, MOST = 50, 500
# nested: a leg is rolled up under its parent, unless the list leaves the parent out
_UNDER_A_LISTED_PARENT = "parent_id is not null and exists (select 1 from orders p where p.id = orders.parent_id{})"


class Orders:
    """The handlers of orders."""

    def __init__(self, desk: Desk, replacing: Replacing, assets: Assets, store: Store) -> None:
        self._desk = desk
        self._replacing = replacing
        self._assets = assets
        self._store = store

    def submit(self, call: Call) -> Reply | Awaitable[Reply]:
        request = parse_order(call.body, self._assets)
        if leaving(call.account, request.asset.symbol, request.side.opposite):
            return self._submit_after_it(call, request)
        return Reply(self._desk.submit(call.account, request))

    async def _submit_after_it(self, call: Call, request: OrderRequest) -> Reply:
        """An opposite order that is about to end makes no wash trade."""
        await wait_while(lambda: leaving(call.account, request.asset.symbol, request.side.opposite))
        return Reply(self._desk.submit(call.account, request))

    async def replace(self, call: Call) -> Reply:
        """200 is no promise: a fill can be faster, and then the new order is rejected."""
        order_id = plain_id(call.path["id"])
        changes = read_changes(call.body)
        await wait_while(lambda: is_in(call.account, order_id, Status.PENDING_NEW))
        if order_id not in call.account.open_orders:
            raise not_to_be_replaced(self._how_it_ended(call.account, order_id))
        return Reply(self._replacing.replace(call.account, order_id, changes))

    def listed(self, call: Call) -> Reply:
        """Newest first unless `direction=asc`; `after` and `until` are exclusive and look at `submitted_at`."""
        where = Where("account_id = ?", call.account.id)
        status = one_of(call.query, "status", ("open", "closed", "all"), "open")
        if status != "all":
            where.add(f"is_open = {int(status == 'open')}")
        if call.query.get("side"):
            where.add("side = ?", one_of(call.query, "side", tuple(Side), ""))
        if symbols := words(call.query, "symbols"):
            found = ((symbol, self._assets.find(symbol)) for symbol in symbols)
            where.among("symbol", [asset.symbol if asset else symbol for symbol, asset in found])
        if (classes := some_of(call.query, "asset_class", ASSET_CLASSES)) and "all" not in classes:
            where.among("asset_class", classes)
        self._add_bounds(call, where)
        direction = one_of(call.query, "direction", ("asc", "desc"), "desc")
        limit = whole_number(call.query, "limit", DEFAULT_LIMIT, MOST)
        nested = flag(call.query, "nested")
        if nested:
            also = "" if status == "all" else f" and p.is_open = {int(status == 'open')}"
            where.add(f"not ({_UNDER_A_LISTED_PARENT.format(also)})")
        table = "orders indexed by orders_now_open" if status == "open" else "orders"
        sql = f"select wire from {table} where {where} order by submitted_ns {direction}, seq {direction} limit {limit}"  # noqa: S608
        wires = _wires(self._store.read(sql, where.values))
        return Reply(b"[" + b",".join(self._with_legs(wire) if nested else wire for wire in wires) + b"]")

    def _with_legs(self, wire: bytes) -> bytes:
        """An order with its legs rolled up, those that were replaced left out."""
        if b'"group_role"' not in wire:
            return wire
        sql = """select wire from orders where parent_id = json_extract(?, '$.id')
            and json_extract(wire, '$.status') <> 'replaced' order by seq"""
        return with_legs(wire, _wires(self._store.read(sql, (wire.decode(),))))

    def _add_bounds(self, call: Call, where: Where) -> None:
        for name, sign in (("after", ">"), ("until", "<")):
            if (ns := instant(call.query, name)) is not None:
                where.add(f"submitted_ns {sign} ?", ns)
        if call.query.get("after_order_id") and call.query.get("before_order_id"):
            raise unprocessable("only one of after_order_id and before_order_id is accepted")
        for name, sign in (("after_order_id", ">"), ("before_order_id", "<")):
            if order_id := call.query.get(name):
                sql = "select submitted_ns, seq from orders where account_id = ? and id = ?"
                rows = self._store.read(sql, (call.account.id, plain_id(order_id)))
                if not rows:
                    raise _no_such_order(order_id)
                where.add(f"(submitted_ns, seq) {sign} (?, ?)", *rows[0])

    async def get(self, call: Call) -> Reply:
        await wait_while(lambda: is_in(call.account, plain_id(call.path["id"]), Status.PENDING_CANCEL))
        await self._store.settled()
        wire, _ = self._find(call.account, call.path["id"])
        return Reply(self._with_legs(wire) if flag(call.query, "nested") else wire)

    def by_client_order_id(self, call: Call) -> Reply:
        client_order_id = call.query.get("client_order_id", "")
        if not client_order_id:
            raise invalid("client_order_id is required")
        sql = "select wire from orders where account_id = ? and client_order_id = ?"
        wires = _wires(self._store.read(sql, (call.account.id, client_order_id)))
        if not wires:
            raise not_found(f"order not found for {client_order_id[:128]}")
        return Reply(wires[0])

    def cancel(self, call: Call) -> Reply:
        """204 means asked, not done; a canceled order is taken as done, another final status is refused (422)."""
        order_id = plain_id(call.path["id"])
        if order_id in call.account.open_orders:
            self._desk.cancel(call.account, order_id)
        else:
            status = self._how_it_ended(call.account, order_id)
            if status != Status.CANCELED:
                raise already_in(status)
        return Reply(None, 204)

    def cancel_all(self, call: Call) -> Reply:
        order_ids = list(call.account.open_orders)
        for order_id in order_ids:
            if order_id in call.account.open_orders:  # canceling one of a group may have ended others
                self._desk.cancel(call.account, order_id)
        return Reply([{"id": order_id, "status": 200} for order_id in order_ids], 207)

    def _how_it_ended(self, account: Account, order_id: str) -> str:
        """The status of an order that is not open; what ended it is committed first, so that it is known."""
        self._store.commit()
        return self._find(account, order_id)[1]

    def _find(self, account: Account, order_id: str) -> tuple[bytes, str]:
        """An order's JSON and status. Raises Alpaca's 404, or 422 for what is no id."""
        try:
            order_id = str(uuid.UUID(order_id))
        except ValueError:
            raise invalid("order_id is missing") from None  # Alpaca's words for what is no id (Alpaca-API#135)
        sql = "select wire, json_extract(wire, '$.status') from orders where account_id = ? and id = ?"
        rows = self._store.read(sql, (account.id, order_id))
        if not rows:
            raise _no_such_order(order_id)
        (wire,) = _wires(rows)
        return wire, str(rows[0][1])


def _no_such_order(order_id: str) -> Refusal:
    return not_found(f"order not found for {order_id[:64]}")


def _wires(rows: list[Row]) -> list[bytes]:
    return [row[0] for row in rows if isinstance(row[0], bytes)]
