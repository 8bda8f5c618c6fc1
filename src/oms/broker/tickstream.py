"""The data streams, behind the port `TickStream`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

from oms.broker import ticks
from oms.broker.advice import about_stream
from oms.broker.transport import Transport
from oms.broker.websocket import Socket
from oms.broker.wire import DataMessage, Unreadable
from oms.domain.errors import BrokerError, BrokerRefused, BrokerUnauthorized, BrokerUnknown
from oms.domain.market import Tick

_SYMBOLS_PER_MESSAGE = 400  # Alpaca takes at most 16 kB at once
_REST_HOST = re.compile(r"data(\.[a-z0-9.-]+)?\.alpaca\.markets")


class AlpacaTickStream:
    """An authorised connection to one data stream. Take batches promptly: Alpaca drops slow clients (407)."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._following: frozenset[str] = frozenset()
        self._one_at_a_time = asyncio.Lock()

    @property
    def last_message_at(self) -> float:
        """When the last frame came, by the monotonic clock."""
        return self._socket.last_message_at

    @property
    def following(self) -> frozenset[str]:
        """What has been asked for. A refusal (405, too many symbols) comes out of the iteration."""
        return self._following

    async def follow(self, symbols: frozenset[str]) -> None:
        """Make this the set of symbols followed, by the difference to the former one. Raises BrokerUnknown.

        Leaving goes first, so that the number of symbols never exceeds what the plan allows.
        """
        async with self._one_at_a_time:
            await self._ask("unsubscribe", self._following - symbols)
            self._following &= symbols
            await self._ask("subscribe", symbols - self._following)
            self._following = symbols

    async def __aiter__(self) -> AsyncIterator[Sequence[Tick]]:
        """Ticks as they come, a frame at a time, a large one in parts.

        Raises BrokerUnknown when the connection is lost or mute, BrokerRefused with the stream's own code for what it
        says no to (405 too many symbols, 406 another connection, 409 not in the plan), BrokerUnauthorized.
        """
        while True:
            frame = await self._socket.receive()
            try:
                for control, found in ticks.batches(frame):
                    for message in control:
                        if message.kind == "error":
                            raise stream_error(message)
                    if found:
                        yield found
                    await asyncio.sleep(0)  # a large frame must not keep the order path waiting
            except Unreadable as error:
                raise BrokerUnknown(f"the data stream cannot be read: {error}") from None

    async def _ask(self, action: str, symbols: frozenset[str]) -> None:
        ordered = sorted(symbols)
        for start in range(0, len(ordered), _SYMBOLS_PER_MESSAGE):
            part = ordered[start : start + _SYMBOLS_PER_MESSAGE]
            await self._socket.send({"action": action, "trades": part, "quotes": part})


@asynccontextmanager
async def connected(transport: Transport, path: str) -> AsyncIterator[AlpacaTickStream]:
    """Connect to a stream, take its greeting and authenticate; one attempt.

    Raises BrokerUnauthorized, BrokerRefused (406: another connection holds the stream), BrokerBusy, BrokerUnknown.
    """
    async with transport.socket(stream_url(transport.base_url) + path) as socket:
        await _success(socket, "connected")
        keys = transport.keys
        await socket.send({"action": "auth", "key": keys.key_id, "secret": keys.secret})
        await _success(socket, "authenticated")
        yield AlpacaTickStream(socket)


def stream_url(data_url: str) -> str:
    """Where the streams of a data address are.

    Alpaca has them on a host of their own: `https://data.alpaca.markets` → `wss://stream.data.alpaca.markets`. Any
    other address, such as the paper broker's, is asked on the same host: `http://host:8100` → `ws://host:8100`.
    """
    parts = urlsplit(data_url)
    host = f"stream.{parts.netloc}" if _REST_HOST.fullmatch(parts.netloc) else parts.netloc
    return urlunsplit((parts.scheme.replace("http", "ws", 1), host, parts.path, "", ""))


def stream_error(message: DataMessage) -> BrokerError:
    """Ours for an error message of a data stream."""
    code, text = message.code, message.msg or "no message"
    if code in {401, 402}:
        return BrokerUnauthorized(code, code, text)
    if code in {400, 403, 405, 406, 409}:
        advice = about_stream(code)
        return BrokerRefused(code, code, f"{text}: {advice}" if advice else text)
    return BrokerUnknown(f"the data stream failed: {text} ({code})")  # 404 timeout, 407 slow client, 500


async def _success(socket: Socket, what: str) -> None:
    """Take the control message that is due. Raises what an error in its place means."""
    while True:
        frame = await socket.receive_soon(what)
        try:
            control = [message for part, _ in ticks.batches(frame) for message in part]
        except Unreadable as error:
            raise BrokerUnknown(f"the data stream cannot be read: {error}") from None
        for message in control:
            if message.kind == "error":
                raise stream_error(message)
            if message.kind == "success" and message.msg == what:
                return
