"""Serves the API with uvicorn until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from oms.api.app import Api
from oms.api.connection import CONNECTIONS_MAX, GuardedConnection
from oms.domain.errors import ConfigurationError

GRACE_S_MAX = 4
BACKLOG = 2048


class _Server(uvicorn.Server):
    """uvicorn that leaves signals to whoever runs it, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def run_server(
    app: Api, host: str, port: int, *, stop: asyncio.Event, started: Callable[[int], None] | None = None
) -> None:
    """Serve until `stop` is set, then finish what is being answered, within 5 s.

    `started` gets the port (that of the system's choice for 0). Raises ConfigurationError when it is taken.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        http=GuardedConnection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S_MAX,
        timeout_keep_alive=30,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS_MAX,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="api: uvicorn")
    listening = asyncio.create_task(server.listening.wait(), name="api: listening")
    stopping = asyncio.create_task(stop.wait(), name="api: stop")
    try:
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if started is not None and server.listening.is_set():
            started(listener.getsockname()[1])
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        listening.cancel()
        stopping.cancel()
        app.stop_waiting()
        server.should_exit = True
        await serving
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"The API cannot listen on {host}:{port} ({error.strerror}). Give another with --port or OMS_PORT."
        ) from error
    listener.setblocking(False)
    return listener
