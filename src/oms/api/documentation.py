"""The OpenAPI document: FastAPI's, with the signal route, which is not FastAPI's, written in by hand."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from oms.api import schemas
from oms.api.signal_route import PATH, WAIT_S_MAX

DESCRIPTION = """Signals in, orders out. Every number is exact. Errors are RFC 9457 problem details, each with
a stable `code`.

A signal is answered after it has been committed. Sending it again with the same `signal_id` (or header
`Idempotency-Key`) is always safe: the same content answers the same order, other content 409.
"""
_EXAMPLES = {
    "Buy 10 shares of Apple": {
        "value": {"symbol": "AAPL", "side": "buy", "qty": 10, "reason": "Technical breakout"},
    },
    "Sell 0.1 Bitcoin": {
        "value": {"symbol": "BTCUSDT", "side": "sell", "qty": 0.1, "reason": "Take profit"},
    },
}


def document(app: FastAPI, *, with_token: bool) -> dict[str, Any]:
    """The OpenAPI document of the whole API."""
    found = get_openapi(title="Trademk1", version=app.version, description=DESCRIPTION, routes=app.routes)
    _, definitions = models_json_schema(
        [(model, "serialization") for model in (schemas.Accepted, schemas.ProblemDetails, schemas.SignalBody)],
        ref_template="#/components/schemas/{model}",
    )
    found.setdefault("components", {}).setdefault("schemas", {}).update(definitions.get("$defs", {}))
    found["components"]["schemas"]["SignalBody"]["additionalProperties"] = False
    paths = found["paths"]
    found["paths"] = {PATH: {"post": _signal()}, **paths}
    for operations in found["paths"].values():
        for operation in operations.values():
            _as_problems(operation["responses"])
    if with_token:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
    return found


def _signal() -> dict[str, Any]:
    codes = {
        "400": "Not JSON",
        "409": "The signal_id is taken by other content",
        "413": "Longer than 64 KiB",
        "415": "Another content type than JSON",
        "422": "A value is not valid: `errors` has each with field, code and reason",
        "503": "PostgreSQL is away, the account is not known yet, or keys are missing or refused",
    }
    wait = {"type": "number", "minimum": 0, "maximum": WAIT_S_MAX, "default": 0}
    return {
        "tags": ["signals"],
        "summary": "Submit a trade signal",
        "description": "Answered after the commit. With `wait`, when the order has been refused, sent or filled. A "
        "signal that was taken before is answered with its order and `Idempotent-Replayed: true`.",
        "operationId": "submit_signal",
        "parameters": [
            {"name": "wait", "in": "query", "schema": wait, "description": "Seconds to wait for the order's fate"},
            {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 100}},
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("SignalBody"), "examples": _EXAMPLES}},
        },
        "responses": {
            "202": {
                "description": "Accepted and stored",
                "headers": {"Location": {"schema": {"type": "string"}, "description": "The order"}},
                "content": {"application/json": {"schema": _ref("Accepted")}},
            },
            **{code: {"description": text, "content": _problem()} for code, text in codes.items()},
        },
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _problem() -> dict[str, Any]:
    return {"application/problem+json": {"schema": _ref("ProblemDetails")}}


def _as_problems(responses: dict[str, Any]) -> None:
    """Refusals are problems, FastAPI's own kind is not used."""
    for code, response in responses.items():
        if code.startswith(("4", "5")):
            response["content"] = _problem()
