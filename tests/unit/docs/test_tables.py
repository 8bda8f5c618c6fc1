"""The pages name what the code can answer: when this fails, add what is missing to its table in docs/."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from oms.api.problems import CODES
from oms.domain.orders import TRANSITIONS, OrderStatus
from oms.execution import book, sender, worth
from oms.risk import controls, gate
from oms.risk.limits import DEFAULTS

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "api.md").read_text()
LIMITS = (DOCS / "limits.md").read_text()
SIGNAL = (DOCS / "signal.md").read_text()


def test_every_problem_code_is_named() -> None:
    assert [code for code in CODES if f"`{code}`" not in PAGE] == []


def test_every_reject_code_is_named() -> None:
    source = "".join(inspect.getsource(module) for module in (controls, gate, book, sender, worth))
    codes = set(re.findall(r'"([A-Z]+_[A-Z_]+[A-Z]|HALTED)"', source)) - {"BROKER_HTTP_"}
    assert len(codes) >= 14
    assert sorted(code for code in codes if f"`{code}`" not in LIMITS) == []


def test_the_limits_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", LIMITS, re.MULTILINE)
    assert dict(rows) == DEFAULTS


def test_the_transitions_are_those_of_the_code() -> None:
    section = SIGNAL.partition("## Statuses")[2]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    told = {start: set(re.findall(r"`(\w+)`", ends)) for start, ends in rows}
    assert told == {str(start): {str(end) for end in ends} for start, ends in TRANSITIONS.items() if ends}


def test_the_diagram_of_statuses_draws_possible_ways() -> None:
    drawn = re.findall(r"^ +(\w+) --> (\w+)", SIGNAL.partition("## Statuses")[2], re.MULTILINE)
    assert len(drawn) >= 8
    assert [way for way in drawn if OrderStatus(way[1]) not in TRANSITIONS[OrderStatus(way[0])]] == []


def test_every_status_is_named() -> None:
    assert [status.value for status in OrderStatus if f"`{status.value}`" not in PAGE] == []
