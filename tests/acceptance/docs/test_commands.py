"""The commands of README and docs/, as they are written, in a fresh clone with what `make up` has started there.

Only ports that are taken on this machine are replaced. Which commands are run elsewhere is said in where.py.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.acceptance.docs.commands import PAGES, Command, commands
from tests.acceptance.docs.where import STAYS, Way, way_of
from tests.clone import copy_repository
from tests.stack import ROOT, ask, eventually, free_port
from tests.terminal import staying

from oms.embedded.lock import running_addresses

_FOREIGN = ("ALPACA_", "APCA_", "OMS_", "PAPERBROKER_")
# What the API answers with a problem, on purpose: the guide has the id's place pasted as it stands.
PROBLEMS = {"curl http://localhost:8000/api/v1/trading/orders/{order_id} | jq"}

# Alpaca's to refuse, so that the commands which look for that find something.
REFUSED = {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit", "limit_price": 150.98765}


class Clone:
    """A folder as `git clone` makes it, with the virtual environment of `make setup`."""

    def __init__(self, folder: Path) -> None:
        copy_repository(folder)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        if subprocess.run(["make", "--question", "setup"], cwd=folder, check=False, capture_output=True).returncode:
            pytest.fail("the virtual environment is older than the requirements: run make setup")
        self.folder = folder
        self.port = 8000 if _is_free(8000) else free_port()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        self.env["PAPERBROKER_PORT"] = str(free_port())
        if self.port != 8000:
            self.env["OMS_PORT"] = str(self.port)

    def run(self, command: Command) -> str:
        """Run one command to its end; what it printed. It must succeed."""
        typed = ["bash", "-o", "pipefail", "-c", self._here(command.text)]
        given = None
        if command.language == "sql":
            typed, given = [".venv/bin/oms", "db", "shell", "-v", "ON_ERROR_STOP=1"], command.text
        done = subprocess.run(
            typed,
            cwd=self.folder,
            env=self.env,
            input=given or "",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}: code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def running(self, text: str, until: str) -> AbstractContextManager[None]:
        """A command that stays, from the line that says it is ready to the Ctrl-C."""
        return staying(self._here(text), until, self.folder, self.env)

    def _here(self, text: str) -> str:
        """The text with the ports that the servers have got here."""
        text = text.replace("localhost:8000", f"localhost:{self.port}").replace(
            "127.0.0.1:8000", f"127.0.0.1:{self.port}"
        )
        questdb = (running_addresses(self.folder / "data") or {}).get("questdb_url")
        return text.replace("http://localhost:9000", questdb) if questdb else text


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """The newcomer's folder, where `make up` runs."""
    if missing := [program for program in ("curl", "jq", "make") if shutil.which(program) is None]:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    found = Clone(tmp_path_factory.mktemp("newcomer") / "trademk1")
    with found.running("make up", STAYS["make up"]):
        url = f"http://localhost:{found.port}"
        eventually(lambda: ask("GET", f"{url}/readyz").status == 200, 60)
        ask("POST", f"{url}/api/v1/trading/signal?wait=5", REFUSED)
        yield found


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_the_commands_of_a_page_work_as_they_are_written(clone: Clone, page: Path) -> None:
    for command in commands(page):
        if way_of(command) is Way.AS_WRITTEN:
            printed = clone.run(command)
            if command.text.startswith("curl "):
                _is_an_answer(command, printed)


def _is_an_answer(command: Command, printed: str) -> None:
    if "| jq " in command.text:  # a part of the answer, which is there
        assert "null" not in printed.split(), f"{command} shows {printed}"
        return
    answer = json.loads(printed)
    is_problem = isinstance(answer, dict) and str(answer.get("type", "")).startswith("urn:trademk1:problem:")
    assert is_problem is (command.text in PROBLEMS), f"{command} is answered with {answer}"


@pytest.mark.parametrize("text", [text for text in STAYS if text != "make up"])
def test_a_command_that_stays_says_that_it_is_ready_and_ends_with_ctrl_c(
    clone: Clone, tmp_path: Path, text: str
) -> None:
    if ".venv/bin/oms " in text:
        with clone.running(text, STAYS[text]):
            return
    with Clone(tmp_path / "trademk1").running(text, STAYS[text]):
        pass


def test_a_copy_of_the_stopped_folder_is_a_backup(tmp_path: Path) -> None:
    """Operations: stop, copy, start; and the copy put in the place of the folder."""
    clone = Clone(tmp_path / "trademk1")
    orders = f"http://localhost:{clone.port}/api/v1/trading/orders"
    signal_of = {"symbol": "AAPL", "side": "buy", "qty": 10}
    with clone.running("make up", STAYS["make up"]):
        ask("POST", orders.replace("orders", "signal") + "?wait=5", signal_of)
        before = eventually(lambda: [one["id"] for one in ask("GET", orders).json])
    clone.run(Command("docs/operations.md", 0, "bash", "cp -a data backup-2026-11-23"))
    shutil.rmtree(clone.folder / "data")
    (clone.folder / "backup-2026-11-23").rename(clone.folder / "data")
    with clone.running("make up", STAYS["make up"]):
        assert [one["id"] for one in ask("GET", orders).json] == before
