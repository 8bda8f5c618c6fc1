"""The command `oms` before anything runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


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


@pytest.mark.parametrize("command", ["up", "doctor", "snapshot"])
def test_a_settings_file_that_is_not_there_or_no_text_is_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "latin.env").write_bytes(b"ALPACA_API_KEY=PK\xe9\n")
    for name, text in (("none.env", "there is no such file"), ("latin.env", "is not UTF-8 text")):
        done = oms(tmp_path, command, OMS_ENV_FILE=name, OMS_PORT="0")
        assert done.returncode in {1, 2}
        assert text in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["latin.env"]


@pytest.mark.parametrize("command", ["up", "doctor", "audit"])
def test_a_data_folder_that_cannot_be_one_is_one_line(tmp_path: Path, command: str) -> None:
    for data in (tmp_path / "file", tmp_path / "file" / "below"):
        (tmp_path / "file").write_text("")
        done = oms(tmp_path, command, OMS_DATA=str(data), OMS_PORT="0", PAPERBROKER_PORT="0")
        assert done.returncode in {1, 2}
        assert "Traceback" not in done.stderr
        assert f"{data} cannot be used as the data folder" in done.stdout + done.stderr


def test_days_that_no_calendar_has_are_refused(tmp_path: Path) -> None:
    for command, days in (("snapshot", "1e12"), ("audit", "inf"), ("audit", "1e9")):
        done = oms(tmp_path, command, "--days", days)
        assert (done.returncode, "'--days'" in done.stderr) == (2, True), done.stderr


def test_a_backup_that_is_none_starts_no_database(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("not a backup")
    for name, text in (("none", "There is no file none."), ("mine", "mine is no backup made by `oms backup`")):
        done = oms(tmp_path, "restore", name)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert text in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
