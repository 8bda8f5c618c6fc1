"""The least that a broker of this kind can be: Starlette, msgspec, three websocket events, SQLite group commit.

What `paperbroker_throughput.py` compares with. Every order becomes new and is filled in the next turns of the loop;
each of its three states is an event with the protocol's whole field set, kept by an upsert, and answer and events
wait for their commit. It checks nothing, books nothing and has no prices.
"""

import asyncio
import sqlite3
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

encode, decode = msgspec.json.encode, msgspec.json.decode
PUT = "insert into orders values (?, ?, ?) on conflict (id) do update set wire = excluded.wire"
NOTHING = dict.fromkeys(
    [
        "id",
        "client_order_id",
        "created_at",
        "updated_at",
        "submitted_at",
        "filled_at",
        "expired_at",
        "expires_at",
        "canceled_at",
        "failed_at",
        "replaced_at",
        "replaced_by",
        "replaces",
        "asset_id",
        "symbol",
        "asset_class",
        "notional",
        "qty",
        "filled_qty",
        "filled_avg_price",
        "order_class",
        "order_type",
        "type",
        "side",
        "position_intent",
        "time_in_force",
        "limit_price",
        "stop_price",
        "status",
        "extended_hours",
        "legs",
        "trail_percent",
        "trail_price",
        "hwm",
        "subtag",
        "source",
    ]
)


class Skeleton:
    def __init__(self, folder: Path) -> None:
        self.db = sqlite3.connect(folder / "skeleton.sqlite", check_same_thread=False, isolation_level=None)
        self.db.execute("pragma journal_mode = wal")
        self.db.execute("pragma synchronous = normal")
        self.db.execute("create table orders (id text primary key, client_order_id text unique, wire blob)")
        self.thread = ThreadPoolExecutor(1)
        self.clients: set[WebSocket] = set()
        self.rows: list[tuple[object, object, bytes]] = []
        self.frames: list[bytes] = []
        self.done = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def submit(self, request: Request) -> Response:
        body = decode(await request.body())
        now = datetime.now(UTC).isoformat()
        order = {
            **NOTHING, "id": str(uuid.uuid4()), "status": "pending_new", "filled_qty": "0", "created_at": now,
            "updated_at": now, "submitted_at": now, "expires_at": now, "order_class": "", "extended_hours": False,
            **body,
        }  # fmt: skip
        done = self.done
        wire = self.change(order, "pending_new")
        asyncio.get_running_loop().call_later(0.003, self.accept, order)
        await done.wait()
        return Response(wire, media_type="application/json")

    def accept(self, order: dict[str, object]) -> None:
        self.change({**order, "status": "new"}, "new")
        asyncio.get_running_loop().call_later(0.015, self.fill, order)

    def fill(self, order: dict[str, object]) -> None:
        self.change({**order, "status": "filled", "filled_qty": order["qty"], "filled_avg_price": "1"}, "fill")

    def change(self, order: dict[str, object], event: str) -> bytes:
        wire = encode(order)
        now = datetime.now(UTC).isoformat()
        data = {"event": event, "execution_id": str(uuid.uuid4()), "timestamp": now, "order": msgspec.Raw(wire)}
        self.frames.append(encode({"stream": "trade_updates", "data": data}))
        self.rows.append((order["id"], order["client_order_id"], wire))
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self.commit())
        return wire

    async def commit(self) -> None:
        loop = asyncio.get_running_loop()
        while self.rows:
            rows, frames, done = self.rows, self.frames, self.done
            self.rows, self.frames, self.done = [], [], asyncio.Event()
            await loop.run_in_executor(self.thread, self.write, rows)
            done.set()
            for frame in frames:
                for client in self.clients:
                    await client.send_bytes(frame)

    def write(self, rows: list[tuple[object, object, bytes]]) -> None:
        self.db.execute("begin immediate")
        self.db.executemany(PUT, rows)
        self.db.execute("commit")

    async def stream(self, websocket: WebSocket) -> None:
        await websocket.accept()
        async for message in websocket.iter_bytes():
            asked = decode(message)
            if asked["action"] == "auth":
                answer = {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}
            else:
                self.clients.add(websocket)
                answer = {"stream": "listening", "data": asked["data"]}
            await websocket.send_bytes(encode(answer))


async def main(folder: Path) -> None:
    skeleton = Skeleton(folder)
    app = Starlette(
        routes=[
            Route("/v2/orders", skeleton.submit, methods=["POST"]),
            WebSocketRoute("/stream", skeleton.stream),
        ]
    )
    config = uvicorn.Config(app, port=0, log_level="error", ws_per_message_deflate=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    print(f"skeleton ready at http://127.0.0.1:{port}", flush=True)
    await serving


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
