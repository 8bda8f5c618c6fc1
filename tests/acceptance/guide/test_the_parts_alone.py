"""`oms serve`, `oms engine`, `oms feed` and `paperbroker`, each started by itself on servers that addresses name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.stack import RECORD, Stack, ask, eventually, free_port

PROGRAMS = {"oms": "oms.cli", "paperbroker": "paperbroker.cli"}


@contextmanager
def part(tmp_path: Path, environment: dict[str, str], *command: str) -> Iterator[Path]:
    """Run a part until the end of the block, then stop it with SIGTERM: exit code 0. Gives its log."""
    program, *arguments = command
    log = tmp_path / f"{'-'.join(command[:2]).replace('/', '')}-{free_port()}.log"
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ALPACA_", "APCA_", "OMS_", "PAPERBROKER_")) or key == RECORD
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", PROGRAMS[program], *arguments],
            env={**clean, "OMS_ENV_FILE": os.devnull, **environment},
            stdout=out,
            stderr=out,
            cwd=tmp_path,
        )
    try:
        yield log
        assert process.poll() is None, log.read_text()[-3000:]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def says(log: Path, text: str) -> None:
    eventually(lambda: text in log.read_text(), why=f"{text!r} is not in {log}")


def test_each_part_runs_alone_and_together_they_trade(tmp_path: Path, shared_servers: dict[str, str]) -> None:
    broker_port, api = free_port(), Stack(tmp_path / "unused")
    environment = {
        **shared_servers,
        "ALPACA_API_KEY": "mock",
        "PAPERBROKER_URL": f"http://127.0.0.1:{broker_port}",
        "OMS_PORT": str(api.port),
    }
    with ExitStack() as running:
        broker = running.enter_context(part(tmp_path, {}, "paperbroker", "--port", str(broker_port), "--seed", "7"))
        says(broker, f"paperbroker ready at http://127.0.0.1:{broker_port}")
        serve = running.enter_context(part(tmp_path, environment, "oms", "serve"))
        says(serve, "OMS API started")
        assert ask("GET", f"{api.url}/readyz").status == 503
        assert api.get("/api/health/detailed")["execution_engine_status"] == "stopped"
        engine = running.enter_context(part(tmp_path, environment, "oms", "engine"))
        says(engine, "OMS execution engine started")
        eventually(lambda: ask("GET", f"{api.url}/readyz").status == 200)
        assert api.traded(symbol="AAPL", side="buy", qty=10)["status"] == "filled"

        feed = running.enter_context(part(tmp_path, environment, "oms", "feed"))
        says(feed, "OMS feed started")
        eventually(lambda: api.get("/api/health/detailed")["components"]["feed"]["relayed"])
        assert api.traded(symbol="NVDA", side="buy", qty=1)["status"] == "filled"

        standby = running.enter_context(part(tmp_path, environment, "oms", "engine"))
        says(standby, "standby")
        assert api.traded(symbol="AAPL", side="sell", qty="all")["status"] == "filled"


def test_a_standby_takes_over(tmp_path: Path, shared_servers: dict[str, str]) -> None:
    """The guide's one engine, twice: the second waits for the first one's lease and trades when it is gone."""
    broker_port, api = free_port(), Stack(tmp_path / "unused")
    environment = {
        **shared_servers,
        "ALPACA_API_KEY": "mock",
        "PAPERBROKER_URL": f"http://127.0.0.1:{broker_port}",
        "OMS_PORT": str(api.port),
    }
    with ExitStack() as running:
        running.enter_context(part(tmp_path, {}, "paperbroker", "--port", str(broker_port)))
        serve = running.enter_context(part(tmp_path, environment, "oms", "serve"))
        says(serve, "OMS API started")
        with part(tmp_path, environment, "oms", "engine") as first:
            says(first, "OMS execution engine started")
            second = running.enter_context(part(tmp_path, environment, "oms", "engine"))
            says(second, "standby")
        says(second, "OMS execution engine started")
        eventually(lambda: ask("GET", f"{api.url}/readyz").status == 200)
        assert api.traded(symbol="AAPL", side="buy", qty=10)["status"] == "filled"


@pytest.mark.parametrize("command", ["serve", "engine", "feed", "db migrate", "db shell", "signals"])
def test_a_part_without_its_address_says_what_to_set(tmp_path: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "oms.cli", *command.split()],
        env={"PATH": os.environ["PATH"], "OMS_ENV_FILE": os.devnull, "ALPACA_API_KEY": "mock"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert ("REDIS_URL" if command == "signals" else "DATABASE_URL") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--hours", "lunch"], "--hours has to be all or nyse"),
        (["--speed", "2"], "--tape"),
        (["--now", "yesterday"], "--now"),
        (["--tape", "missing.csv"], "there is no such file"),
    ],
)
def test_a_wrong_option_of_the_paper_broker_is_explained(tmp_path: Path, options: list[str], hint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paperbroker.cli", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert hint in done.stderr
