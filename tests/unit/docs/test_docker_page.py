"""docs/docker.md shows a compose override that make compose-test uses."""

from __future__ import annotations

import re

from tests.stack import ROOT

TESTS = "".join(file.read_text() for file in sorted((ROOT / "tests" / "compose").glob("*.py")))


def test_the_override_for_secrets_is_the_tested_one() -> None:
    override = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "docker.md").read_text(), re.DOTALL)
    assert override is not None
    assert override.group(1) in TESTS
