"""PostgreSQL's own programs, of the major version that the embedded server and compose's have."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from oms.domain.errors import ConfigurationError, OmsError
from oms.embedded.pginstall import install_folder

MAJOR = 18


class ToolFailed(OmsError):
    """pg_dump, pg_restore or psql ended with an error: its last lines."""


def check_server(version: int) -> None:
    """Raise ConfigurationError where the server (`server_version_num`) has another major version than the tools."""
    if version // 10_000 != MAJOR:
        raise ConfigurationError(
            f"The server is PostgreSQL {version // 10_000}, and the tools here are of {MAJOR}. Use pg_dump and "
            f"pg_restore of that version by hand, or a server of version {MAJOR}."
        )


async def run_tool(
    program: str, database_url: str, arguments: Sequence[str], *, stdin: int | None = None, stdout: int | None = None
) -> None:
    """Run one to its end; killed with us. Raises ToolFailed."""
    where, secret = without_password(database_url)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "ALPACA_", "APCA_", "OMS_"))}
    env["PGOPTIONS"] = "-c statement_timeout=0 -c lock_timeout=60s -c timezone=UTC"
    env["PGAPPNAME"] = f"oms {program}"
    if secret:
        env["PGPASSWORD"] = secret  # never among the arguments, which every user can see
    process = await asyncio.create_subprocess_exec(
        install_folder() / "bin" / program, f"--dbname={where}", *arguments, env=env,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin, stdout=stdout, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, errors = await process.communicate()
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        last = "\n".join(errors.decode(errors="replace").strip().splitlines()[-5:])
        raise ToolFailed(f"{program} failed: {last}")


async def script_of(dump: Path, script: Path) -> None:
    """Write what pg_restore would do as SQL, without owners and rights: the database is of whoever restores it."""
    process = await asyncio.create_subprocess_exec(
        install_folder() / "bin" / "pg_restore", "--no-owner", "--no-privileges", f"--file={script}", str(dump),
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise ToolFailed(f"The backup cannot be read: {errors.decode(errors='replace').strip()[-500:]}")


def without_password(database_url: str) -> tuple[str, str]:
    """The address without its password, and the password."""
    parts = urlsplit(database_url.replace("+asyncpg", "", 1))
    user, _, host = parts.netloc.rpartition("@")
    name, _, secret = user.partition(":")
    netloc = f"{name}@{host}" if name else host
    return urlunsplit(parts._replace(netloc=netloc)), unquote(secret)
