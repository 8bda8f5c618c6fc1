"""docs/api.md names what the code can answer: when this fails, add the code to its table there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from oms.api.problems import CODES
from oms.domain.orders import OrderStatus
from oms.execution import book, sender
from oms.risk import controls, gate

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text()


def test_every_problem_code_is_named() -> None:
    assert [code for code in CODES if f"`{code}`" not in PAGE] == []


def test_every_reject_code_is_named() -> None:
    source = "".join(inspect.getsource(module) for module in (controls, gate, book, sender))
    codes = set(re.findall(r'"([A-Z]+_[A-Z_]+[A-Z])"', source)) - {"BROKER_HTTP_"}
    assert len(codes) >= 14
    assert sorted(code for code in codes if f"`{code}`" not in PAGE) == []


def test_every_status_is_named() -> None:
    assert [status.value for status in OrderStatus if f"`{status.value}`" not in PAGE] == []
