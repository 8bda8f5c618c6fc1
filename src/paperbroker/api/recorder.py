"""`--record FILE`: every answer to Alpaca's paths as a JSON line, to be held against a contract."""

from pathlib import Path

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_encode = msgspec.json.Encoder().encode
_OURS = "/paper/"


class Recorder:
    """Stands around the application; several brokers may share a file.

    A line has `method, path, query, status, content_type, body` and the kind of `fault` that had its way, if one had.
    Of a stream, and of a request that got no answer, nothing is recorded.
    """

    def __init__(self, app: ASGIApp, path: Path) -> None:
        self._app = app
        self._file = path.open("ab", buffering=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_OURS):
            await self._app(scope, receive, send)
            return
        head: Message = {}
        body = bytearray()

        async def listen(message: Message) -> None:
            if message["type"] == "http.response.start":
                head.update(message)
            elif not _content_type(head).startswith("text/event-stream"):
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    self._file.write(_line(scope, head, bytes(body)))
            await send(message)

        await self._app(scope, receive, listen)


def _content_type(head: Message) -> str:
    return next((value.decode() for name, value in head.get("headers", ()) if name == b"content-type"), "")


def _line(scope: Scope, head: Message, body: bytes) -> bytes:
    """One write, so that the lines of several processes stay whole."""
    entry = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode("latin-1"),
        "status": head["status"],
        "content_type": _content_type(head),
        "body": body.decode("utf8", "replace"),
        "fault": scope.get("paperbroker.fault"),
    }
    return _encode(entry) + b"\n"
