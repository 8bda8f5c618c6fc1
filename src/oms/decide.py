"""`oms drift`, `oms halt`, `oms resume`: what a person sees and decides in a terminal.

It reads and writes the record itself, so that it works while the API does not; the engine carries the commands out.
"""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from rich.console import Console
from rich.table import Table

from oms.domain.drift import DriftState
from oms.domain.errors import CommandRefused, ConfigurationError, Unavailable
from oms.settings import Settings, key_hash
from oms.storage.database import Pool, open_pool
from oms.storage.decisions import Decisions, Row, Standing
from oms.storage.queries import CommandState, Queries
from oms.system import SystemClock, new_id

ACKNOWLEDGED_WITHIN_S = 15.0
POLL_S = 0.1
LATELY = 50
STANDING = (DriftState.OPEN, DriftState.IGNORED)
STANDING_MAX = 500
REASON_MAX = 500  # as by HTTP
WIDTH = 160  # where it is not a terminal, the table is not folded


def show_drift(settings: Settings, database_url: str, *, everything: bool, as_json: bool) -> str:
    """The drift ledger as a table, or as JSON: what is open or ignored, or `everything` lately."""
    rows, standing = asyncio.run(_read(settings, database_url, everything))
    if as_json:
        told = {"in_sync_as_of": standing.in_sync_at, "drift": [dict(row) for row in rows]}
        return msgspec.json.format(msgspec.json.encode(told)).decode()
    return _table(rows, standing)


def decide(settings: Settings, database_url: str, kind: str, reason: str, data: Mapping[str, object]) -> str:
    """Leave a command for the engine; what it answered. Raises CommandRefused, Unavailable when it did not answer,
    ConfigurationError for a reason that says nothing."""
    if not reason.strip() or not reason.isprintable() or len(reason) > REASON_MAX:
        raise ConfigurationError(f"--reason says why, in one line of at most {REASON_MAX} characters: it is kept")
    state = asyncio.run(_ask(settings, database_url, kind, {**data, "reason": reason, "by": f"{_who()} (oms)"}))
    if not state.done:
        raise Unavailable("The engine has not taken it up yet: does it run? The command is kept, and carried out then.")
    if state.outcome == "refused":
        raise CommandRefused(state.message or "The engine refused it.")
    return state.message or "done"


async def _read(settings: Settings, database_url: str, everything: bool) -> tuple[Sequence[Row], Standing]:
    pool = await open_pool(database_url, size=1, name="oms drift")
    try:
        account_id, decisions = await _account(pool, settings), Decisions(pool)
        if everything:
            rows = await decisions.drift(account_id, limit=LATELY)
        else:
            rows = await decisions.drift(account_id, states=STANDING, limit=STANDING_MAX)
        return rows, await decisions.standing(account_id)
    finally:
        await pool.close()


async def _ask(settings: Settings, database_url: str, kind: str, data: Mapping[str, object]) -> CommandState:
    pool = await open_pool(database_url, size=1, name="oms command")
    try:
        account_id, queries, command_id = await _account(pool, settings), Queries(pool), new_id()
        await Decisions(pool).ask(command_id, account_id, kind, data, SystemClock().now())
        for _ in range(round(ACKNOWLEDGED_WITHIN_S / POLL_S)):
            state = await queries.command(command_id)
            if state.done:
                break
            await asyncio.sleep(POLL_S)
        return state
    finally:
        await pool.close()


async def _account(pool: Pool, settings: Settings) -> UUID:
    """The account of the key that is set, else the only one that there is."""
    if settings.alpaca_api_key:
        known = (await Queries(pool).key(key_hash(settings.alpaca_api_key))).account_id
        if known is not None:
            return known
    accounts = await Decisions(pool).accounts()
    if len(accounts) == 1:
        return accounts[0]
    if not accounts:
        raise ConfigurationError("No account is known yet: the engine has not reached the broker")
    raise ConfigurationError(f"There are {len(accounts)} accounts here: set ALPACA_API_KEY to the key of the one meant")


def _table(rows: Sequence[Row], standing: Standing) -> str:
    console = Console(width=None if os.isatty(1) else WIDTH, highlight=False)
    lines = [f"In sync as of {_time(standing.in_sync_at)}" if standing.in_sync_at else "Never in sync yet"]
    if standing.halt is not None and standing.halt.is_on:
        halt = standing.halt
        lines.append(f"HALTED since {_time(halt.at)} by {halt.by}: {halt.reason}. To go on: oms resume --reason …")
    with console.capture() as capture:
        console.print("\n".join(lines), markup=False)
        if rows:
            console.print(_rows(rows))
        else:
            console.print("No difference stands between the record and the broker.", markup=False)
    return capture.get().rstrip("\n")


def _rows(rows: Sequence[Row]) -> Table:
    table = Table("id", "symbol", "kind", "cause", "here", "broker", "passes", "first seen", "last seen", "state")
    for row in rows:
        state = "open, BLOCKS" if row["blocks"] else row["state"]
        if row["resolution"]:
            state = f"{row['resolution']} by {row['resolved_by']}" + (f": {row['reason']}" if row["reason"] else "")
        cells = (
            row["id"], row["symbol"], row["kind"], row["cause"], row["ours"][:60], row["theirs"][:60], row["passes"],
            _time(row["first_seen"]), _time(row["last_seen"]), state,
        )  # fmt: skip
        table.add_row(*(str(cell).replace("[", r"\[") for cell in cells))
    return table


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"
