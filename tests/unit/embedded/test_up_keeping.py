"""Keeping things running: restarts, the lock, logs, the terminal, the banner."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from oms.embedded.lock import AlreadyRunning, DataLock, running_addresses
from oms.embedded.server import ServerFailed
from oms.settings import Settings
from oms.up import banner, supervisor
from oms.up.console import Console, RollingFile
from oms.waiting import ended


class Failing:
    """Ends at once, so many times."""

    name = "failing"

    def __init__(self, ends: int) -> None:
        self.ends = ends
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        if self.starts == 2:
            raise ServerFailed("not this time")

    async def ended(self) -> int:
        if self.starts >= self.ends:
            await asyncio.Event().wait()
        return -9


async def test_a_restart_waits_twice_as_long_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    unit = Failing(ends=8)
    monkeypatch.setattr(supervisor, "BACKOFF_S_MIN", 0.001)
    monkeypatch.setattr(supervisor, "BACKOFF_S_MAX", 0.02)
    keeping = asyncio.create_task(supervisor.keep_running(unit, said.append))
    async with asyncio.timeout(60):
        while unit.starts < 8:
            await asyncio.sleep(0.01)
    await ended([keeping])
    delays = [line.split(" in ")[1] for line in said if " in " in line]
    assert delays == ["0.001 s", "0.002 s", "0.004 s", "0.008 s", "0.016 s", "0.02 s", "0.02 s", "0.02 s"]
    assert said[0].startswith("failing ended (SIGKILL)")
    assert "failing did not start: not this time" in said


async def test_what_may_be_missed_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(supervisor, "BACKOFF_S_MIN", 0.0)
    await supervisor.keep_running(Failing(ends=99), said.append, tries=3)
    assert "going on without it" in said[-1]
    assert len([line for line in said if "starting it again" in line]) == 3


def test_a_data_folder_has_one_holder_at_a_time(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    assert running_addresses(data) is None
    lock = DataLock(data)
    lock.write({"api_url": "http://127.0.0.1:8000", "database_url": "postgresql://x", "questdb_url": None})
    with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()}.*http://127.0.0.1:8000.*--data"):
        DataLock(data)
    found = running_addresses(data)
    assert found is not None
    assert found["database_url"] == "postgresql://x"
    assert "questdb_url" not in found
    lock.release()
    assert running_addresses(data) is None
    DataLock(data).release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from oms.embedded.lock import DataLock\n"
    code += "lock = DataLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning):
            DataLock(tmp_path)
        holder.kill()
        holder.wait()
    DataLock(tmp_path).release()


def test_a_log_stays_within_its_bound(tmp_path: Path) -> None:
    log = RollingFile(tmp_path / "x.log", bytes_max=100)
    for number in range(100):
        log.write(b"%08d\n" % number)
    log.close()
    assert (tmp_path / "x.log").read_bytes().endswith(b"00000099\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2", "x.log.3"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())


def test_a_terminal_that_does_not_read_holds_nobody_up() -> None:
    stopped = threading.Event()

    class Stopped(io.BytesIO):
        def write(self, data: object) -> int:
            stopped.wait(10)
            return 0

    console = Console(Stopped())
    for number in range(20_000):
        console.say(f"line {number}")
    console.close(0.05)
    stopped.set()


def test_lines_come_out_in_order() -> None:
    out = io.BytesIO()
    console = Console(out)
    for number in range(100):
        console.say(f"line {number}")
    console.close()
    assert out.getvalue() == b"".join(b"line %d\n" % number for number in range(100))


async def test_the_banner_says_who_trades_where_and_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        data=Path("/d"),
        database_url="postgresql://me:hidden@db.example:5433/oms",
        redis_url="redis://127.0.0.1:6379/0",
        paperbroker_url="http://127.0.0.1:8100",
        alpaca_api_key="mock",
    )
    answer = b'{"account": {"account_number": "PA123"}, "equity": 100000.50}'
    monkeypatch.setattr(banner, "_get", lambda *_: (200, answer))
    text = await banner.banner(settings)
    assert "paper broker at http://127.0.0.1:8100" in text
    assert "PA123" in text
    assert "$100,000.50" in text
    assert "db.example:5433/oms" in text
    assert "hidden" not in text
    assert "-X POST 'http://127.0.0.1:8000/api/v1/trading/signal?wait=5'" in text
    monkeypatch.setattr(banner, "_get", lambda *_: (0, b"refused"))
    text = await banner.banner(replace(settings, alpaca_api_key=None))
    assert "not configured" in text
    assert "not known yet" in text
