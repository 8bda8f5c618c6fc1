"""Ports that somebody else has."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

USUAL = (5432, 6379, 8812, 9000, 9003)


@contextmanager
def taken(*ports: int) -> Iterator[None]:
    """Something listens on the ports: ours, or whatever has them already."""
    with ExitStack() as listening:
        for port in ports:
            other = listening.enter_context(socket.socket())
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                other.bind(("127.0.0.1", port))
                other.listen()
        yield
