"""A websocket of Alpaca's: JSON goes out, frames come in, and whatever ends it is one of our errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec

from oms.broker.failures import failure
from oms.domain.errors import BrokerError, BrokerRefused, BrokerUnauthorized, BrokerUnknown
from oms.ports import Clock

_FRAME_BYTES_MAX = 16 * 1024 * 1024
_CLOSING_S = 1.0  # how long a half-open peer may hold up our own closing


@dataclass(slots=True)
class Socket:
    """An open websocket. `last_message_at` is when the last frame came, by the monotonic clock."""

    ws: aiohttp.ClientWebSocketResponse
    clock: Clock
    patience_s: float
    last_message_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.last_message_at = self.clock.monotonic()

    async def send(self, message: Mapping[str, object]) -> None:
        """Send one JSON object. Raises BrokerUnknown when it cannot be got rid of."""
        try:
            async with asyncio.timeout(self.patience_s):
                await self.ws.send_str(msgspec.json.encode(message).decode())
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise BrokerUnknown(f"the stream does not take messages: {type(error).__name__}") from None

    async def receive(self) -> bytes | str:
        """The next frame, text or binary. Raises BrokerUnknown when the connection has ended or gone mute."""
        message = await self.ws.receive()
        if message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            self.last_message_at = self.clock.monotonic()
            frame: bytes | str = message.data
            return frame
        why = self.ws.exception()
        if why is not None:
            raise BrokerUnknown(f"the stream broke: {type(why).__name__}: {why}"[:200])
        raise BrokerUnknown(f"the stream was closed (code {self.ws.close_code})")

    async def receive_soon(self, what: str) -> bytes | str:
        """The next frame, which is due now: an answer to `what`. Raises BrokerUnknown when it does not come."""
        try:
            async with asyncio.timeout(self.patience_s):
                return await self.receive()
        except TimeoutError:
            raise BrokerUnknown(f"the stream did not answer {what} within {self.patience_s:g} s") from None


@asynccontextmanager
async def opened(
    session: aiohttp.ClientSession, url: str, patience_s: float, heartbeat_s: float, clock: Clock
) -> AsyncIterator[Socket]:
    """Connect to `url`, one attempt; closed at the end.

    A ping goes out after `heartbeat_s` without data, and the connection ends when half as long again brings no answer.
    Frames must be taken promptly: while about 128 kB lie unread aiohttp stops reading, sees no pong, and ends it too.
    """
    trouble: BrokerError | None = None
    try:
        async with asyncio.timeout(patience_s):
            ws = await session.ws_connect(
                url,
                heartbeat=heartbeat_s,
                timeout=aiohttp.ClientWSTimeout(ws_receive=None, ws_close=_CLOSING_S),
                max_msg_size=_FRAME_BYTES_MAX,
            )
    except TimeoutError:
        trouble = BrokerUnknown(f"{url}: no connection within {patience_s:g} s")
    except aiohttp.WSServerHandshakeError as error:
        trouble = _of_handshake(error, clock)
    except (aiohttp.ClientError, OSError) as error:
        trouble = BrokerUnknown(f"{url}: {type(error).__name__}: {error}"[:200])
    if trouble is not None:
        raise trouble
    try:
        yield Socket(ws, clock, patience_s)
    finally:
        await ws.close()


def _of_handshake(error: aiohttp.WSServerHandshakeError, clock: Clock) -> BrokerError:
    """Only refused keys and a rate limit are definite; any other refusal may be over at the next attempt."""
    found = failure(error.status, error.headers or {}, b"", clock.now())
    if isinstance(found, BrokerRefused) and not isinstance(found, BrokerUnauthorized):
        return BrokerUnknown(f"the stream refused the connection (HTTP {error.status})")
    return found
