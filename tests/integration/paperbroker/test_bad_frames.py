"""Whatever frames come, in whatever shape: every reply has Alpaca's form, and the broker goes on for the others."""

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.sync.client import ClientConnection, connect

from paperbroker.testing import PaperBroker, running_broker

LIVELY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20)
NESTED = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
KEYS = st.sampled_from(
    ["action", "data", "key", "secret", "streams", "trades", "quotes", "bars", "statuses", "orderbooks", "x"]
)
WORDS = st.sampled_from(
    ["auth", "authenticate", "listen", "subscribe", "unsubscribe", "mock-frames", ["*"], ["AAPL", "BTC/USD"], [],
     ["AAPL"] * 2000, {"streams": ["trade_updates"]}, {"key_id": "mock-frames"}, {"streams": {"a": 1}}, [None]]
)  # fmt: skip
MESSAGES = st.dictionaries(KEYS, WORDS | NESTED, max_size=5)
PATHS = st.sampled_from(["/stream", "/v2/iex", "/v1beta3/crypto/us"])


@pytest.fixture(scope="module")
def broker() -> Iterator[PaperBroker]:
    with running_broker() as broker:
        yield broker


def is_alpaca_shaped(reply: str | bytes, *, packed: bool) -> bool:
    """A frame of `/stream` is an object with stream and data; one of the data streams is a list of objects with T."""
    message = msgpack.unpackb(reply, timestamp=0) if packed else json.loads(reply)
    if isinstance(message, list):
        return all(isinstance(entry, dict) and "T" in entry for entry in message)
    return isinstance(message, dict) and message.keys() == {"stream", "data"}


def lives(broker: PaperBroker) -> bool:
    """Whether the broker serves the next client."""
    with connect(f"{broker.ws_url}/stream") as other:
        other.send(json.dumps({"action": "auth", "key": broker.key, "secret": "x"}))
        reply = json.loads(other.recv(timeout=10))
    return bool(reply["data"]["status"] == "authorized")


def read_all(client: ClientConnection, *, packed: bool) -> None:
    """Whatever was answered so far."""
    try:
        client.ping().wait(10)
        while True:
            assert is_alpaca_shaped(client.recv(timeout=0.01), packed=packed)
    except (TimeoutError, ConnectionClosed):
        return


@LIVELY
@given(path=PATHS, messages=st.lists(MESSAGES, max_size=4), packed=st.booleans(), first=st.booleans())
def test_messagepack(broker: PaperBroker, path: str, messages: list[dict[str, Any]], packed: bool, first: bool) -> None:
    """In MessagePack, to clients that asked for it and to those that did not; before and after authentication."""
    headers = {"Content-Type": "application/msgpack"} if packed else {}
    hello = [{"action": "auth", "key": "mock-frames", "secret": "x"}] if first else []
    with connect(broker.ws_url + path, additional_headers=headers) as client:
        try:
            for message in [*hello, *messages]:
                client.send(_packed(message))
        except ConnectionClosed:
            return
        read_all(client, packed=packed)


def _packed(message: dict[str, Any]) -> bytes:
    try:
        return bytes(msgpack.packb(message))
    except (OverflowError, ValueError):  # beyond 64 bits
        return b"\xc1"


@LIVELY
@given(path=PATHS, message=MESSAGES.map(lambda m: json.dumps(m, default=repr)), cuts=st.lists(st.integers(1, 20)))
def test_messages_in_fragments(broker: PaperBroker, path: str, message: str, cuts: list[int]) -> None:
    parts, rest = [], message
    for cut in cuts:
        parts.append(rest[:cut])
        rest = rest[cut:]
    with connect(broker.ws_url + path) as client:
        try:
            client.send([*parts, rest])
        except ConnectionClosed:
            return
        read_all(client, packed=False)


@pytest.mark.parametrize("path", ["/stream", "/v2/iex"])
@pytest.mark.parametrize("frame", ["x" * (2 << 20), b"\x00" * (2 << 20), "[" * 500_000, '{"a":' * 100_000])
def test_frames_that_are_too_large_or_too_deep(broker: PaperBroker, path: str, frame: str | bytes) -> None:
    with connect(broker.ws_url + path) as client:
        try:
            client.send(frame)
            while True:
                assert is_alpaca_shaped(client.recv(timeout=0.5), packed=False)
        except (ConnectionClosed, TimeoutError):
            pass
    assert lives(broker)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x81\x82\x00\x00\x00\x00\xff\xfe",  # text that is no UTF-8
        b"\x81\x02hi",  # not masked
        b"\xf1\x80\x00\x00\x00\x00",  # reserved bits
        b"\x83\x80\x00\x00\x00\x00",  # an opcode that is none
        b"\x09\x80\x00\x00\x00\x00",  # a ping in fragments
        b"\x80\x80\x00\x00\x00\x00",  # a continuation of nothing
        b"\x81\xff" + struct.pack(">Q", 1 << 62) + b"\x00" * 4,  # 4 exabytes to come
        bytes([0x80 | Opcode.CLOSE, 0x81, 0, 0, 0, 0, 0x03]),  # half a close code
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_frames_that_break_the_protocol(broker: PaperBroker, frame: bytes) -> None:
    host, port = broker.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(
            b"GET /stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 101 " in raw.recv(4096)
        raw.sendall(frame)
        while raw.recv(4096):  # ends with the connection
            pass
    assert lives(broker)
