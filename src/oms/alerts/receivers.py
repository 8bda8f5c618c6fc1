"""Receivers of messages: Apprise URLs. They hold tokens, so that nothing of them is ever shown but the scheme."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from oms.alerts.message import Message

SEND_S_MAX = 20.0
_TALKATIVE = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib")  # their lines hold addresses
# Of these the host is an address and no token. Apprise's other schemes put tokens anywhere.
_WITH_HOST = frozenset({"form", "forms", "json", "jsons", "xml", "xmls"})


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver. `name` is how people are told of it, `id` how the record keeps it; neither tells the address."""

    url: str = field(repr=False)
    name: str
    id: str


def receivers_of(urls: Sequence[str]) -> list[Receiver]:
    """The receivers, each once."""
    found: dict[str, Receiver] = {}
    for number, url in enumerate(urls, start=1):
        digest = hashlib.sha256(url.encode()).hexdigest()[:24]
        found.setdefault(digest, Receiver(url, f"{number}: {shown(url)}", digest))
    return list(found.values())


def shown(url: str) -> str:
    """The URL without anything that may be secret."""
    scheme = url.partition("://")[0].lower()
    if "://" not in url or not re.fullmatch(r"[a-z][a-z0-9+.-]{0,20}", scheme):
        return "…"
    host = None
    if scheme in _WITH_HOST:
        try:
            parts = urlsplit(url)
            host = parts.hostname and f"{parts.hostname}{f':{parts.port}' if parts.port else ''}"
        except ValueError:
            pass
    return f"{scheme}://{host or ''}{'/' if host else ''}…"


async def send(receiver: Receiver, message: Message) -> str:
    """Send it; empty when it has arrived, else why not. Never raises.

    Apprise blocks, so it runs in a thread of its own: a daemon, which does not keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def arrived(answer: str) -> None:
        if not done.done():
            done.set_result(answer)

    def work() -> None:
        answer = _send(receiver.url, message)
        if not loop.is_closed():
            loop.call_soon_threadsafe(arrived, answer)

    threading.Thread(target=work, name="alert", daemon=True).start()
    try:
        async with asyncio.timeout(SEND_S_MAX * 1.5):
            return await done
    except TimeoutError:
        return f"no answer within {SEND_S_MAX * 1.5:.0f} s"


def _send(url: str, message: Message) -> str:
    try:
        # Imported here: it takes half a second, and who sets no ALERT_URLS need not wait for it.
        import apprise  # noqa: PLC0415

        for name in _TALKATIVE:
            logging.getLogger(name).propagate = False
        box = apprise.Apprise()
        if not box.add(url):
            return "Apprise does not understand it; see https://github.com/caronc/apprise/wiki for the form"
        result = box.notify(body=message.body, title=message.title, timeout=SEND_S_MAX)
    except Exception as error:  # noqa: BLE001 - the thread's edge: a plugin's failure is the receiver's, and only its type is no secret
        return f"Apprise failed ({type(error).__name__})"
    return "" if result else _why(result)


def _why(result: Any) -> str:
    """What Apprise's lines say, without the lines: they may hold the address."""
    text = " ".join(str(entry.message) for entry in result.logs())
    if status := re.search(r"error=(\d{3})\b", text):
        return f"answered HTTP {status.group(1)}"
    if re.search(r"connection error", text, re.IGNORECASE):
        return "cannot be reached"
    if "time" in str(getattr(result, "status", "")).lower():
        return f"no answer within {SEND_S_MAX:.0f} s"
    return "did not take the message"
