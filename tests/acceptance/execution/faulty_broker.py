"""A proxy between the OMS and its broker that loses requests and answers on demand; HTTP and websockets pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

Matches = Callable[[str, str], bool]


@dataclass
class Fault:
    """What happens to the next `times` requests that match: `lost` never arrives, `answer_lost` is executed and its
    answer cut, `failed` is executed and answered 503, `refused` is answered `status` without being executed."""

    kind: str
    matches: Matches
    times: int = 1
    status: int = 503
    body: str = '{"message": "fault"}'
    hit: int = 0


@dataclass
class FaultyBroker:
    """The proxy. `requests` lists (method, path) of everything that reached it."""

    target: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    sockets: set[web.WebSocketResponse] = field(default_factory=set)
    url: str = ""
    _runner: web.AppRunner | None = None
    _session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._session = aiohttp.ClientSession()
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        """Stop listening."""
        await self.cut_streams()
        if self._runner:
            await self._runner.cleanup()
        if self._session:
            await self._session.close()

    def fault(self, kind: str, method: str, path: str, times: int = 1, **more: object) -> Fault:
        """Add a fault for requests of this method whose path begins so."""
        made = Fault(kind, lambda m, p: m == method and p.startswith(path), times, **more)  # type: ignore[arg-type]
        self.faults.append(made)
        return made

    async def cut_streams(self) -> None:
        """Close every websocket."""
        for socket in list(self.sockets):
            await socket.close()

    def _fault_for(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > fault.hit and fault.matches(method, path):
                fault.hit += 1
                return fault
        return None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        self.requests.append((request.method, request.path))
        fault = self._fault_for(request.method, request.path)
        if fault is not None and fault.kind == "refused":
            return web.Response(status=fault.status, text=fault.body, content_type="application/json")
        if fault is not None and fault.kind == "lost":
            return self._cut(request)
        assert self._session is not None
        headers = {
            key: value for key, value in request.headers.items() if key.lower() not in {"host", "content-length"}
        }
        url = self.target + request.raw_path
        async with self._session.request(request.method, url, data=await request.read(), headers=headers) as answer:
            body = await answer.read()
            passed = {key: value for key, value in answer.headers.items() if key.lower().startswith("x-ratelimit")}
            if fault is not None and fault.kind == "answer_lost":
                return self._cut(request)
            if fault is not None and fault.kind == "failed":
                return web.Response(status=503, text="<html>upstream</html>", content_type="text/html")
            return web.Response(status=answer.status, body=body, headers=passed, content_type=answer.content_type)

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        assert self._session is not None
        front = web.WebSocketResponse()
        await front.prepare(request)
        self.sockets.add(front)
        async with self._session.ws_connect(self.target + request.raw_path) as back:

            async def pump(source: object, sink: object) -> None:
                async for message in source:  # type: ignore[attr-defined]
                    if message.type is aiohttp.WSMsgType.TEXT:
                        await sink.send_str(message.data)  # type: ignore[attr-defined]
                    elif message.type is aiohttp.WSMsgType.BINARY:
                        await sink.send_bytes(message.data)  # type: ignore[attr-defined]

            pumps = [asyncio.ensure_future(pump(front, back)), asyncio.ensure_future(pump(back, front))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        self.sockets.discard(front)
        await front.close()
        return front
