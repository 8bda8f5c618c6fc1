"""`oms up` as a process: comes up, keeps its children, leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import redis

from oms.domain.errors import StoreUnavailable
from oms.embedded.process import processes_below
from oms.storage.database import unavailable

DRIVER = Path(__file__).with_name("up_driver.py")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


class Up:
    """A running driver, its output line by line."""

    def __init__(self, data: Path, servers: str, environ: dict[str, str] | None = None) -> None:
        self.data = data
        self.seen: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVER), str(data), "free", servers],
            stdout=_closed_pipe() if "DEAF" in (environ or {}) else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=data.parent,
            env={**os.environ, **(environ or {})},
            start_new_session=True,
        )
        if self.process.stdout is not None:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, text: str, timeout_s: float = 120.0) -> str:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"{text!r} not seen in:\n" + "\n".join(self.seen)
            self.seen.append(line)
            if text in line:
                return line

    def addresses(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.wait_for("UP {").removeprefix("UP "))
        return found

    def rest(self) -> list[str]:
        self.process.wait(60)
        while (line := self._lines.get(timeout=60)) is not None:
            self.seen.append(line)
        return self.seen

    def remaining(self) -> list[int]:
        """Servers by their folder; children work in the folder above, where this test's other files are."""
        return processes_below(self.data.parent)


def _closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


StartUp = Callable[..., Up]


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[StartUp]:
    started: list[Up] = []

    def start(servers: str = "postgres,valkey", **environ: str) -> Up:
        up = Up(tmp_path / "data", servers, environ)
        started.append(up)
        return up

    yield start
    for up in started:
        up.process.kill()
        up.process.wait()


def children_of(pid: int, word: str) -> list[int]:
    children = " ".join(_read(task / "children") for task in Path(f"/proc/{pid}/task").iterdir()).split()
    return [int(child) for child in children if word in _read(Path(f"/proc/{child}/cmdline")).replace("\0", " ")]


def _read(path: Path) -> str:
    """What a file of /proc says; nothing where its process or thread has ended meanwhile."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def wait_until(holds: Callable[[], object], timeout_s: float = 120) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


async def sql(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_the_engine_first_and_leaves_nothing(start_up: StartUp, number: int) -> None:
    up = start_up("postgres,valkey,questdb")
    up.addresses()
    up.wait_for("OMS execution engine started")
    log = up.data / "logs" / "engine.log"
    assert wait_until(lambda: log.read_text().startswith("OMS execution engine started"))
    up.process.send_signal(number)
    lines = up.rest()
    assert up.process.returncode == 0
    assert "engine | engine finished" in lines
    assert up.remaining() == []


def test_a_ctrl_c_in_the_terminal_reaches_only_the_supervisor(start_up: StartUp) -> None:
    up = start_up()
    up.addresses()
    up.wait_for("OMS execution engine started")
    os.killpg(up.process.pid, signal.SIGINT)  # what a terminal does
    assert "engine | engine finished" in up.rest()  # by SIGTERM, not by KeyboardInterrupt
    assert up.process.returncode == 0


def test_a_child_that_does_not_stop_is_killed(start_up: StartUp) -> None:
    up = start_up(STUBBORN="yes")
    up.addresses()
    up.wait_for("OMS execution engine started")
    began = time.monotonic()
    up.process.send_signal(signal.SIGTERM)
    up.rest()
    assert time.monotonic() - began > 5  # it was asked first
    assert up.remaining() == []


def test_a_second_ctrl_c_hurries_it_up(start_up: StartUp) -> None:
    up = start_up(STUBBORN="yes")
    up.addresses()
    up.wait_for("OMS execution engine started")
    up.process.send_signal(signal.SIGINT)
    up.wait_for("engine finishes")
    up.process.send_signal(signal.SIGINT)
    assert "Killing what still runs" in up.rest()  # else it is waited for
    assert up.process.returncode == 0
    assert up.remaining() == []


async def test_killed_with_9_it_leaves_nothing_and_comes_back_with_its_data(start_up: StartUp) -> None:
    up = start_up("postgres,valkey,questdb")
    found = up.addresses()
    await sql(found["postgres"], "create table kept(n int)")
    await sql(found["postgres"], "insert into kept values (42)")
    await sql(found["questdb"], "create table kept(n int)")
    await sql(found["questdb"], "insert into kept values (44)")
    with redis.Redis.from_url(found["valkey"], single_connection_client=True) as client:
        client.set("kept", "43")
        client.execute_command("WAITAOF", 1, 0, 0)  # until it is in the file
    up.process.kill()
    up.process.wait()

    again = start_up("postgres,valkey,questdb")  # at once, while the old servers may still be going
    assert wait_until(lambda: set(processes_below(up.data)) <= set(all_below(again.process.pid)))
    found = again.addresses()
    assert await sql(found["postgres"], "select n from kept") == 42
    assert await sql(found["questdb"], "select n from kept") == 44
    assert redis.Redis.from_url(found["valkey"]).get("kept") == b"43"
    again.process.kill()
    again.process.wait()
    assert wait_until(lambda: again.remaining() == []), again.remaining()


def all_below(pid: int) -> list[int]:
    """The process and everything it started, however deep."""
    found, look = [], [pid]
    while look:
        found.append(here := look.pop())
        try:
            look += children_of(here, "")
        except OSError:
            continue
    return found


async def test_what_is_killed_comes_back(start_up: StartUp) -> None:
    up = start_up()
    found = up.addresses()
    [engine] = wait_for_list(lambda: children_of(up.process.pid, "OMS execution"))
    [postgres] = wait_for_list(lambda: children_of(up.process.pid, "bin/postgres"))
    [valkey] = wait_for_list(lambda: children_of(up.process.pid, "valkey-server"))
    for pid in (engine, postgres, valkey):
        os.kill(pid, signal.SIGKILL)
    up.wait_for("starting it again in 0.25 s")
    assert wait_until(lambda: children_of(up.process.pid, "OMS execution"))
    assert wait_until(lambda: children_of(up.process.pid, "bin/postgres"))
    for attempt in range(600):
        try:
            async with unavailable():
                assert await sql(found["postgres"], "select 1") == 1
            assert redis.Redis.from_url(found["valkey"]).ping()
            break
        except (StoreUnavailable, redis.RedisError):
            assert attempt < 599
            await asyncio.sleep(0.1)


def test_a_second_one_on_the_folder_is_refused(start_up: StartUp) -> None:
    first = start_up("valkey")
    first.addresses()
    second = start_up("valkey")
    lines = second.rest()
    assert second.process.returncode == 1
    assert f"(process {first.process.pid})" in lines[-1]
    assert "--data" in lines[-1]
    assert first.process.poll() is None


def test_db_shell_finds_the_database_and_passes_arguments_on(start_up: StartUp) -> None:
    up = start_up("postgres")
    up.addresses()
    command = [sys.executable, "-m", "oms.cli", "db", "shell", "--data", str(up.data), "-At", "-c", "select 6 * 7"]
    done = subprocess.run(command, cwd=up.data.parent, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr


def test_a_signal_while_starting_stops_it(start_up: StartUp) -> None:
    up = start_up()
    up.wait_for("Starting")
    time.sleep(0.15)
    up.process.send_signal(signal.SIGTERM)
    up.rest()
    assert up.process.returncode == 0
    assert wait_until(lambda: up.remaining() == []), up.remaining()
    start_up().addresses()


def test_a_reader_that_goes_away_stops_nothing(start_up: StartUp) -> None:
    """`oms up | head`."""
    up = start_up("valkey", DEAF="yes")
    [engine] = wait_for_list(lambda: children_of(up.process.pid, "OMS execution"))
    os.kill(engine, signal.SIGKILL)
    assert wait_until(lambda: set(children_of(up.process.pid, "OMS execution")) - {engine})
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(60) == 0


def wait_for_list(find: Callable[[], list[int]]) -> list[int]:
    assert wait_until(find)
    return find()
