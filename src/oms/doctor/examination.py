"""All checks, in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from oms.doctor.account import broker_findings
from oms.doctor.env_file import CHECK, env_findings
from oms.doctor.finding import Finding, Verdict, failed, ok, without
from oms.doctor.keys import key_findings
from oms.doctor.machine import disk_finding, port_findings, upkeep_findings
from oms.doctor.servers import postgres_findings, questdb_finding, redis_finding
from oms.domain.errors import ConfigurationError
from oms.embedded.lock import running_addresses
from oms.settings import Settings, env_file_of, load_settings
from oms.system import SystemClock


async def examine(data: Path | None = None, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Look at everything; the result says no secrets. Raises nothing that a setting can cause."""
    environ = os.environ if environ is None else environ
    findings = env_findings(env_file_of(environ), environ)
    try:
        settings = load_settings(environ, data=data)
        running = running_addresses(settings.data)
    except ConfigurationError as error:
        wrong = failed(CHECK, str(error), "nothing starts before this is right")
        return [*(one for one in findings if one.verdict is not Verdict.OK), wrong]
    return without(_secrets(settings), [*findings, *await _look(settings, running)])


async def _look(settings: Settings, running: Mapping[str, str] | None) -> list[Finding]:
    keys = key_findings(settings)
    settings = _as_it_runs(settings, running)
    (postgres, engine), redis, questdb = await asyncio.gather(
        postgres_findings(settings.database_url, settings.alpaca_api_key),
        redis_finding(settings.redis_url),
        questdb_finding(settings.questdb_url),
    )
    if not settings.is_configured:
        broker: list[Finding] = []
    elif settings.is_mock and settings.paperbroker_url is None:
        broker = [ok("broker", "oms up brings the paper broker; none runs now")]
    else:
        broker = await broker_findings(settings, SystemClock(), engine)
    machine = [disk_finding(settings.data), *upkeep_findings(settings.data), *port_findings(settings, running)]
    return [*keys, *broker, *postgres, redis, questdb, *machine]


def _as_it_runs(settings: Settings, running: Mapping[str, str] | None) -> Settings:
    """With the addresses that the running `oms up` brought, where none are set; without a key it trades as `mock`."""
    if running is None:
        return settings
    key = settings.alpaca_api_key
    if key is None and settings.paperbroker_url is None:
        key = "mock"
    return replace(
        settings,
        alpaca_api_key=key,
        database_url=settings.database_url or running.get("database_url"),
        redis_url=settings.redis_url or running.get("redis_url"),
        questdb_url=settings.questdb_url or running.get("questdb_url"),
        paperbroker_url=settings.paperbroker_url or running.get("paperbroker_url"),
    )


def _secrets(settings: Settings) -> list[str | None]:
    passwords = []
    for url in (settings.database_url, settings.redis_url, settings.questdb_pg_url):
        try:
            password = urlsplit(url or "").password
        except ValueError:
            continue
        passwords += [password, unquote(password or "")]
    key = None if settings.is_mock else settings.alpaca_api_key
    return [key, settings.alpaca_api_secret, settings.api_token, *settings.alert_urls, *passwords]
