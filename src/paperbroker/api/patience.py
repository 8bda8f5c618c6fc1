"""HTTP connections that cannot be held open or filled up by a client that never finishes its request."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from paperbroker.api.corked import Corked

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 64 * 1024
REQUEST_S_MAX = 20.0  # from the connection, or the last answer, to the whole request


class PatientConnection(HttpToolsProtocol):
    """uvicorn's protocol, with a bound on a request's head (431) and on the time that it may take to arrive (408).

    uvicorn's httptools protocol has neither: headers without end would fill the memory, and slow clients stay for ever.
    (The OMS has the same in `oms.api.connection`: the two share no code.)
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False  # between the first byte of a request and its last
        self._in_head = False
        self._head_bytes = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """A connection without a request is given the same time."""
        super().connection_made(cast("asyncio.Transport", Corked(transport, self.loop)))
        self._wait()

    def eof_received(self) -> None:
        """The client says no more, and uvloop closes: what is answered already goes out before."""
        cast("Corked", self.transport).flush()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and begin or end the waiting."""
        if self._refused:
            return
        if self._in_head or not self._reading:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._reading:
            if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(431, f"A request's head must not be longer than {HEAD_BYTES_MAX} bytes")
            elif self._timer is None:
                self._wait()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._reading = self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._reading = False
        super().on_message_complete()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(REQUEST_S_MAX, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(408, f"The request was not complete after {REQUEST_S_MAX:g} s")

    def _refuse(self, status: int, why: str) -> None:
        self._refused = True
        transport = self.transport
        if transport.is_closing():
            return
        log.info("connection refused: %s", why)
        answering = self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started
        if not answering:
            reason = {408: "Request Timeout", 431: "Request Header Fields Too Large"}[status]
            body = f'{{"message": "{why}"}}'
            head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            transport.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        transport.close()
