"""`/paper/v1`: what a real broker does not have. Needs no key.

It is for the tests beside the broker, not for its clients. Bodies and answers are JSON; what is not understood is a 422
with a `message`. See docs/paperbroker.md for the list.
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paperbroker.accounts import Account
from paperbroker.api.data_stream import DataStream
from paperbroker.api.endpoint import Gate, Reply, respond
from paperbroker.api.keys import valid_key
from paperbroker.api.parameters import whole_number
from paperbroker.api.trade_stream import TradeStream
from paperbroker.api.where import Where
from paperbroker.books import Books
from paperbroker.core import Core
from paperbroker.errors import Refusal, not_found, unprocessable
from paperbroker.money import parse, text
from paperbroker.prices.quotes import Quote, Trade
from paperbroker.timestamps import SECOND, rfc3339
from paperbroker.timestamps import parse as parse_time

MOST = 10_000
_SIZE = Decimal(100)
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
Body = dict[str, object]
Handler = Callable[[Request, Body], object]


class Control:
    """The handlers of the control API."""

    def __init__(self, core: Core, gate: Gate, trade_stream: TradeStream, data_streams: list[DataStream]) -> None:
        self._core = core
        self._books = Books(core)
        self._mischief = gate.mischief
        self._trade_stream = trade_stream
        self._data_streams = data_streams
        self._trade_ids = 0

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Handler]] = [
            ("/health", "GET", self._health),
            ("/fills", "GET", self._fills),
            ("/requests", "GET", self._requests),
            ("/requests", "DELETE", self._clear_requests),
            ("/faults", "GET", self._faults),
            ("/faults", "POST", self._add_fault),
            ("/faults", "DELETE", self._clear_faults),
            ("/faults/{id}", "DELETE", self._remove_fault),
            ("/prices", "POST", self._push_prices),
            ("/prices/{symbol:path}", "PUT", self._set_price),
            ("/prices/{symbol:path}", "DELETE", self._thaw),
            ("/freezes/{symbol:path}", "PUT", self._freeze),
            ("/freezes/{symbol:path}", "DELETE", self._thaw),
            ("/halts/{symbol:path}", "PUT", self._halt),
            ("/halts/{symbol:path}", "DELETE", self._resume),
            ("/clock", "PUT", self._set_clock),
            ("/streams/cut", "POST", self._cut),
            ("/accounts/{key}/trades", "POST", self._trade),
            ("/accounts/{key}/state", "PUT", self._set_state),
            ("/accounts/{key}/reset", "POST", self._reset),
            ("/busts", "POST", self._bust),
        ]
        return [Route(f"/paper/v1{path}", _answering(handler, self._core), methods=[m]) for path, m, handler in table]

    def _health(self, request: Request, body: Body) -> object:
        return {"status": "ok", "time": rfc3339(self._core.clock.peek())}

    def _fills(self, request: Request, body: Body) -> object:
        """Every fill with the quote it was made against, oldest first.

        `after` (seq), `limit`, `account_id`, `order_id`.
        """
        query = request.query_params
        where = Where("seq > ?", whole_number(query, "after", 0, 2**53, least=0))
        limit = whole_number(query, "limit", 1000, MOST)
        for name in ("account_id", "order_id"):
            if value := query.get(name):
                where.add(f"{name} = ?", value)
        sql = f"select seq, body from fills where {where} order by seq limit {limit}"  # noqa: S608
        rows = self._core.store.read(sql, where.values)
        lines = [
            b'{"seq":%d,%b' % (seq, line[1:]) for seq, line in rows if isinstance(seq, int) and isinstance(line, bytes)
        ]
        return b"[" + b",".join(lines) + b"]"

    def _requests(self, request: Request, body: Body) -> object:
        """The last 5,000 requests to Alpaca's paths: `after` (seq), `key`, `method`, `path` (beginning), `status`."""
        query = request.query_params
        wanted = {name: query.get(name) for name in ("key", "method", "path", "status", "fault")}
        return self._mischief.log.listed(after=whole_number(query, "after", 0, 2**53, least=0), **wanted)

    def _clear_requests(self, request: Request, body: Body) -> object:
        self._mischief.log.clear()
        return None

    def _faults(self, request: Request, body: Body) -> object:
        return [msgspec.to_builtins(fault) for fault in self._core.faults]

    def _add_fault(self, request: Request, body: Body) -> object:
        try:
            return msgspec.to_builtins(self._core.faults.add(body))
        except msgspec.ValidationError as error:
            raise unprocessable(str(error)) from None

    def _clear_faults(self, request: Request, body: Body) -> object:
        self._core.faults.clear(request.query_params.get("key"))
        return None

    def _remove_fault(self, request: Request, body: Body) -> object:
        if not self._core.faults.remove(request.path_params["id"]):
            raise not_found("no such fault, or it is used up")
        return None

    def _push_prices(self, request: Request, body: Body) -> object:
        """`{"prices": […]}`: quotes (`bid, ask`) and trades (`price, size`), shown in their order."""
        prices = body.get("prices")
        if not isinstance(prices, list) or not all(isinstance(entry, dict) for entry in prices):
            raise unprocessable("prices must be a list of quotes and trades")
        for entry in prices:
            self._show(self._symbol(str(entry.get("symbol", ""))), entry)
        return {"shown": len(prices)}

    def _set_price(self, request: Request, body: Body) -> object:
        """`bid` and `ask` and/or `price` (a trade); the price stays until it is set again, or until DELETE."""
        symbol = self._symbol(request.path_params["symbol"])
        if body.get("hold", True):
            self._core.prices.frozen.add(symbol)
        self._show(symbol, body)
        return {"symbol": symbol}

    def _show(self, symbol: str, entry: Body) -> None:
        ns, prices, given = self._core.clock.now(), self._core.prices, False
        prices.moved_by_hand(symbol, ns)
        if "bid" in entry or "ask" in entry:
            before = prices.quotes.get(symbol)
            bid = _number(entry, "bid", before.bid if before else Decimal(0))
            ask = _number(entry, "ask", before.ask if before else Decimal(0))
            bid_size, ask_size = _number(entry, "bid_size", _SIZE), _number(entry, "ask_size", _SIZE)
            prices.quote(Quote(symbol, ns, bid, ask, _size(symbol, bid_size), _size(symbol, ask_size)))
            given = True
        if "price" in entry:
            self._trade_ids += 1
            size = _size(symbol, _number(entry, "size", _SIZE))
            prices.trade(Trade(symbol, ns, _number(entry, "price", Decimal(0)), size, self._trade_ids))
            given = True
        if not given:
            raise unprocessable("bid and ask, or price, is required")

    def _freeze(self, request: Request, body: Body) -> object:
        """The price of a symbol, or of all (`*`), stops moving."""
        symbol = request.path_params["symbol"]
        symbol = symbol if symbol == "*" else self._symbol(symbol)
        self._core.prices.moved_by_hand(symbol, self._core.clock.now())
        self._core.prices.frozen.add(symbol)
        return None

    def _thaw(self, request: Request, body: Body) -> object:
        symbol = request.path_params["symbol"]
        if symbol == "*":
            self._core.prices.frozen.clear()
        else:
            self._core.prices.frozen.discard(self._symbol(symbol))
        return None

    def _halt(self, request: Request, body: Body) -> object:
        self._books.halt(self._symbol(request.path_params["symbol"]))
        return None

    def _resume(self, request: Request, body: Body) -> object:
        """End the halt of a symbol, or of all (`*`)."""
        symbol = request.path_params["symbol"]
        self._books.resume(self._core.floor.halted.copy() if symbol == "*" else {self._symbol(symbol)})
        return None

    def _set_clock(self, request: Request, body: Body) -> object:
        """`time` (RFC 3339) or `advance_seconds`."""
        clock = self._core.clock
        try:
            if "time" in body:
                ns = parse_time(str(body["time"]))
            else:
                ns = clock.peek() + int(_number(body, "advance_seconds", Decimal(0)) * SECOND)
        except (ValueError, OverflowError) as error:
            raise unprocessable(str(error)) from None
        clock.move(ns)
        self._core.days.moved()
        return {"time": rfc3339(clock.peek())}

    def _cut(self, request: Request, body: Body) -> object:
        """Close the connections of a `key` (else of all) to `trade` or `data` streams (else to both)."""
        key, which = body.get("key"), body.get("stream")
        key = key if isinstance(key, str) else None
        closed = 0
        if which in {None, "trade"}:
            closed += self._trade_stream.cut(None if key is None else self._account(key).id)
        if which in {None, "data"}:
            closed += sum(stream.cut(key) for stream in self._data_streams)
        return {"closed": closed}

    def _trade(self, request: Request, body: Body) -> object:
        """A trade in the account that no client sent: `symbol, side, qty`, and `price` to fill it at once."""
        account = self._account(request.path_params["key"])
        price = _number(body, "price", Decimal(0)) if "price" in body else None
        return self._books.trade(
            account, str(body.get("symbol", "")), str(body.get("side", "")), str(body.get("qty", "")), price
        )

    def _set_state(self, request: Request, body: Body) -> object:
        """`status`, `account_blocked`, `trading_blocked`: what the house decides about an account."""
        state = self._account(request.path_params["key"]).state
        for name, kind in (("status", str), ("account_blocked", bool), ("trading_blocked", bool)):
            if name in body and not isinstance(body[name], kind):
                raise unprocessable(f"{name} must be a {'text' if kind is str else 'truth value'}")
        state.status = str(body.get("status", state.status))
        state.account_blocked = bool(body.get("account_blocked", state.account_blocked))
        state.trading_blocked = bool(body.get("trading_blocked", state.trading_blocked))
        return {
            "status": state.status,
            "account_blocked": state.account_blocked,
            "trading_blocked": state.trading_blocked,
        }

    async def _reset(self, request: Request, body: Body) -> object:
        """`cash` and `positions` ({symbol: qty}); what is not given is as in a fresh account."""
        account = self._account(request.path_params["key"])
        held = body.get("positions")
        if held is not None and not isinstance(held, dict):
            raise unprocessable("positions must be an object")
        positions = None if held is None else {str(symbol): _number(held, symbol, Decimal(0)) for symbol in held}
        self._books.reset(account, _number(body, "cash", Decimal(0)) if "cash" in body else None, positions)
        return {"id": account.id}

    def _bust(self, request: Request, body: Body) -> object:
        """`execution_id`: the fill is taken back; its order must have ended."""
        return self._books.bust(str(body.get("execution_id", "")))

    def _account(self, key: str) -> Account:
        if not valid_key(key):
            raise not_found(f"no account of {key[:64]}")
        return self._core.ledger.account(key)

    def _symbol(self, spelling: str) -> str:
        asset = self._core.assets.find(spelling)
        if asset is None and spelling.isalpha() and len(spelling) <= 8:
            asset = self._core.assets.ensure_stock(spelling.upper())
        if asset is None:
            raise not_found(f"symbol not found: {spelling[:64]}")
        return asset.symbol


def _answering(handler: Handler, core: Core) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            body = _decode(await request.body() or b"{}")
        except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
            body = None
        try:
            if not isinstance(body, dict):
                raise unprocessable("the body must be a JSON object")
            answer = handler(request, body)
            if isinstance(answer, Awaitable):
                answer = await answer
            reply = Reply(answer, 204 if answer is None else 200)
        except Refusal as refusal:
            reply = Reply(refusal.body(), refusal.status)
        await core.store.settled()
        return respond(reply)

    return endpoint


def _number(entry: Body, name: str, default: Decimal) -> Decimal:
    if name not in entry:
        return default
    try:
        return parse(entry[name])
    except ValueError:
        raise unprocessable(f"{name} is not a valid number") from None


def _size(symbol: str, size: Decimal) -> int | Decimal:
    """Shares are whole, coins are not."""
    return size if "/" in symbol else int(text(size).partition(".")[0])
