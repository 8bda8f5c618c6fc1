"""`/stream`: every event of an account's orders, told after it is committed.

JSON in binary frames, as Alpaca's paper endpoint sends it, or MessagePack when the handshake asks for it. Any number
of connections of one account. Nothing is repeated: what a client missed it finds by REST.
"""

from collections import defaultdict

import msgspec
from starlette.websockets import WebSocket

from paperbroker.api.connection import Connection, NotUnderstood, key_in, refuse
from paperbroker.api.late_updates import LateUpdates
from paperbroker.faults import Facts, Faults
from paperbroker.ledger import Ledger
from paperbroker.updates import Update

_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode


class TradeStream:
    """All clients of `/stream`."""

    def __init__(self, ledger: Ledger, faults: Faults) -> None:
        self._ledger = ledger
        self._faults = faults
        self._late = LateUpdates(faults)
        self._listening: dict[str, set[Connection]] = defaultdict(set)
        self._connections: set[Connection] = set()
        ledger.listeners.append(self._tell)

    async def serve(self, websocket: WebSocket) -> None:
        connection = Connection(websocket)
        account_id: str | None = None
        if self._faults and (fault := self._faults.take(Facts(path=websocket.url.path), "refuse_stream")):
            await refuse(websocket, fault)
            return
        self._connections.add(connection)
        try:
            async with connection.open():
                async for message in connection.messages():
                    account_id = self._hear(connection, message, account_id)
        finally:
            self._connections.discard(connection)
            if account_id is not None:
                self._listening[account_id].discard(connection)

    def cut(self, account_id: str | None) -> int:
        """Close the connections of an account, or all; returns how many."""
        chosen = self._connections if account_id is None else self._listening.get(account_id, set())
        for connection in (cut := list(chosen)):
            connection.drop_queue()
            connection.close()
        return len(cut)

    def _hear(
        self, connection: Connection, message: dict[str, object] | NotUnderstood, account_id: str | None
    ) -> str | None:
        """Answer a message; returns the account that the connection speaks for from now on."""
        if isinstance(message, NotUnderstood):
            return account_id
        action = message.get("action")
        if action in {"authenticate", "auth"}:
            return self._authenticate(connection, message, account_id)
        if action == "listen":
            if account_id is None:
                self._send(connection, "authorization", {"status": "unauthorized", "action": "listen"})
            else:
                self._listen(connection, message, account_id)
        return account_id

    def _authenticate(self, connection: Connection, message: dict[str, object], account_id: str | None) -> str | None:
        key = key_in(message, message.get("data"))
        if self._faults and self._faults.take(Facts(key), "deny_stream"):
            key = None
        status = "unauthorized" if key is None else "authorized"
        self._send(connection, "authorization", {"status": status, "action": "authenticate"})
        if key is None:
            return account_id
        authorized = self._ledger.account(key).id
        if account_id not in {None, authorized}:
            self._listening[str(account_id)].discard(connection)
        return authorized

    def _listen(self, connection: Connection, message: dict[str, object], account_id: str) -> None:
        """The list replaces the former one; streams that there are not are left out of the answer."""
        data = message.get("data")
        asked = data.get("streams") if isinstance(data, dict) else None
        streams = ["trade_updates"] if isinstance(asked, list) and "trade_updates" in asked else []
        self._send(connection, "listening", {"streams": streams})
        if streams:
            self._listening[account_id].add(connection)
        else:
            self._listening[account_id].discard(connection)

    def _send(self, connection: Connection, stream: str, data: dict[str, object]) -> None:
        encode = _to_msgpack if connection.wants_msgpack else _to_json
        connection.put(encode({"stream": stream, "data": data}))

    def _tell(self, update: Update) -> None:
        listening = self._listening.get(update.account_id)
        if not listening:
            return
        frame = b'{"stream":"trade_updates","data":%b}' % update.body
        if not self._faults and not self._late.holding:
            self._send_to_all(listening, frame)
            return
        key = self._ledger[update.account_id].state.key
        facts = Facts(key, None, "/stream", update.symbol, update.client_order_id, update.event)
        self._late.deliver(facts, lambda: self._send_to_all(listening, frame))

    def _send_to_all(self, listening: set[Connection], frame: bytes) -> None:
        for connection in list(listening):
            sent = connection.put(_to_msgpack(msgspec.json.decode(frame)) if connection.wants_msgpack else frame)
            if not sent:  # it will find out by REST what it missed
                listening.discard(connection)
                connection.close()
