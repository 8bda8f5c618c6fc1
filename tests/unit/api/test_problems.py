"""Errors become RFC 9457 problems in one place, and say nothing of the inside."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest

from oms.api.encoding import encode
from oms.api.problems import CODES, problem_of
from oms.domain.errors import AccountUnknown, InvalidInput, NotFound, SignalConflict, StoreUnavailable, Unavailable
from oms.signals.intake import OutcomeUnknown
from oms.signals.reader import InvalidSignal


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidInput("not_positive", "qty must be greater than 0", "qty"), 422, "not_positive"),
        (InvalidInput("not_json", "no", None), 400, "not_json"),
        (SignalConflict("s", "o"), 409, "signal_conflict"),
        (NotFound("no"), 404, "order_not_found"),
        (StoreUnavailable("password=secret"), 503, "store_unavailable"),
        (OutcomeUnknown(uuid4(), "s"), 503, "outcome_unknown"),
        (AccountUnknown("no"), 503, "account_unknown"),
        (Unavailable("secret"), 503, "unavailable"),
        (ZeroDivisionError("secret"), 500, "internal_error"),
    ],
)
def test_each_error_has_its_status_and_code(error: Exception, status: int, code: str) -> None:
    response = problem_of(error).response()
    body = msgspec.json.decode(response.body)
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "detail"} <= body.keys()
    assert b"secret" not in bytes(response.body)
    if status == 503:
        assert response.headers["retry-after"] == "2"


def test_all_refused_values_are_listed() -> None:
    error = InvalidSignal((InvalidInput("a", "first", "qty"), InvalidInput("b", "second", "side")))
    body = problem_of(error).body()
    assert (body["code"], body["field"], body["detail"]) == ("a", "qty", "first (and 1 more: see errors)")
    assert body["errors"] == [
        {"field": "qty", "code": "a", "reason": "first"},
        {"field": "side", "code": "b", "reason": "second"},
    ]


def test_every_code_has_a_title() -> None:
    assert all(400 <= status < 600 and title for status, title in CODES.values())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1E+2", "100"), ("10.50", "10.5"), ("0E-9", "0"), ("-0", "0"), ("1E-9", "0.000000001"), ("-1.10", "-1.1"),
        ("123456789012.123456789", "123456789012.123456789"), ("NaN", "null"),
    ],
)  # fmt: skip
def test_numbers_are_written_plainly_and_exactly(value: str, text: str) -> None:
    assert encode({"n": [Decimal(value)]}) == f'{{"n":[{text}]}}'.encode()
