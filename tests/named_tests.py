"""Looks up tests by the names under which pages and lists mention them."""

from __future__ import annotations

import ast
from functools import cache

from tests.stack import ROOT


def exists(test: str) -> bool:
    """Whether `tests/file.py::test_name` is a test function of that file."""
    file, _, name = test.partition("::")
    return name in _tests(file)


@cache
def _tests(file: str) -> frozenset[str]:
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    found = ast.walk(ast.parse(path.read_text()))
    return frozenset(
        node.name
        for node in found
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )
