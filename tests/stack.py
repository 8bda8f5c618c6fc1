"""The whole of Trademk1 as a user starts it: `oms up` in a process of its own, for tests that come from outside.

with Stack(tmp_path, ALPACA_API_KEY="mock") as stack:
    stack.signal(symbol="AAPL", side="buy", qty=10, reason="test")
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from oms.embedded.lock import running_addresses

ROOT = Path(__file__).resolve().parents[1]
READY_WITHIN_S = 180.0
# The system gives none of these to whoever asks for any port, nor to connections: what is free stays free.
PORTS = range(10_000, 32_000)
RECORD = "PAPERBROKER_RECORD"  # the one variable of the paper broker that tests pass on: where answers are recorded


def free_port() -> int:
    """A port that nobody listens on, now and as long as nobody else is given the same."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Answer:
    """An HTTP answer. `json` has numbers as Decimal (or int)."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body, parse_float=Decimal)


def ask(
    method: str, url: str, body: object = None, headers: dict[str, str] | None = None, timeout: float = 40
) -> Answer:
    """One request; a 4xx or 5xx is an answer too."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body, default=str).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())
    except http.client.HTTPException as error:  # it was killed in the middle of its answer
        raise ConnectionError(repr(error)) from error


def eventually(what: Callable[[], Any], within_s: float = 120, every_s: float = 0.05, why: str = "") -> Any:
    """The first true value of `what`, asked again and again. Fails with the last one."""
    end = time.monotonic() + within_s
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{why or 'it did not happen'} within {within_s} s; last seen: {found!r}")
        time.sleep(every_s)


class Stack:
    """One `oms up` on a data folder. Everything listens on free ports. `env` is added to a clean environment."""

    def __init__(self, data: Path, **env: str) -> None:
        self.data = data
        self.port = free_port()
        self.env = env
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data.parent / f"{data.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- its life -----------------------------------------------------------------------------------------------------

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until the API says that it is ready."""
        clean = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("ALERT_", "ALPACA_", "APCA_", "OMS_", "PAPERBROKER_")) or key == RECORD
        }
        env = {**clean, "OMS_ENV_FILE": os.devnull, "PAPERBROKER_PORT": str(free_port()), **self.env}
        command = [sys.executable, "-m", "oms.cli", "up", "--data", str(self.data), "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.data.parent
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Until `/readyz` answers 200."""
        eventually(self._is_ready, READY_WITHIN_S, why=f"oms up was not ready; its log is {self.log}")

    def stop(self, number: int = signal.SIGTERM, within_s: float = 60) -> int:
        """Stop it as a person or a service manager does; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    @property
    def pid(self) -> int:
        """The process id of `oms up` itself."""
        assert self._process is not None
        return self._process.pid

    def child(self, *words: str) -> int:
        """The process id of the child of `oms up` whose command line has these words, such as `oms.cli engine`."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _parent(entry) == self.pid and all(word in _words(entry) for word in words):
                return int(entry.name)
        raise AssertionError(f"no child with {words}")

    def kill_child(self, *words: str) -> None:
        """kill -9 one child."""
        os.kill(self.child(*words), signal.SIGKILL)

    @property
    def addresses(self) -> dict[str, str]:
        """Where its servers are: `database_url`, `redis_url`, `questdb_url`, `paperbroker_url`, `api_url`, …"""
        return running_addresses(self.data) or {}

    def logged(self) -> str:
        """Everything it printed so far."""
        return self.log.read_text(errors="replace")

    # --- its API ------------------------------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """The JSON of a GET that must answer 200."""
        answer = ask("GET", self.url + path)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    def signal(self, wait: float | None = None, **terms: object) -> Answer:
        """POST a signal. Decimals are sent as strings, numbers as numbers."""
        query = "" if wait is None else f"?wait={wait}"
        return ask("POST", f"{self.url}/api/v1/trading/signal{query}", terms)

    def order(self, order_id: str) -> Any:
        """One order."""
        return self.get(f"/api/v1/trading/orders/{order_id}")

    def ended(self, order_id: str, within_s: float = 120) -> Any:
        """One order once it is filled, rejected, cancelled or expired. PostgreSQL may be away meanwhile (503)."""

        def end() -> Any:
            answer = ask("GET", f"{self.url}/api/v1/trading/orders/{order_id}")
            assert answer.status in {200, 503}, (answer.status, answer.body)
            is_final = answer.status == 200 and answer.json["status"] in {"filled", "rejected", "cancelled", "expired"}
            return is_final and answer.json

        return eventually(end, within_s, why="order did not end")

    def traded(self, **terms: object) -> Any:
        """Send a signal and give its order once it has ended."""
        answer = self.signal(**terms)
        assert answer.status == 202, (answer.status, answer.body)
        return self.ended(answer.json["id"])

    def sql(self, statement: str) -> str:
        """Run SQL as a user does: `oms db shell -c '…'`, unaligned and without headings."""
        command = [sys.executable, "-m", "oms.cli", "db", "shell", "--data", str(self.data), "-Atc", statement]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "OMS_ENV_FILE": os.devnull},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"oms up ended with {self._process.returncode}:\n{self.logged()[-3000:]}"
        try:
            return ask("GET", f"{self.url}/readyz", timeout=5).status == 200
        except OSError:
            return False


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _words(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
