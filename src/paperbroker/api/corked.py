"""Writes of one turn of the event loop, sent together.

uvloop gives each write to the kernel at once, an answer's head, its body and every frame of a stream alone. That cost
more than what they say: a system call and a pass through TCP each.
"""

from __future__ import annotations

import asyncio

_TOGETHER_BYTES = 64 * 1024  # more is sent on at once, so that the transport can say that its client is slow


class Corked:
    """A transport whose writes wait for the end of the turn; all else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send with what else is written in this turn."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _TOGETHER_BYTES:
            self.flush()

    def close(self) -> None:
        """Send what waits, and close."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what waits now. To be called when the client has closed its side, before uvloop closes the other."""
        if self._waiting:
            together = b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            if not self._transport.is_closing():  # it may have broken meanwhile
                self._transport.write(together)
