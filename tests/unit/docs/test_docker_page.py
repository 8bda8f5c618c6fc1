"""docs/docker.md says only what compose-test runs: when this fails, run the new command in a test of tests/compose."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "docker.md").read_text()
TESTS = "".join(file.read_text() for file in sorted((ROOT / "tests" / "compose").glob("*.py")))


def test_every_command_is_run_by_compose_test() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line and line != "git pull"]
    assert len(commands) > 15
    assert [command for command in commands if command not in TESTS] == []


def test_the_override_for_secrets_is_the_tested_one() -> None:
    override = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert override is not None
    assert override.group(1) in TESTS
