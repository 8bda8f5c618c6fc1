"""Clients that never finish a request are let go, and hold nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oms.api import connection

HEAD = b"POST /api/v1/trading/signal HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_S_MAX", 0.4)


async def opened(api: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def answered(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server closes."""
    async with asyncio.timeout(60):
        try:
            return await reader.read()
        except ConnectionResetError:  # it closed while we were still sending
            return b""


@pytest.mark.parametrize("sent", [b"", b"GET /livez", HEAD, HEAD + b"Content-Length: 20\r\n\r\n{"])
async def test_a_request_that_does_not_end_is_let_go(
    migrated_database_url: str, serve_api: Any, hurried: None, sent: bytes
) -> None:
    api = await serve_api(migrated_database_url)
    reader, writer = await opened(api)
    writer.write(sent)
    answer = await answered(reader)
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    writer.close()
    assert (await api.get("/livez")).status == 200


async def test_a_request_byte_by_byte_is_let_go_too(migrated_database_url: str, serve_api: Any, hurried: None) -> None:
    api = await serve_api(migrated_database_url)
    reader, writer = await opened(api)

    async def trickle() -> None:
        for byte in HEAD * 100:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    trickling = asyncio.create_task(trickle())
    answer = await answered(reader)  # what is still sent when the server closes can take the answer with it
    assert answer.startswith(b"HTTP/1.1 408 ") or answer == b"", answer
    trickling.cancel()
    await asyncio.gather(trickling, return_exceptions=True)
    writer.close()


async def test_a_head_without_end_is_refused(migrated_database_url: str, serve_api: Any) -> None:
    api = await serve_api(migrated_database_url)
    reader, writer = await opened(api)
    writer.write(HEAD)
    for number in range(70):
        writer.write(b"X-%d: " % number + b"x" * 1000 + b"\r\n")
    answer = await answered(reader)
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b"", answer[:100]
    writer.close()
    assert (await api.get("/livez")).status == 200


async def test_connections_that_are_kept_alive_are_not_hurried(
    migrated_database_url: str, serve_api: Any, hurried: None
) -> None:
    api = await serve_api(migrated_database_url)
    reader, writer = await opened(api)
    for _ in range(2):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(len(b'{"status":"ok"}'))
        await asyncio.sleep(0.8)  # twice as long as a request may take
    writer.close()


async def test_a_long_wait_for_the_answer_is_not_cut_short(
    migrated_database_url: str, serve_api: Any, hurried: None
) -> None:
    api = await serve_api(migrated_database_url)
    answer = await api.post({"symbol": "AAPL", "side": "buy", "qty": 1}, "?wait=1.5")
    assert answer.status == 202, answer.text
