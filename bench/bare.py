"""The limit to compare with: a minimal Starlette application that decodes a small JSON body and answers 202.

python -m bench.bare PORT
"""

from __future__ import annotations

import sys
from decimal import Decimal

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Body(msgspec.Struct):
    """What a signal at least has."""

    symbol: str
    side: str
    qty: Decimal
    reason: str = ""


_decoder = msgspec.json.Decoder(Body)
_encode = msgspec.json.Encoder().encode


async def take(request: Request) -> Response:
    """Decode, and answer with what was understood."""
    body = _decoder.decode(await request.body())
    return Response(_encode({"status": "accepted", "order": body}), 202, media_type="application/json")


def main() -> None:
    """Serve until killed, with the same server and loop as the API."""
    app = Starlette(routes=[Route("/", take, methods=["POST"])])
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False, loop="uvloop", http="httptools")


if __name__ == "__main__":
    main()
