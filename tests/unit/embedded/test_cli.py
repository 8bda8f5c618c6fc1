"""The command `oms` before anything runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def oms(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
    command = [sys.executable, "-m", "oms.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=30, check=False)


def test_alone_it_explains_itself(tmp_path: Path) -> None:
    done = oms(tmp_path)
    assert done.returncode == 0
    for command in ("oms up", "oms serve", "oms engine", "oms feed", "oms db shell", "oms signals"):
        assert command in done.stdout


def test_a_wrong_setting_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = oms(tmp_path, "up", OMS_HOST="0.0.0.0")
    assert done.returncode == 2
    assert done.stderr.startswith("oms: The address 0.0.0.0 can be reached")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_shell_without_a_database_says_what_to_do(tmp_path: Path) -> None:
    done = oms(tmp_path, "db", "shell", "-c", "select 1")
    assert done.returncode == 2
    assert "Start `oms up`" in done.stderr
    assert "DATABASE_URL" in done.stderr
