"""Which error an answer is. Only what says so itself counts as a definite no."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from oms.broker.failures import failure, retry_after_s
from oms.domain.errors import (
    BrokerBusy,
    BrokerDuplicateId,
    BrokerError,
    BrokerNotFound,
    BrokerRefused,
    BrokerUnauthorized,
    BrokerUnknown,
)

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
HTML = b"<html><head><title>502 Bad Gateway</title></head></html>"


def body(code: int | None, message: str | None, **extras: str) -> bytes:
    fields = {"code": code, "message": message, **extras}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        # the keys
        (401, body(None, "unauthorized."), BrokerUnauthorized),
        (401, body(40110000, "request is not authorized"), BrokerUnauthorized),
        (401, HTML, BrokerUnauthorized),
        (403, body(None, "forbidden."), BrokerUnauthorized),
        (403, body(None, "Unauthorized"), BrokerUnauthorized),
        (403, body(40110000, "access key verification failed : access key not found"), BrokerUnauthorized),
        (403, body(None, "access key verification failed"), BrokerUnauthorized),
        (403, HTML, BrokerUnauthorized),
        (403, b"", BrokerUnauthorized),
        # refusals of orders
        (403, body(40310000, "insufficient buying power", buying_power="0"), BrokerRefused),
        (403, body(40310000, "account is not authorized to short"), BrokerRefused),
        (403, body(40310000, "potential wash trade detected. use complex orders"), BrokerRefused),
        (403, body(None, "subscription does not permit querying recent SIP data"), BrokerRefused),
        (422, body(42210000, 'order is already in "filled" state'), BrokerRefused),
        (422, body(40010001, "qty or notional is required"), BrokerRefused),
        (422, body(40010001, "client_order_id must be no more than 128 characters"), BrokerRefused),
        (422, body(None, "no code"), BrokerRefused),
        (422, HTML, BrokerRefused),
        (400, b"", BrokerRefused),
        (405, body(40510000, "method not allowed"), BrokerRefused),
        # the id is taken
        (422, body(40010001, "client_order_id must be unique"), BrokerDuplicateId),
        (422, body(40010001, "Client Order ID already exists"), BrokerDuplicateId),
        (422, body(42210000, "client_order_id must be unique"), BrokerRefused),
        # not there
        (404, body(40410000, "order not found for 61e69015-8549-4bfd-b9c3-01e75843f47d"), BrokerNotFound),
        (404, body(40410000, "endpoint not found"), BrokerUnknown),
        (404, body(40410000, "endpoint not found."), BrokerUnknown),
        (404, body(None, "Not Found"), BrokerUnknown),
        (404, body(None, "no Route matched with those values"), BrokerUnknown),
        (404, body(40400000, "something else"), BrokerRefused),
        (404, HTML, BrokerUnknown),
        (404, b"", BrokerUnknown),
        # too many
        (429, body(42910000, "rate limit exceeded"), BrokerBusy),
        (429, HTML, BrokerBusy),
        # nobody knows
        (408, body(None, "timeout"), BrokerUnknown),
        (500, body(50010000, "internal server error occurred"), BrokerUnknown),
        (502, HTML, BrokerUnknown),
        (503, b"", BrokerUnknown),
        (504, b"\xff\xfe", BrokerUnknown),
        (301, b"", BrokerUnknown),
        (303, HTML, BrokerUnknown),
        (520, b"[1, 2", BrokerUnknown),
        (500, b'"just text"', BrokerUnknown),
    ],
)
def test_an_answer_is_the_error_that_it_says(status: int, answer: bytes, expected: type[BrokerError]) -> None:
    assert type(failure(status, {}, answer, NOW, is_lookup=True)) is expected


def test_a_404_is_about_an_order_only_where_an_order_was_asked_for() -> None:
    answer = body(40410000, "symbol not found: XYZ")
    assert type(failure(404, {}, answer, NOW)) is BrokerRefused
    assert type(failure(404, {}, HTML, NOW)) is BrokerUnknown


def test_a_refusal_carries_code_message_and_extras() -> None:
    answer = body(40310000, "insufficient qty available", available="5", symbol="AAPL")
    error = failure(403, {}, answer, NOW)
    assert isinstance(error, BrokerRefused)
    assert (error.status, error.code, error.message) == (403, 40310000, "insufficient qty available")
    assert error.extras == {"available": "5", "symbol": "AAPL"}


def test_an_html_page_becomes_a_short_text() -> None:
    assert str(failure(502, {"X-Request-ID": "r-7"}, HTML * 100, NOW)).startswith(
        "an answer that is not JSON: '502 Bad Gateway"
    )
    assert len(str(failure(502, {"X-Request-ID": "r-7"}, HTML * 100, NOW))) < 200
    assert "request r-7" in str(failure(502, {"X-Request-ID": "r-7"}, HTML, NOW))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "7", "X-RateLimit-Reset": "99"}, 7.0),
        ({"Retry-After": "Wed, 01 Jul 2026 12:00:09 GMT"}, 9.0),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 12)}, 12.0),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) - 12)}, 0.0),
        # the broker's clock is an hour ahead of ours: its own date counts
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 3612), "Date": "Wed, 01 Jul 2026 13:00:00 GMT"}, 12.0),
        ({"Retry-After": "soon"}, None),
        ({"X-RateLimit-Reset": "never"}, None),
        ({}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, NOW) == expected
