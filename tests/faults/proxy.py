"""A TCP proxy of the tests' own: it cuts, delays, black-holes, and stops the world at one message, by construction.

A `Trap` waits for bytes on their way to the server (a signal's identity, `POST /v2/orders`, the name of an event in a
statement) and does something at that very message: then whoever sent it can be killed at exactly this point.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

CHUNK = 1 << 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HTTP = (b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ")


class Do(Enum):
    """What happens to a message that a trap waited for."""

    HOLD = "it is not passed on, until `release` or for ever"
    HALF = "half of it is passed on, the rest is held"
    HOLD_ANSWER = "it is passed on, and nothing comes back until `release`"
    LOSE = "it is thrown away and the connection cut"
    LOSE_ANSWER = "it is passed on, and when the answer comes the connection is cut instead"
    LATE = "the sender's connection is cut; the message arrives later"
    SWALLOW = "it is thrown away and the connection stays, silent"


@dataclass
class Trap:
    """Waits for `needle` among what goes to the server, on connections whose last request began with `opening`.

    What is LATE arrives after `late_s`, and not before `may_arrive` is set.
    """

    needle: bytes
    do: Do
    times: int = 1
    opening: bytes = b""
    late_s: float = 0.0
    hits: int = 0
    hit: asyncio.Event = field(default_factory=asyncio.Event)
    may_arrive: asyncio.Event = field(default_factory=asyncio.Event)
    delivered: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_arrive.set()

    def wants(self, opening: bytes, data: bytes) -> bool:
        """Whether this is the message."""
        return self.hits < self.times and opening.startswith(self.opening) and self.needle in data

    async def sprung(self, within_s: float = 30.0) -> None:
        """Wait until the message has come."""
        try:
            async with asyncio.timeout(within_s):
                await self.hit.wait()
        except TimeoutError:
            raise AssertionError(f"no {self.needle!r} came to the proxy within {within_s} s") from None


class Mangler(Protocol):
    """Changes what the server says: takes the bytes of one connection, and writes what it wants."""

    def __call__(self, data: bytes, write: Callable[[bytes], None]) -> None: ...


class Link:
    """One connection and its two directions, each with a gate."""

    def __init__(
        self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, answers: asyncio.StreamReader
    ) -> None:
        self.client = client
        self.server = server
        self.answers = answers  # kept: a reader that nobody holds takes its connection with it
        self.opening = b""
        self.up, self.down = asyncio.Event(), asyncio.Event()
        self.up.set()
        self.down.set()
        self.is_losing = self.is_cut = False
        self.is_detached = False
        self.mangle: Mangler | None = None

    async def is_through(self, gate: asyncio.Event) -> bool:
        """Wait at a gate; False when the connection was cut meanwhile."""
        await gate.wait()
        return not self.is_cut

    def abort(self) -> None:
        """Cut both sides; what is held is gone."""
        self.is_cut = True
        self.up.set()
        self.down.set()
        self.client.transport.abort()
        if not self.is_detached:
            self.server.transport.abort()


class Proxy:
    """Listens on a free port and passes on to `target`, a port of this machine. `delay_s` delays every message."""

    def __init__(self, target: int, mangler: Callable[[], Mangler] | None = None) -> None:
        self.target = target
        self.port = 0
        self.delay_s = 0.0
        self.is_refusing = False
        self.passed: list[bytes] = []  # the beginnings of the requests that were passed on, HTTP only
        self._mangler = mangler
        self._traps: list[Trap] = []
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> Proxy:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Cut everything, and listen no more."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._late, return_exceptions=True)

    # --- what a test does ---------------------------------------------------------------------------------------------

    def trap(self, needle: bytes, do: Do, *, times: int = 1, opening: bytes = b"", late_s: float = 0.0) -> Trap:
        """Wait for a message."""
        made = Trap(needle, do, times, opening, late_s)
        self._traps.append(made)
        return made

    def cut(self, opening: bytes = b"") -> int:
        """Cut the connections whose last request began so, with what they hold. Returns how many there were."""
        found = [link for link in self._links if link.opening.startswith(opening)]
        for link in found:
            link.abort()
        return len(found)

    def clear(self) -> None:
        """No traps, no delay, no refusing, and all connections cut: as new."""
        self._traps.clear()
        self.delay_s, self.is_refusing = 0.0, False
        self.cut()

    def hold(self, *, up: bool = True, down: bool = True, opening: bytes = b"") -> None:
        """Let nothing through (a black hole), or nothing of one direction, on the connections that there are."""
        for link in self._links:
            if link.opening.startswith(opening):
                if up:
                    link.up.clear()
                if down:
                    link.down.clear()

    def release(self, opening: bytes = b"") -> None:
        """Let go whatever is held, on connections whose last request began so."""
        for link in self._links:
            if link.opening.startswith(opening):
                link.up.set()
                link.down.set()

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            if self.is_refusing:
                raise ConnectionError
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, back_writer, back_reader)
        if self._mangler is not None:
            link.mangle = self._mangler()
        self._links.add(link)
        pumps = [
            asyncio.ensure_future(self._pump_up(reader, link)),
            asyncio.ensure_future(self._pump_down(link)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            link.abort()

    async def _pump_up(self, reader: asyncio.StreamReader, link: Link) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if data.startswith(_HTTP):  # a connection that served other requests may become the stream's
                    data = await _whole(data, reader)
                    link.opening = data[:200]
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                trap = next((one for one in self._traps if one.wants(link.opening, data)), None)
                if trap is not None and not await self._spring(trap, data, link):
                    return
                if trap is None:
                    if not await link.is_through(link.up):
                        return
                    self._pass(data, link)
                await link.server.drain()

    def _pass(self, data: bytes, link: Link) -> None:
        if data.startswith(_HTTP):
            self.passed.append(data[:200])
        link.server.write(data)

    async def _spring(self, trap: Trap, data: bytes, link: Link) -> bool:
        """Do what the trap wants; whether the connection goes on."""
        trap.hits += 1
        if trap.do is Do.LOSE:
            trap.hit.set()
            link.abort()
            return False
        if trap.do is Do.LATE:
            link.is_detached = True
            task = asyncio.ensure_future(self._deliver_late(trap, data, link))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            trap.hit.set()
            return False
        if trap.do is Do.SWALLOW:
            link.up.clear()
            trap.hit.set()
            return True
        if trap.do is Do.HALF:
            link.server.write(data[: len(data) // 2])
            data = data[len(data) // 2 :]
        if trap.do in {Do.HOLD, Do.HALF}:
            link.up.clear()
            trap.hit.set()
            if not await link.is_through(link.up):
                return False
        else:
            if trap.do is Do.HOLD_ANSWER:
                link.down.clear()
            link.is_losing = trap.do is Do.LOSE_ANSWER
        self._pass(data, link)
        await link.server.drain()
        trap.hit.set()
        return True

    async def _deliver_late(self, trap: Trap, data: bytes, link: Link) -> None:
        link.client.transport.abort()
        try:
            await asyncio.sleep(trap.late_s)
            await trap.may_arrive.wait()
            self._pass(data, link)
            await link.server.drain()
            async with asyncio.timeout(60):  # the server answers into the void; who hangs up early may not be heard
                await link.answers.read(CHUNK)
        finally:
            link.server.transport.abort()
            trap.delivered.set()

    async def _pump_down(self, link: Link) -> None:
        with contextlib.suppress(OSError):
            while data := await link.answers.read(CHUNK):
                if link.is_losing:
                    link.abort()
                    return
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if not await link.is_through(link.down):
                    return
                if link.mangle is not None and link.opening.startswith(b"GET /stream"):
                    link.mangle(data, link.client.write)
                else:
                    link.client.write(data)
                await link.client.drain()


async def _whole(data: bytes, reader: asyncio.StreamReader) -> bytes:
    """An HTTP request with all of its body, which may come in a packet of its own."""
    head, end, _ = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if not end or length is None:
        return data
    missing = len(head) + len(end) + int(length[1]) - len(data)
    return data + await reader.readexactly(missing) if missing > 0 else data
