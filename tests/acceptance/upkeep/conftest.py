"""The command line beside a stack that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Oms = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def oms(tmp_path: Path) -> Oms:
    """Run `oms …` to its end, in a folder of its own and with no settings around; `env` adds some."""

    def run(*arguments: str, within_s: float = 200, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "oms.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "OMS_ENV_FILE": os.devnull, **env},
        )

    return run
