"""Who may talk to the API: Host and Origin (no web page may trade on a local OMS), the bearer token, body sizes."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache
from typing import Any

from oms.api.problems import Problem

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_BYTES_MAX = 64 * 1024
OPEN_PATHS = frozenset({"/livez", "/readyz"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
WILDCARDS = frozenset({"0.0.0.0", "::", "[::]", ""})  # noqa: S104 — compared with, not bound to
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]]+)(?::([0-9]{1,5}))?")


class Security:
    """ASGI middleware. `hosts` are the names beside the loopback's under which the API may be asked for.

    `bound` is the address that is listened on; where it is a wildcard, any literal IP address may be asked for: what a
    foreign web page can bend (DNS) are names. /livez and /readyz are open, so that a container's probe needs nothing.
    """

    def __init__(self, app: App, *, token: str | None, bound: str, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        named = {_bracketed(name.lower()) for name in (*hosts, bound) if name and name not in WILDCARDS}
        self._hosts = LOOPBACK | named
        self._any_address = bound in WILDCARDS
        self._is_own = lru_cache(maxsize=256)(self._is_own_host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        try:
            length, chunked = self._check(scope)
        except Problem as problem:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await problem.send(send)
            return
        if chunked and length is None:
            await self._limited(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> tuple[int | None, bool]:
        """The announced length of the body and whether it comes in chunks. Raises Problem."""
        host = origin = site = authorization = length = b""
        hosts = 0
        chunked = False
        mode = destination = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
                hosts += 1
            elif name == b"origin":
                origin = value
            elif name == b"authorization":
                authorization = value
            elif name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                chunked = True
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"sec-fetch-mode":
                mode = value
            elif name == b"sec-fetch-dest":
                destination = value
        if scope["path"] not in OPEN_PATHS:
            own = _text(host)
            if hosts != 1 or not self._is_own(own):
                raise Problem("host_not_allowed", _HOST.format(own[:100]))
            if origin and not _same(_text(origin), own):
                raise Problem("origin_not_allowed", "Another web page's requests are not taken.")
            clicked = scope.get("method") == "GET" and mode == b"navigate" and destination == b"document"
            if site in {b"cross-site", b"same-site"} and not clicked:
                raise Problem("origin_not_allowed", "Another web page's requests are not taken.")
            self._check_token(authorization)
        if not length:
            return None, chunked
        if not length.isdigit() or len(length) > 18 or int(length) > BODY_BYTES_MAX:
            raise _too_large()
        return int(length), chunked

    def _check_token(self, authorization: bytes) -> None:
        if self._token is None:
            return
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            how = "Send the header Authorization: Bearer with the value of OMS_API_TOKEN."
            raise Problem("unauthenticated", how, headers={"WWW-Authenticate": "Bearer"})

    def _is_own_host(self, host: str) -> bool:
        match = _AUTHORITY.fullmatch(host)
        if match is None:
            return False
        name = match.group(1)
        return name in self._hosts or (self._any_address and _is_address(name))

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a body of unknown length, counting."""
        seen = 0
        started = False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > BODY_BYTES_MAX:
                    raise _too_large()
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except Problem as problem:
            if started:
                raise
            await problem.send(send)


_HOST = (
    "The header Host names {!r}, which is not this API's. It answers as localhost; name others in OMS_ALLOWED_HOSTS."
)


def _too_large() -> Problem:
    detail = f"A body must not be longer than {BODY_BYTES_MAX} bytes."
    return Problem("body_too_large", detail, headers={"Connection": "close"})


def _text(value: bytes) -> str:
    return value.decode("latin-1").lower()


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _same(origin: str, host: str) -> bool:
    """Whether an Origin is the host that was asked, or another of its loopback names with the same port."""
    scheme, _, authority = origin.partition("://")
    if authority == host:
        return True
    asked, from_page = _AUTHORITY.fullmatch(host), _AUTHORITY.fullmatch(authority)
    if asked is None or from_page is None:
        return False
    default = "443" if scheme == "https" else "80"
    if (from_page.group(2) or default) != (asked.group(2) or default):
        return False
    names = {asked.group(1), from_page.group(1)}
    return len(names) == 1 or names <= LOOPBACK
