"""The stream of order updates, behind the port `Updates`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import structlog

from oms.broker import translate, wire
from oms.broker.symbols import SymbolBook
from oms.broker.transport import Transport
from oms.broker.websocket import Socket
from oms.broker.wire import Unreadable, decoded
from oms.domain.errors import BrokerUnauthorized, BrokerUnknown
from oms.domain.reports import OrderUpdate, UnreadableUpdate

log = structlog.get_logger(__name__)

STREAM = "trade_updates"
_TEXT_MAX = 2000
_EARLY_MAX = 1000


class TradeUpdates:
    """An authorised, listening stream. Take updates promptly: what lies unread for long ends the connection."""

    def __init__(self, socket: Socket, book: SymbolBook, early: list[bytes | str]) -> None:
        self._socket = socket
        self._book = book
        self._early = early

    @property
    def last_message_at(self) -> float:
        """When the last message came, by the monotonic clock: for health. Silence alone proves nothing."""
        return self._socket.last_message_at

    async def __aiter__(self) -> AsyncIterator[OrderUpdate | UnreadableUpdate]:
        """Each update as it comes. Raises BrokerUnknown when the connection is lost or has gone mute."""
        while True:
            frame = self._early.pop(0) if self._early else await self._socket.receive()
            found = self._read(frame)
            if found is not None:
                yield found

    def _read(self, frame: bytes | str) -> OrderUpdate | UnreadableUpdate | None:
        try:
            message = decoded(wire.STREAM_MESSAGE, frame)
            if message.stream == "authorization" and decoded(wire.AUTHORIZATION, message.data).status != "authorized":
                raise BrokerUnauthorized(401, None, "the stream took the authorisation back")
            if message.stream != STREAM:
                log.debug("stream_message_ignored", stream=message.stream[:40])
                return None
            return translate.update(decoded(wire.TRADE_UPDATE, message.data), self._book)
        except Unreadable as error:
            text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
            return UnreadableUpdate(str(error), text[:_TEXT_MAX])


@asynccontextmanager
async def listening(transport: Transport, book: SymbolBook) -> AsyncIterator[TradeUpdates]:
    """Connect, authenticate and listen, one attempt. Raises BrokerUnauthorized, BrokerBusy, BrokerUnknown."""
    async with transport.socket(stream_url(transport.base_url)) as socket:
        keys = transport.keys
        await socket.send({"action": "authenticate", "data": {"key_id": keys.key_id, "secret_key": keys.secret}})
        # Nothing may be sent before this answer has come.
        await _answer(socket, "authorization", [], _expect_authorized)
        await socket.send({"action": "listen", "data": {"streams": [STREAM]}})
        early: list[bytes | str] = []
        await _answer(socket, "listening", early, _expect_listening)
        yield TradeUpdates(socket, book, early)


def stream_url(base_url: str) -> str:
    """Where the trading address has its stream: `https://host` → `wss://host/stream`."""
    return f"{base_url.replace('http', 'ws', 1)}/stream"


async def _answer(socket: Socket, stream: str, early: list[bytes | str], expect: Callable[[msgspec.Raw], None]) -> None:
    """Wait for the answer that the stream named so gives; updates that overtake it are kept in `early`."""
    while len(early) < _EARLY_MAX:
        frame = await socket.receive_soon(stream)
        try:
            message = decoded(wire.STREAM_MESSAGE, frame)
            if message.stream == stream:
                return expect(message.data)
        except Unreadable as error:
            raise BrokerUnknown(f"the stream's answer cannot be read: {error}") from None
        if message.stream == STREAM:
            early.append(frame)
    raise BrokerUnknown(f"the stream gave no {stream}")


def _expect_authorized(data: msgspec.Raw) -> None:
    if decoded(wire.AUTHORIZATION, data).status != "authorized":
        raise BrokerUnauthorized(401, None, "the stream does not accept the keys")


def _expect_listening(data: msgspec.Raw) -> None:
    if STREAM not in decoded(wire.LISTENING, data).streams:
        raise BrokerUnknown(f"the stream does not send {STREAM}")
