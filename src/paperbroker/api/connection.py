"""A websocket's two directions: what it says, decoded.

What it is told, through a queue, so that a slow one holds up nobody.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import msgspec
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from paperbroker.api.frames import Frame, message_of
from paperbroker.api.keys import shown_key, valid_key
from paperbroker.faults import Fault

MOST_WAITING_BYTES = 4 << 20
TOGETHER_BYTES = 64 * 1024
_from_json = msgspec.json.Decoder(float_hook=Decimal).decode
_from_msgpack = msgspec.msgpack.Decoder().decode


class NotUnderstood(Exception):
    """A message that is neither JSON nor MessagePack, or no object."""


class Connection:
    """One client. Frames are bytes (binary) or str (text); what is queued is sent in order by a task of its own."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._queue: deque[Frame] = deque()
        self._waiting_bytes = 0
        self._something = asyncio.Event()
        self._closing = False
        self.wants_msgpack = "msgpack" in websocket.headers.get("content-type", "").lower()
        self.header_key = shown_key(websocket.scope["headers"])

    def put(self, frame: Frame) -> bool:
        """Queue a frame; False when the client is too slow and the frame was dropped."""
        if self._waiting_bytes + len(frame) > MOST_WAITING_BYTES:
            return False
        self._queue.append(frame)
        self._waiting_bytes += len(frame)
        self._something.set()
        return True

    def close(self) -> None:
        """End the connection once the queue is sent; `messages` ends then."""
        self._closing = True
        self._something.set()

    def drop_queue(self) -> None:
        self._queue.clear()
        self._waiting_bytes = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Accept the client and send what is queued until the block ends."""
        await self._websocket.accept()
        sender = asyncio.create_task(self._send_all())
        try:
            yield
        finally:
            if self._closing:
                await asyncio.wait([sender], timeout=1.0)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def messages(self) -> AsyncIterator[dict[str, object] | NotUnderstood]:
        """What the client says, decoded, until it leaves or the connection is closed."""
        while True:
            try:
                message = await self._websocket.receive()
            except (WebSocketDisconnect, RuntimeError):
                return
            if message["type"] != "websocket.receive":
                return
            yield _decode(message.get("text") or message.get("bytes") or b"")

    def _take(self) -> list[Frame]:
        """Frames to send together, at least one; not all of a long queue, whose client may be slow."""
        frames, length = [], 0
        while self._queue and length < TOGETHER_BYTES:
            frame = self._queue.popleft()
            length += len(frame)
            frames.append(frame)
        self._waiting_bytes -= length
        return frames

    async def _send_all(self) -> None:
        try:
            while True:
                await self._something.wait()
                self._something.clear()
                while self._queue:
                    await self._websocket.send(message_of(self._take()))
                if self._closing:
                    await self._websocket.close()
                    return
        except (WebSocketDisconnect, RuntimeError):  # the client has gone
            return


async def refuse(websocket: WebSocket, fault: Fault) -> None:
    """Do not take the connection: HTTP 403, or the fault's `status` with its `headers`."""
    if fault.status is None:
        await websocket.close()  # before it is accepted: 403
    else:
        await websocket.send_denial_response(Response(status_code=fault.status, headers=fault.headers))


def key_in(*sources: object) -> str | None:
    """The mock key that a message holds under any of the names that clients use."""
    for source in sources:
        if isinstance(source, dict):
            for name in ("key", "key_id", "oauth_token"):
                key = source.get(name)
                if isinstance(key, str) and valid_key(key):
                    return key
    return None


def _decode(content: str | bytes) -> dict[str, object] | NotUnderstood:
    """JSON in text or binary frames, or MessagePack: a `{` tells them apart."""
    try:
        is_json = isinstance(content, str) or content.lstrip()[:1] == b"{"
        message = (
            _from_json(content) if is_json else _from_msgpack(content.encode() if isinstance(content, str) else content)
        )
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        return NotUnderstood()
    return message if isinstance(message, dict) else NotUnderstood()
