"""`uv tool install` and `uvx`, as the README has them: the commands in any folder, at the pinned versions."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.clone import copy_repository
from tests.stack import ROOT, ask, eventually, free_port
from tests.terminal import staying

_FOREIGN = ("ALPACA_", "APCA_", "OMS_", "PAPERBROKER_", "VIRTUAL_ENV")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone."""
    clone = tmp_path_factory.mktemp("installed") / "trademk1"
    copy_repository(clone)
    return clone


@pytest.fixture(scope="module")
def environment(folder: Path) -> Mapping[str, str]:
    """Where uv is on the PATH, and keeps the tools that it installs in folders of the test's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    binaries = folder.parent / "bin"
    return {
        **kept,
        "PATH": f"{binaries}:{ROOT / '.venv' / 'bin'}:{kept['PATH']}",
        "UV_TOOL_DIR": str(folder.parent / "tools"),
        "UV_TOOL_BIN_DIR": str(binaries),
        "UV_PYTHON": str(ROOT / ".venv" / "bin" / "python"),
    }


def run(command: str, cwd: Path, env: Mapping[str, str]) -> str:
    """A command that ends; what it printed."""
    done = subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def up(command: str, cwd: Path, env: Mapping[str, str]) -> Iterator[str]:
    """A command that starts everything; where the API is."""
    port = free_port()
    with staying(
        command,
        "Ctrl-C stops everything",
        cwd,
        {**env, "OMS_PORT": str(port), "PAPERBROKER_PORT": str(free_port())},
    ):
        yield f"http://localhost:{port}"


def trades(url: str) -> bool:
    """Whether an order fills."""
    answer = ask("POST", f"{url}/api/v1/trading/signal?wait=5", {"symbol": "AAPL", "side": "buy", "qty": 1})
    order = f"{url}/api/v1/trading/orders/{answer.json['id']}"
    return bool(eventually(lambda: ask("GET", order).json["status"] == "filled"))


def test_uv_tool_install_gives_both_commands_at_the_pinned_versions(
    folder: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    run("uv tool install --constraints requirements/app.txt .", folder, environment)
    assert "an order management system" in run("oms", tmp_path, environment)
    assert "Usage: paperbroker" in run("paperbroker --help", tmp_path, environment)
    python = Path(environment["UV_TOOL_DIR"]) / "trademk1" / "bin" / "python"
    installed = dict(
        line.split("==")
        for line in run(f"uv pip freeze --python {python}", folder, environment).splitlines()
        if "==" in line
    )
    pinned = set(re.findall(r"^([\w.-]+)==(\S+)", (folder / "requirements" / "app.txt").read_text(), re.MULTILINE))
    assert len(installed) > 40
    assert sorted(installed.items() - pinned) == []
    with up("oms up", tmp_path, environment) as url:
        assert trades(url)
    assert (tmp_path / "data" / "oms.lock").exists()


def test_uvx_starts_it_without_installing_it(folder: Path, environment: Mapping[str, str]) -> None:
    with up("uvx --from . oms up", folder, environment) as url:
        assert trades(url)
    assert "Usage: paperbroker" in run("uvx --from . paperbroker --help", folder, environment)
