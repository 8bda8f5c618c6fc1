"""The market data streams: `/v2/iex`, `/v2/sip`, `/v2/test` for stocks, `/v1beta3/crypto/us` for coins.

JSON text, or MessagePack when the handshake asks for it. One connection a key and endpoint. What happens in one turn
of the event loop goes out as one frame; a client that does not read is told so (407) and cut off.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import msgspec
from starlette.websockets import WebSocket

from paperbroker.api.connection import Connection, NotUnderstood, key_in, refuse
from paperbroker.api.stream_events import Event, array_header, events_of
from paperbroker.errors import StreamError
from paperbroker.faults import Facts, Faults
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Bar, Quote, Trade

DayBars = Callable[[list[str]], Awaitable[dict[str, list[Bar]]]]  # of each symbol the newest first
AUTH_SECONDS = 10.0
_ERRORS = {
    402: "auth failed", 405: "symbol limit exceeded", 406: "connection limit exceeded",
    409: "insufficient subscription", 500: "internal error",
}  # fmt: skip
STOCK_CHANNELS = (
    "trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors",
)  # fmt: skip
_WITH_TRADES = {"corrections", "cancelErrors"}  # Alpaca: subscribed to with trades, and only so
COIN_CHANNELS = ("trades", "quotes", "orderbooks", "bars", "updatedBars", "dailyBars")

_log = logging.getLogger(__name__)
_to_json = msgspec.json.Encoder(decimal_format="number").encode
_to_msgpack = msgspec.msgpack.Encoder().encode


class Client:
    """One connection: its key once it showed one, and what it follows."""

    def __init__(self, connection: Connection, channels: tuple[str, ...]) -> None:
        self.connection = connection
        self.key: str | None = None
        self.symbols: dict[str, set[str]] = {channel: set() for channel in channels}

    def follows(self, event: Event) -> bool:
        symbols = self.symbols[event.channel]
        return bool(symbols) and (event.symbol in symbols or "*" in symbols)

    def send(self, *messages: dict[str, object]) -> None:
        if self.connection.wants_msgpack:
            self.connection.put(_to_msgpack(list(messages)))
        else:
            self.connection.put(_to_json(list(messages)).decode())

    def send_events(self, events: list[Event]) -> bool:
        """False when the client is too slow."""
        followed = [event for event in events if self.follows(event)]
        if not followed:
            return True
        if self.connection.wants_msgpack:
            return self.connection.put(array_header(len(followed)) + b"".join(event.msgpack() for event in followed))
        return self.connection.put((b"[" + b",".join(event.json() for event in followed) + b"]").decode())

    def fail(self, error: StreamError) -> None:
        self.send({"T": "error", "code": error.code, "msg": error.message})
        if error.final:
            self.connection.close()


class DataStream:
    """All clients of one endpoint."""

    def __init__(
        self, prices: Prices, faults: Faults, day_bars: DayBars | None = None, *, coins: bool, most_symbols: int
    ) -> None:
        """`most_symbols` a connection may follow, 0 for any number.

        `day_bars` tells the bars of days as REST does; without it they are what the broker saw itself.
        """
        self._faults = faults
        self._prices = prices
        self._coins = coins
        self._channels = COIN_CHANNELS if coins else STOCK_CHANNELS
        self._most_symbols = most_symbols
        self._clients: dict[str, Client] = {}
        self._pending: list[Event] = []
        self._day_bars = day_bars
        self._days_due: set[str] = set()
        self._telling: asyncio.Task[None] | None = None
        prices.on_quote.append(self._add)
        prices.on_trade.append(self._add)
        prices.on_bar.append(self._add)
        prices.on_updated_bar.append(lambda bar: self._add_events(bar.symbol, [Event(bar, "updatedBars")]))
        if not coins:
            prices.on_halt.append(lambda halt: self._add_events(halt.symbol, [Event(halt, "statuses")]))

    async def serve(self, websocket: WebSocket) -> None:
        client = Client(Connection(websocket), self._channels)
        if self._faults and (fault := self._faults.take(Facts(path=websocket.url.path), "refuse_stream")):
            await refuse(websocket, fault)
            return
        timeout = asyncio.get_running_loop().call_later(AUTH_SECONDS, self._give_up_unless_authenticated, client)
        try:
            async with client.connection.open():
                client.send({"T": "success", "msg": "connected"})
                if client.connection.header_key is not None:
                    self._answer(client, {"action": "auth", "key": client.connection.header_key})
                async for message in client.connection.messages():
                    self._answer(client, message)
        finally:
            timeout.cancel()
            if client.key is not None and self._clients.get(client.key) is client:
                del self._clients[client.key]

    def _answer(self, client: Client, message: dict[str, object] | NotUnderstood) -> None:
        try:
            self._act(client, message)
        except StreamError as error:
            client.fail(error)

    def _act(self, client: Client, message: dict[str, object] | NotUnderstood) -> None:
        if isinstance(message, NotUnderstood):
            raise StreamError(400, "invalid syntax")
        action = message.get("action")
        if action in {"auth", "authenticate"}:
            self._authenticate(client, message)
        elif action not in {"subscribe", "unsubscribe"}:
            raise StreamError(400, "invalid syntax")
        elif client.key is None:
            raise StreamError(401, "not authenticated")
        else:
            self._subscribe(client, message, add=action == "subscribe")

    def _authenticate(self, client: Client, message: dict[str, object]) -> None:
        if client.key is not None:
            raise StreamError(403, "already authenticated")
        key = key_in(message, message.get("data"))
        if key is None and message.get("key") == "oauth":  # the token is given as the secret
            key = key_in({"key": message.get("secret")})
        if key is None:
            raise StreamError(402, "auth failed", final=True)
        if fault := self._faults.take(Facts(key, event="auth"), "data_error"):
            code = fault.code or 406
            raise StreamError(code, fault.message or _ERRORS.get(code, "error"), final=True)
        if key in self._clients:
            raise StreamError(406, "connection limit exceeded", final=True)
        client.key = key
        self._clients[key] = client
        client.send({"T": "success", "msg": "authenticated"})

    def _subscribe(self, client: Client, message: dict[str, object], *, add: bool) -> None:
        if fault := self._faults.take(Facts(client.key, event="subscribe"), "data_error"):
            code = fault.code or 409
            raise StreamError(code, fault.message or _ERRORS.get(code, "error"))
        changed = {channel: set(symbols) for channel, symbols in client.symbols.items()}
        for channel, given in message.items():
            if channel == "action":
                continue
            if channel not in changed or not isinstance(given, list) or not all(isinstance(s, str) for s in given):
                raise StreamError(400, "invalid syntax")
            changed[channel] = changed[channel] | set(given) if add else changed[channel] - set(given)
        for channel in _WITH_TRADES & changed.keys():
            changed[channel] = set(changed["trades"])
        followed = set().union(*changed.values())
        if self._most_symbols and (len(followed) > self._most_symbols or "*" in followed):
            raise StreamError(405, "symbol limit exceeded")
        client.symbols = changed
        client.send({"T": "subscription", **{channel: sorted(symbols) for channel, symbols in changed.items()}})

    def _give_up_unless_authenticated(self, client: Client) -> None:
        if client.key is None:
            client.fail(StreamError(404, "auth timeout", final=True))

    def _add(self, what: Quote | Trade | Bar) -> None:
        if not self._clients or ("/" in what.symbol) != self._coins:
            return
        books = any(client.symbols.get("orderbooks") for client in self._clients.values())
        self._add_events(what.symbol, events_of(what, books=books))
        if isinstance(what, Bar) and any(client.symbols["dailyBars"] for client in self._clients.values()):
            self._add_day(what.symbol)

    def _add_day(self, symbol: str) -> None:
        """With each minute's bar comes the day's so far."""
        if self._day_bars is None:
            if day := self._prices.day_bars.get(symbol):
                self._add_events(symbol, [Event(replace(day), "dailyBars")])
            return
        self._days_due.add(symbol)
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell_days(self._day_bars))
            self._telling.add_done_callback(self._told_days)

    async def _tell_days(self, day_bars: DayBars) -> None:
        while self._days_due:
            symbols, self._days_due = sorted(self._days_due), set()
            for symbol, bars in (await day_bars(symbols)).items():
                self._add_events(symbol, [Event(bar, "dailyBars") for bar in bars[:1]])

    def _told_days(self, task: asyncio.Task[None]) -> None:
        self._telling = None
        if not task.cancelled() and (error := task.exception()):
            _log.error("the bars of days could not be told", exc_info=error)

    def _add_events(self, symbol: str, events: Iterable[Event]) -> None:
        if not self._clients or ("/" in symbol) != self._coins:
            return
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pending.extend(events)

    def _flush(self) -> None:
        events, self._pending = self._pending, []
        for client in list(self._clients.values()):
            if self._faults and self._faults.take(Facts(client.key), "mute_data"):
                continue
            if not client.send_events(events):
                self._cut_off(client)

    def cut(self, key: str | None) -> int:
        """Close the connection of a key, or all; returns how many."""
        chosen = [client for client in self._clients.values() if key in {None, client.key}]
        for client in chosen:
            client.connection.drop_queue()
            client.connection.close()
        return len(chosen)

    def _cut_off(self, client: Client) -> None:
        if client.key is not None:
            del self._clients[client.key]
        client.connection.drop_queue()
        client.fail(StreamError(407, "slow client", final=True))
