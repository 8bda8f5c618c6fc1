"""docs/guide-tests.md names, for every row of the guide, tests that there are."""

from __future__ import annotations

import re

from tests.named_tests import exists
from tests.stack import ROOT

PAGE = (ROOT / "docs" / "guide-tests.md").read_text()
ROWS = re.findall(r"^\| (?!the guide|---)(.*?) \| (`tests/.*`) \|$", PAGE, re.MULTILINE)
NAMED = {test for _, tests in ROWS for test in re.findall(r"`([^`]+)`", tests)}


def test_every_row_names_tests() -> None:
    assert len(ROWS) > 45
    assert len(ROWS) == len(re.findall(r"^\| (?!the guide)[^-]", PAGE, re.MULTILINE))


def test_every_named_test_exists() -> None:
    """When a test gets another name, the page gets it as well."""
    assert sorted(test for test in NAMED if not exists(test)) == []
