"""Ports that somebody else has."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

USUAL = (5432, 6379, 8812, 9000, 9003)


@contextmanager
def taken(*ports: int) -> Iterator[set[int]]:
    """Something listens on the ports: ours, or whatever has them already. Gives those that are ours to the end."""
    ours: set[int] = set()
    with ExitStack() as listening:
        for port in ports:
            other = listening.enter_context(socket.socket())
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                other.bind(("127.0.0.1", port))
                other.listen()
                ours.add(port)
        yield ours
