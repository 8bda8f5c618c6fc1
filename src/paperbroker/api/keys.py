"""Who asks: the API key that a request shows, in one of the three ways that Alpaca's clients know."""

import base64
import binascii

from starlette.datastructures import Headers

KEY_PREFIX = "mock"


def shown_key(headers: Headers) -> str | None:
    """The key's own header; else `Authorization`: Basic (key:secret), or Bearer with the key as an OAuth token."""
    key = headers.get("APCA-API-KEY-ID")
    if key is not None:
        return key
    scheme, _, given = headers.get("Authorization", "").partition(" ")
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
