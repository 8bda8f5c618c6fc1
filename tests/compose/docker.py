"""A fresh clone of the repository as a compose project of its own; commands run in it as they are written.

Ports and project name are chosen by the variables that compose.yaml and compose itself offer for that, so that whatever
else runs on the machine is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.clone import copy_repository
from tests.stack import Answer, ask, eventually

SERVICES = ("app", "db", "paperbroker", "questdb", "redis")
_FOREIGN = ("ALPACA_", "APCA_", "OMS_", "PAPERBROKER_", "COMPOSE_", "POSTGRES_", "QUESTDB_")
_BUILD_S = 1500
_COMMAND_S = 180


def engine_is_missing() -> str:
    """Why compose-test cannot run here; empty where a Docker engine with compose answers."""
    for command in (["docker", "compose", "version"], ["docker", "info"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{' '.join(command)}: {error}"
        if done.returncode != 0:
            return f"{' '.join(command)}: {(done.stderr or done.stdout).strip().splitlines()[0]}"
    return ""


class Clone:
    """`env_file` is what `.env` holds; None: there is none. Everything is gone after `remove()`."""

    def __init__(self, folder: Path, name: str, env_file: str | None = None) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.questdb_port = _free_port()
        self.project = f"trademk1-test-{name}"
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)} | {
            "COMPOSE_PROJECT_NAME": self.project,
            "OMS_IMAGE": "trademk1:test",
            "OMS_PORT": str(self.port),
            "QUESTDB_PORT": str(self.questdb_port),
        }
        self._attached: subprocess.Popen[bytes] | None = None
        copy_repository(folder)
        if env_file is not None:
            (folder / ".env").write_text(env_file)

    # --- commands -----------------------------------------------------------------------------------------------------

    def run(self, command: str, timeout: float = _COMMAND_S, *, fails: bool = False, typed: str = "") -> str:
        """Run a command line in the clone, as it is written; what it printed. It must succeed, or fail where said.

        `typed` is what it reads.

        Only the name of the project, where a command contains it (volumes begin with it), becomes the clone's.
        """
        command = command.replace("trademk1_", f"{self.project}_")
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.env,
            text=True,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        assert (done.returncode != 0) is fails, f"{command}: code {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout

    def attach(self, command: str, until: str, within_s: float = _BUILD_S) -> None:
        """Run a command that stays, such as `docker compose up`, and wait for a text in what it prints."""
        with (self.folder / "terminal").open("wb") as terminal:
            self._attached = subprocess.Popen(
                ["bash", "-c", f"exec {command}" if command.startswith("docker") else command],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=terminal,
                start_new_session=True,
            )

        def seen() -> bool:
            assert self._attached is not None
            assert self._attached.poll() is None, f"{command} ended:\n{self.printed()[-6000:]}"
            return until in self.printed()

        eventually(seen, within_s, 0.1, why=f"{command} did not print {until!r}; see {self.folder / 'terminal'}")

    def interrupt(self, within_s: float = 60) -> int:
        """Ctrl-C to what is attached; its exit code."""
        attached, self._attached = self._attached, None
        assert attached is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(attached.pid, signal.SIGINT)
        try:
            return attached.wait(within_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(attached.pid, signal.SIGKILL)

    def printed(self) -> str:
        """What the attached command printed so far."""
        return (self.folder / "terminal").read_text(errors="replace")

    def remove(self) -> None:
        """End and delete containers and volumes; the image stays, as does the build's cache."""
        if self._attached is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.interrupt()
        self.run("docker compose down --volumes --timeout 10")

    # --- the OMS ------------------------------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """The JSON of a GET that must answer 200."""
        answer = ask("GET", self.url + path)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    def signal(self, **terms: object) -> Answer:
        """POST a signal."""
        return ask("POST", f"{self.url}/api/v1/trading/signal", terms)

    def engine_status(self) -> str:
        """`execution_engine_status`; why not, where the API does not answer."""
        try:
            return str(self.get("/api/health/detailed")["execution_engine_status"])
        except (OSError, AssertionError) as error:
            return repr(error)

    def await_status(self, wanted: str, within_s: float = 60) -> None:
        """Until the engine has this status."""
        seen: list[str] = []
        eventually(
            lambda: (seen.append(self.engine_status()), seen[-1] == wanted)[1], within_s, 0.2, why=f"{seen[-3:]}"
        )

    def ended(self, order_id: str, within_s: float = 30) -> Any:
        """One order once it is filled, rejected or cancelled."""

        def order() -> Any:
            found = ask("GET", f"{self.url}/api/v1/trading/orders/{order_id}")
            ended = found.status == 200 and found.json["status"] in {"filled", "rejected", "cancelled", "expired"}
            return found.json if ended else None

        return eventually(order, within_s, why=f"order {order_id} did not end")

    def trades(self, within_s: float = 60) -> Any:
        """Send small orders until one fills, as long as it takes the parts to come back; that order."""

        def one() -> Any:
            try:
                answer = self.signal(symbol="KO", side="buy", qty=1)
                order = self.ended(answer.json["id"]) if answer.status == 202 else None
            except OSError:
                return None
            return order if order and order["status"] == "filled" else None

        return eventually(one, within_s, 0.5, why="no order filled")

    def kept(self) -> dict[str, Any]:
        """What must not be lost: ended orders by id, and positions by symbol."""
        orders = [one for one in self.get("/api/v1/trading/orders?limit=500") if one["ended_at"]]
        names = ("status", "symbol", "side", "qty", "filled_qty", "filled_price", "alpaca_id")
        positions = self.get("/api/v1/trading/positions?include_closed=true")
        return {
            **{one["id"]: tuple(one[name] for name in names) for one in orders},
            **{one["symbol"]: (one["qty"], one["avg_price"], one["realized_pnl"]) for one in positions},
        }

    def inspect(self, service: str) -> Any:
        """What the engine knows of a service's container."""
        container = self.run(f"docker compose ps --all --quiet {service}").strip()
        return json.loads(self.run(f"docker inspect {container}"))[0]


def _free_port() -> int:
    """Below those that the system gives away by itself: it is bound only seconds later, and again at each restart."""
    while True:
        port = random.randint(20_000, 29_999)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


if __name__ == "__main__":
    if missing := engine_is_missing():
        print(f"compose-test is skipped: no Docker engine answers ({missing})")
        sys.exit(1)
