"""Every command that README and docs/ show is run by a test: none is left out, and no list is older than the pages."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import pytest
from tests.acceptance.docs.commands import PAGES, Command, commands, unmarked_blocks
from tests.acceptance.docs.where import CANNOT, CI, ELSEWHERE, STAYS, Way, way_of
from tests.named_tests import exists
from tests.stack import ROOT

ALL = [command for page in PAGES for command in commands(page)]
COMPOSE_TESTS = {
    line
    for file in (ROOT / "tests" / "compose").glob("*.py")
    for node in ast.walk(ast.parse(file.read_text()))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
    for line in (node.value.removeprefix("exec "), *node.value.splitlines())
}


def test_the_pages_have_commands() -> None:
    assert len(ALL) > 60
    assert {way_of(command) for command in ALL} == set(Way)


def test_commands_are_in_blocks_marked_bash() -> None:
    """Else nobody runs them: write ```bash."""
    assert [block for page in PAGES for block in unmarked_blocks(page)] == []


def test_docker_commands_are_run_by_compose_test() -> None:
    """When this fails, run the new command in a test of tests/compose."""
    wanted = [command for command in ALL if way_of(command) is Way.DOCKER]
    assert len(wanted) > 20
    assert [str(command) for command in wanted if command.text not in COMPOSE_TESTS] == []


@pytest.mark.parametrize("listed", [STAYS, CI, ELSEWHERE, CANNOT])
def test_no_list_names_a_command_that_no_page_shows(listed: Mapping[str, str]) -> None:
    shown = {command.text for command in ALL}
    assert [text for text in listed if text not in shown] == []


def test_the_tests_that_run_commands_exist() -> None:
    assert [test for test in ELSEWHERE.values() if not exists(test)] == []


def test_lines_are_joined_and_comments_dropped() -> None:
    page = ROOT / "docs" / "guide.md"
    found = commands(page)
    buy = next(command for command in found if "Technical breakout" in command.text)
    assert buy.text.startswith("curl -X POST")
    assert buy.text.endswith("}'")
    assert page.read_text().splitlines()[buy.line - 1].startswith("curl -X POST")
    assert Command("docs/guide.md", 0, "bash", "make up").text in {command.text for command in found}
