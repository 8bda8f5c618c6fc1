"""A checker that cannot fail proves nothing: the simulation catches every planted defect."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.stack import ROOT


@pytest.mark.timeout(600)
def test_every_planted_defect_is_caught() -> None:
    command = [sys.executable, "-m", "tests.simulation.defects", "--processes", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 missed, " in done.stdout.splitlines()[-1]
