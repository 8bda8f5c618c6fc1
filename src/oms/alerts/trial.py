"""A test message to each receiver: `oms alerts test`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from oms.alerts.message import Message
from oms.alerts.receivers import receivers_of, send


async def try_receivers(urls: Sequence[str]) -> list[tuple[str, str]]:
    """Each receiver's name, and why it did not take the message (empty: it arrived)."""
    receivers = receivers_of(urls)
    message = Message("Trademk1: test", f"This is a test from {socket.gethostname()}. Alerts arrive here.")
    errors = await asyncio.gather(*(send(receiver, message) for receiver in receivers))
    return [(receiver.name, error) for receiver, error in zip(receivers, errors, strict=True)]
