"""The embedded servers: ports, users, leftovers, what happens without QuestDB."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest
from tests.servers import QUICK

from oms.embedded import pginstall
from oms.embedded.fetch import fetch
from oms.embedded.postgres import Postgres
from oms.embedded.process import Command, Process, clear_leftovers, processes_below
from oms.embedded.questdb import QuestDB
from oms.embedded.server import PortsTaken, ServerFailed
from oms.embedded.servers import EmbeddedServers
from oms.embedded.valkey import Valkey

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    """A folder that no other user can enter, as /root is."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


async def test_a_taken_port_is_avoided(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]

        class Elsewhere(Valkey):
            usual_ports = {"redis": taken}  # noqa: RUF012

        server = Elsewhere(tmp_path)
        await server.start()
        assert server.ports["redis"] != taken
        await server.stop()


async def test_a_port_that_is_taken_after_the_look_is_avoided_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        server = Valkey(tmp_path)
        choices = iter([{"redis": taken}])
        choose = server._choose_ports
        monkeypatch.setattr(server, "_choose_ports", lambda avoid: next(choices, None) or choose(avoid))
        await server.start()
        assert server.ports["redis"] != taken
        await server.stop()


async def test_a_questdb_of_somebody_else_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = QuestDB(tmp_path / "theirs", fixed_ports=False), QuestDB(tmp_path / "ours", fixed_ports=False)
    await theirs.start()
    choices, choose = iter([dict(theirs.ports)]), ours._choose_ports
    monkeypatch.setattr(ours, "_choose_ports", lambda avoid: next(choices, None) or choose(avoid))
    await ours.start()  # both looked at the same moment, and they were faster
    assert not set(ours.ports.values()) & set(theirs.ports.values())
    assert theirs.is_running
    assert ours.is_running
    await ours.stop()
    await theirs.stop()


async def test_ports_on_which_another_server_answered_are_avoided_although_it_is_gone_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Valkey(tmp_path, fixed_ports=False)
    is_ready, met = server.is_ready, []

    async def is_ready_elsewhere() -> bool:
        if not met:
            met.append(server.ports["redis"])
            raise PortsTaken("another server answers on its ports")
        return await is_ready()

    monkeypatch.setattr(server, "is_ready", is_ready_elsewhere)
    await server.start()
    assert server.ports["redis"] not in met
    await server.stop()


@only_root
async def test_as_root_postgresql_runs_as_nobody_below_a_closed_folder(closed_folder: Path) -> None:
    server = Postgres(closed_folder / "data", fixed_ports=False, settings=QUICK)
    await server.start()
    assert server.process is not None
    assert Path(f"/proc/{server.process.pid}").stat().st_uid == server.folder.stat().st_uid != 0
    connection = await asyncpg.connect(server.url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("copy (select 1) to program 'cat'")
    await connection.close()
    await server.stop()


@only_root
async def test_as_root_programs_below_a_closed_folder_are_copied_once(
    closed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = pginstall.install_folder()
    wheel = closed_folder / "site" / installed.parent.name
    shutil.copytree(installed, wheel / installed.name, ignore=shutil.ignore_patterns("include"))
    shutil.copytree(installed.parents[1] / f"{wheel.name}.libs", wheel.with_name(f"{wheel.name}.libs"))
    places = (Path(f"/var/tmp/trademk1-test-{os.getpid()}"),)
    places[0].mkdir(mode=0o755)
    monkeypatch.setattr(pginstall, "_OPEN_PLACES", places)
    monkeypatch.setattr("oms.embedded.postgres.install_folder", lambda: wheel / installed.name)
    said: list[str] = []
    try:
        for _ in range(2):
            server = Postgres(closed_folder / "data", fixed_ports=False, settings=QUICK, say=said.append)
            await server.start()
            await server.stop()
        assert len(list(places[0].iterdir())) == 1
        assert str(places[0]) in said[0]
    finally:
        shutil.rmtree(places[0])


@only_root
async def test_a_folder_made_by_a_user_is_run_as_that_user_by_root(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "data", fixed_ports=False, settings=QUICK)
    await server.start()
    await server.stop()
    for path in (server.folder, *server.folder.rglob("*")):
        os.chown(path, 12345, 12345)
    await server.start()
    assert server.process is not None
    assert Path(f"/proc/{server.process.pid}").stat().st_uid == 12345
    await server.stop()


@only_root
def test_an_ordinary_user_runs_everything_as_himself(tmp_path: Path) -> None:
    """The same program as an ordinary user; in /tmp, because pytest's folder belongs to root."""
    python = next(
        (path for path in (sys.executable, f"/usr/bin/python3.{sys.version_info[1]}") if anyone_runs(path)), None
    )
    if python is None or not pginstall.is_open(pginstall.install_folder()):
        pytest.skip("Python, or this checkout, lies where only root can read it")
    user = pwd.getpwnam("nobody")  # one whom the system knows: initdb asks for the name
    folder = Path(f"/tmp/trademk1-user-{os.getpid()}")
    folder.mkdir()
    os.chown(folder, user.pw_uid, user.pw_gid)
    code = (
        "import asyncio, sys; from pathlib import Path; from oms.embedded.servers import EmbeddedServers\n"
        "async def main():\n"
        "    servers = EmbeddedServers(Path(sys.argv[1]), fixed_ports=False, say=print)\n"
        "    await servers.start(); await servers.stop(); print('fine')\n"
        "asyncio.run(main())"
    )
    packages = os.pathsep.join([str(Path(asyncpg.__file__).parents[1]), str(Path(pginstall.__file__).parents[2])])
    try:
        done = subprocess.run(
            [python, "-c", code, str(folder / "data")],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            cwd="/",
            env={**os.environ, "PYTHONPATH": packages, "OMS_CACHE": str(folder / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.stdout.endswith("fine\n"), done.stdout + done.stderr
        owners = {path.stat().st_uid for path in (folder / "data").rglob("*")}
        assert owners == {user.pw_uid}
    finally:
        shutil.rmtree(folder)


def anyone_runs(path: str) -> bool:
    real = Path(path).resolve()
    return real.exists() and all(parent.stat().st_mode & 0o001 for parent in (real, *real.parents))


async def test_what_initdb_left_half_done_is_done_again(tmp_path: Path) -> None:
    half = tmp_path / "data" / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = Postgres(tmp_path / "data", fixed_ports=False, settings=QUICK)
    await server.start()
    await server.stop()
    assert not half.exists()


async def test_a_pid_file_with_the_number_of_another_process_stops_nothing(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "data", fixed_ports=False, settings=QUICK)
    await server.start()
    await server.stop()
    (server.folder / "postmaster.pid").write_text(f"{os.getppid()}\n/proc/self/cwd\n0\n5432\n\n127.0.0.1\n")
    await server.start()
    await server.stop()


async def test_another_major_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "postgres"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("17\n")
    with pytest.raises(ServerFailed, match="belongs to PostgreSQL 17"):
        await Postgres(tmp_path / "data", fixed_ports=False).start()
    assert (folder / "PG_VERSION").read_text() == "17\n"


async def test_leftovers_are_cleared_but_a_persons_shell_is_not(tmp_path: Path) -> None:
    def process(program: str) -> Process:
        return Process(Command(program, (program, "60"), tmp_path, os.environ), stdout=subprocess.DEVNULL)

    sleeper = process(shutil.which("sleep") or "/bin/sleep")
    deadline = time.monotonic() + 60
    while not processes_below(tmp_path, {"sleep"}) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert await clear_leftovers(tmp_path, {"postgres"}, patience_s=0.1)
    assert sleeper.exit_code is None
    assert await clear_leftovers(tmp_path, {"sleep"}, patience_s=0.1)
    assert await sleeper.wait(60) == -signal.SIGQUIT


async def test_without_questdb_it_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMS_CACHE", str(tmp_path / "cache"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there: no network
    said: list[str] = []
    servers = EmbeddedServers(tmp_path / "data", ("valkey", "questdb"), fixed_ports=False, say=said.append)
    addresses = await servers.start()
    assert addresses.redis_url is not None
    assert addresses.questdb_url is None
    assert addresses.questdb_pg_url is None
    assert [server.name for server in servers.processes] == ["valkey"]
    assert said[-1].startswith("No QuestDB")
    assert "\n" not in said[-1]
    await servers.stop()


def test_a_jar_with_another_content_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Artifact:
        def __init__(self, **_: object) -> None: ...
        def __getattr__(self, _name: str) -> object:
            return lambda *_: self

        def resolve(self) -> Path:
            jar = tmp_path / "maven.jar"
            jar.write_bytes(b"not the one")
            return jar

    monkeypatch.setattr("jgo.maven.MavenContext", Artifact)
    (tmp_path / "questdb-9.3.4.jar").write_bytes(b"cut short")
    with pytest.raises(ValueError, match="expected 939bc53"):
        fetch(tmp_path)
    assert (tmp_path / "questdb-9.3.4.jar").read_bytes() == b"cut short"


async def test_questdb_that_dies_at_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oms.embedded.questdb._java", lambda: Path("/bin/false"))
    with pytest.raises(ServerFailed, match="questdb ended with code 1"):
        await QuestDB(tmp_path, fixed_ports=False).start()


async def test_where_the_kernel_sends_no_signal_the_launcher_watches(tmp_path: Path) -> None:
    """The way of macOS, tried here: our end ends the child."""
    from oms.embedded import process as process_module

    launcher = process_module._LAUNCHER
    middle = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-I', '-S', {launcher!r}, str(os.getpid()), '15', '-', '-', 'watch',"
        " '/bin/sleep', '60'])\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", middle], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not processes_below(tmp_path, {"sleep"}) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_below(tmp_path, {"sleep"})
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while processes_below(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_below(tmp_path) == []
