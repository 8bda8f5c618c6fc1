"""`oms audit`."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import typer

from oms.audit.audit import audit_record
from oms.audit.broker import audit_broker
from oms.audit.findings import Findings
from oms.audit.reading import Row
from oms.audit.report import as_json, console, show
from oms.broker import connect
from oms.commands.where import database_url, in_effect
from oms.domain.errors import BrokerError, ConfigurationError, OmsError
from oms.execution.budget import RequestBudget
from oms.settings import Settings, key_hash
from oms.storage.audit import PostgresRecord
from oms.storage.database import open_pool
from oms.storage.engine import PostgresStore
from oms.system import SystemClock


def audit(settings: Settings, *, with_broker: bool, days: float, as_object: bool) -> int:
    """Print what was found. The exit code: 0 everything agrees, 1 differences, 2 it could not be done."""
    try:
        findings, failure = asyncio.run(_audit(in_effect(settings), with_broker, timedelta(days=days)))
    except OmsError as error:
        typer.echo(f"oms: {error}", err=True)
        return 2
    if as_object:
        typer.echo(as_json(findings))
    else:
        show(findings, console())
    if failure:
        typer.echo(f"oms: the broker could not be compared: {failure}", err=True)
    return 1 if not findings.is_clean else 2 if failure else 0


async def _audit(settings: Settings, with_broker: bool, back: timedelta) -> tuple[Findings, str]:
    pool = await open_pool(database_url(settings), size=2, name="oms audit")
    try:
        record = PostgresRecord(pool)
        findings = await audit_record(record)
        if not with_broker:
            return findings, ""
        try:
            account = await _account(settings, record, PostgresStore(pool))
            await _beside_broker(settings, record, account, findings, findings.at - back)
        except (BrokerError, ConfigurationError) as error:
            return findings, str(error)
        return findings, ""
    finally:
        await pool.close()


async def _account(settings: Settings, record: PostgresRecord, store: PostgresStore) -> Row:
    """The account of our keys. Raises ConfigurationError."""
    if not settings.is_configured or settings.alpaca_api_key is None:
        raise ConfigurationError("no keys: set ALPACA_API_KEY and ALPACA_API_SECRET, or give --no-broker")
    account_id = await store.account_of_key(key_hash(settings.alpaca_api_key))
    async with record.snapshot() as snapshot:
        for account in await snapshot.accounts():
            if account["id"] == account_id:
                return account
    raise ConfigurationError("no engine has reached the broker with these keys yet; --no-broker leaves it out")


async def _beside_broker(
    settings: Settings, record: PostgresRecord, account: Row, findings: Findings, since: datetime
) -> None:
    clock = SystemClock()
    budget = RequestBudget(settings.alpaca_requests_per_minute, clock)
    broker, prices = connect(settings, budget, clock)
    try:
        there = await broker.account()
        if there.broker_account_id != account["broker_account_id"]:
            raise ConfigurationError(
                f"these keys open account {there.number} now, and the record knows them as {account['number']}'s"
            )
        await audit_broker(record, broker, account, findings, since)
    finally:
        await prices.close()
        await broker.close()
