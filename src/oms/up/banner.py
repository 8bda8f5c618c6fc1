"""What a person reads once the API is ready: who trades where, where to look, what to try."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from oms.settings import PAPER_URL, Settings

_READY_S = 60.0
_POLL_S = 0.15
_ASK_S = 5.0


def api_url(settings: Settings) -> str:
    """Where this machine reaches the API."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


async def wait_ready(settings: Settings, timeout_s: float = _READY_S) -> str | None:
    """Wait until /readyz answers 200; what it said last when it did not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        status, body = await asyncio.to_thread(_get, settings, "/readyz")
        if status == HTTPStatus.OK:
            return None
        if time.monotonic() >= deadline:
            return _what_is_missing(status, body)
        await asyncio.sleep(_POLL_S)


async def banner(settings: Settings) -> str:
    """The text, with account and equity as the API gives them (it may not know them yet)."""
    _, body = await asyncio.to_thread(_get, settings, "/api/v1/trading/portfolio")
    portfolio = _object(body)
    url = api_url(settings)
    rows = [
        ("Broker", _broker(settings)),
        ("Account", _account(portfolio.get("account"))),
        ("Equity", _money(portfolio.get("equity"))),
        ("API", f"{url}   documentation: {url}/docs"),
        ("QuestDB", f"{settings.questdb_url} (console)" if settings.questdb_url else "none: prices stay in memory"),
        ("PostgreSQL", f"{_place(settings.database_url)}   look inside: {_command('db shell', settings)}"),
        ("Redis", f"{_place(settings.redis_url)}   follow signals: {_command('signals', settings)}"),
        ("Data", f"{settings.data}   logs: {settings.data / 'logs'}"),
    ]
    lines = "\n".join(f"  {label:<12}{value}" for label, value in rows if value)
    return f"\n  Trademk1 is up.\n\n{lines}\n\n{_first_order(settings, url)}\n\n  Ctrl-C stops everything.\n"


def _first_order(settings: Settings, url: str) -> str:
    """A curl that fills as it is pasted. The mock account's stocks trade at any time, and its coins exceed the position
    limit already; elsewhere crypto is what always trades. The address is quoted: zsh takes a ? for a pattern."""
    token = '    -H "Authorization: Bearer $OMS_API_TOKEN" \\\n' if settings.api_token else ""
    if settings.is_mock:
        title = "A first order:"
        order = '{"symbol": "AAPL", "side": "buy", "qty": 10, "reason": "Technical breakout"}'
    else:
        title = "A first order (crypto trades at any time):"
        order = '{"symbol": "BTCUSDT", "side": "buy", "qty": 0.01, "reason": "first order"}'
    return (
        f"  {title}\n\n"
        f"  curl -X POST '{url}/api/v1/trading/signal?wait=5' \\\n{token}"
        "    -H 'Content-Type: application/json' \\\n"
        f"    -d '{order}'"
    )


def _broker(settings: Settings) -> str:
    if settings.is_mock:
        return f"paper broker at {settings.paperbroker_url} ({settings.alpaca_api_key} account, no real money)"
    if not settings.is_configured:
        return "not configured: set ALPACA_API_KEY and ALPACA_API_SECRET"
    if settings.alpaca_base_url == PAPER_URL:
        return f"Alpaca paper trading ({settings.alpaca_base_url}, no real money)"
    return f"Alpaca at {settings.alpaca_base_url}"


def _account(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("account_number") or value.get("name") or value.get("id") or "")
    return str(value or "")


def _money(value: object) -> str:
    if isinstance(value, (Decimal, int)):
        return f"${value:,.2f}"
    return f"${value}" if isinstance(value, str) else "not known yet"


def _place(url: str | None) -> str:
    """Host, port and database, never the password."""
    parts = urlsplit(url or "")
    return f"{parts.hostname}:{parts.port}{parts.path}" if parts.hostname else "none"


def _command(name: str, settings: Settings) -> str:
    here = str(Path(sys.executable).with_name("oms"))
    program = "oms" if shutil.which("oms") else min(here, os.path.relpath(here), key=len)
    default = settings.data == Path("data").absolute()
    return f"{program} {name}" if default else f"OMS_DATA='{settings.data}' {program} {name}"


def _get(settings: Settings, path: str) -> tuple[int, bytes]:
    """Status and body; status 0 and the reason where there was no answer."""
    headers = {"Authorization": f"Bearer {settings.api_token}"} if settings.api_token else {}
    request = urllib.request.Request(api_url(settings) + path, headers=headers)  # noqa: S310 - our own address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_ASK_S) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (OSError, ValueError) as error:
        return 0, str(error).encode()


def _object(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body, parse_float=Decimal)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _what_is_missing(status: int, body: bytes) -> str:
    if status == 0:
        return f"the API does not answer ({body.decode(errors='replace')})"
    problem = _object(body)
    detail = problem.get("detail") or problem.get("reason") or body.decode(errors="replace")[:500]
    return f"the API is not ready (HTTP {status}): {detail}"
