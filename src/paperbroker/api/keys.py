"""Who asks: the API key that a request shows, in one of the three ways that Alpaca's clients know."""

import base64
import binascii
from collections.abc import Iterable

KEY_PREFIX = "mock"


def shown_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key's own header; else `Authorization`: Basic (key:secret), or Bearer with the key as an OAuth token.

    `headers` are those of the ASGI scope, in small letters.
    """
    authorization = b""
    for name, value in headers:
        if name == b"apca-api-key-id":
            return value.decode("latin-1")
        if name == b"authorization":
            authorization = authorization or value
    scheme, _, given = authorization.decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(given.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return None


def valid_key(key: object) -> bool:
    """Keys that begin with `mock` are accounts of this broker; real keys never get in. Secrets are not looked at."""
    return isinstance(key, str) and key.startswith(KEY_PREFIX) and len(key) <= 128 and key.isprintable()
