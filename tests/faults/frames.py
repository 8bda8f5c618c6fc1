"""Websocket frames of a server, doubled or shuffled on their way (RFC 6455; a server's frames are not masked)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

Write = Callable[[bytes], None]
_HANDSHAKE_END = b"\r\n\r\n"
_DATA_OPCODES = {1, 2}


class Frames:
    """Cuts a stream of bytes into frames; what comes before the first one (the handshake) is passed on as it is."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_open = False

    def take(self, data: bytes) -> tuple[bytes, list[bytes]]:
        """The handshake, if it ended in these bytes, and the frames that are complete."""
        self._rest += data
        handshake = b""
        if not self._is_open:
            head, end, rest = self._rest.partition(_HANDSHAKE_END)
            if not end:
                return b"", []
            self._is_open, handshake, self._rest = True, head + end, rest
        frames = []
        while (length := _length(self._rest)) is not None and len(self._rest) >= length:
            frames.append(self._rest[:length])
            self._rest = self._rest[length:]
        return handshake, frames


def _length(data: bytes) -> int | None:
    """How long the frame is that these bytes begin; None when that cannot be seen yet."""
    if len(data) < 2:
        return None
    short = data[1] & 0x7F
    extra = {126: 2, 127: 8}.get(short, 0)
    if len(data) < 2 + extra:
        return None
    return 2 + extra + (int.from_bytes(data[2 : 2 + extra], "big") if extra else short)


def _is_update(frame: bytes) -> bool:
    return frame[0] & 0x0F in _DATA_OPCODES and b"trade_updates" in frame and b"client_order_id" in frame


class Thrice:
    """Every update of an order is sent three times; `updates` were."""

    def __init__(self) -> None:
        self._frames = Frames()
        self.updates = 0

    def __call__(self, data: bytes, write: Write) -> None:
        handshake, frames = self._frames.take(data)
        self.updates += sum(map(_is_update, frames))
        write(handshake + b"".join(frame * (3 if _is_update(frame) else 1) for frame in frames))


class Shuffled:
    """Updates wait a moment for others, and go out in an order of their own; so many times it was `another` one."""

    def __init__(self, seed: int, window_s: float) -> None:
        self._frames = Frames()
        self._random = Random(seed)
        self._window_s = window_s
        self._waiting: list[bytes] = []
        self.another = 0

    def __call__(self, data: bytes, write: Write) -> None:
        handshake, frames = self._frames.take(data)
        write(handshake + b"".join(frame for frame in frames if not _is_update(frame)))
        updates = [frame for frame in frames if _is_update(frame)]
        if updates and not self._waiting:
            asyncio.get_running_loop().call_later(self._window_s, self._flush, write)
        self._waiting += updates

    def _flush(self, write: Write) -> None:
        waiting, self._waiting = self._waiting, []
        shuffled = self._random.sample(waiting, len(waiting))
        self.another += shuffled != waiting
        write(b"".join(shuffled))
