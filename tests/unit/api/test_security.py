"""The rules on Host and Origin by themselves: wildcards, addresses, proxies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oms.api.security import Security


async def _answers(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def status(security: Security, *headers: tuple[str, str], path: str = "/", method: str = "POST") -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    raw = [(name.encode(), value.encode()) for name, value in headers]
    asyncio.run(security({"type": "http", "path": path, "method": method, "headers": raw}, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("bound", "host", "expected"),
    [
        ("127.0.0.1", "localhost:8000", 200),
        ("127.0.0.1", "LOCALHOST", 200),
        ("127.0.0.1", "10.0.0.7:8000", 421),
        ("10.0.0.7", "10.0.0.7:8000", 200),
        ("0.0.0.0", "10.0.0.7:8000", 200),
        ("0.0.0.0", "[fe80::1]:8000", 200),
        ("0.0.0.0", "oms.attacker.example:8000", 421),
        ("::1", "[::1]:8000", 200),
    ],
)
def test_hosts(bound: str, host: str, expected: int) -> None:
    assert status(Security(_answers, token=None, bound=bound), ("host", host)) == expected


def test_two_hosts_or_none_are_refused_but_probes_need_none() -> None:
    security = Security(_answers, token="t", bound="127.0.0.1")
    assert status(security) == 421
    assert status(security, ("host", "localhost"), ("host", "evil.example")) == 421
    assert status(security, path="/livez") == status(security, path="/readyz") == 200


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("https://oms.example.com", "oms.example.com", 200),
        ("https://oms.example.com", "oms.example.com:443", 200),
        ("http://oms.example.com:9999", "oms.example.com", 403),
        ("http://127.0.0.1:8000", "localhost:8000", 200),
        ("http://127.0.0.1:8001", "localhost:8000", 403),
        ("http://localhost:8000", "oms.example.com:8000", 403),
        ("file://", "localhost:8000", 403),
    ],
)
def test_origins(origin: str, host: str, expected: int) -> None:
    security = Security(_answers, token=None, bound="127.0.0.1", hosts=("OMS.example.com",))
    assert status(security, ("host", host), ("origin", origin)) == expected


@pytest.mark.parametrize(("length", "expected"), [("65536", 200), ("65537", 413), ("-1", 413), ("9" * 30, 413)])
def test_announced_lengths(length: str, expected: int) -> None:
    security = Security(_answers, token=None, bound="127.0.0.1")
    assert status(security, ("host", "localhost"), ("content-length", length)) == expected
