"""What people decide: halt and resume, and what becomes of differences between the record and the broker."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.responses import Response

from oms.api import schemas
from oms.api.encoding import ExactResponse
from oms.api.parameters import StrictRoute
from oms.api.problems import Problem
from oms.api.state import State
from oms.domain.drift import DriftState
from oms.storage.queries import CommandState

ACKNOWLEDGED_WITHIN_S = 8.0  # a halt waits for what is on the wire; adopting asks the broker
POLL_S = 0.02
ID_MAX = 2**63 - 1

Text = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
DriftId = Annotated[int, InPath(ge=1, le=ID_MAX, description="The difference's id")]


class Decision(BaseModel):
    """Who decides, and why: both are kept."""

    model_config = ConfigDict(extra="forbid")
    reason: Text
    by: Name = "api"


Decided = Annotated[Decision, Body()]


def decisions_router(state: State) -> APIRouter:
    """The routes of drift and halt, under /api/v1/trading."""
    router = APIRouter(
        prefix="/api/v1/trading", route_class=StrictRoute, responses=schemas.PROBLEMS, tags=["decisions"]
    )
    answered: dict[int | str, dict[str, Any]] = {202: {"model": schemas.Decided}}

    @router.get("/drift", responses={200: {"model": schemas.DriftLedger}})
    async def drift(
        open: Annotated[bool, Query(description="Only those that nobody has accepted")] = False,  # noqa: A002
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        before: Annotated[int | None, Query(ge=1, le=ID_MAX, description="Those with a smaller id")] = None,
    ) -> Response:
        """Every difference between the record and the broker, newest first, and since when all agrees."""
        account_id = await state.accounts.current()
        states = (DriftState.OPEN,) if open else tuple(DriftState)
        rows = await state.decisions.drift(account_id, states=states, before=before, limit=limit)
        standing = await state.decisions.standing(account_id)
        return ExactResponse({"in_sync_as_of": standing.in_sync_at, "drift": rows})

    @router.post("/drift/{drift_id}/adopt", status_code=202, responses=answered)
    async def adopt(drift_id: DriftId, decision: Decided) -> Response:
        """The broker's quantity counts: the difference is booked as a correction, once."""
        return await _ask(state, "drift_adopt", decision, {"drift_id": drift_id})

    @router.post("/drift/{drift_id}/ignore", status_code=202, responses=answered)
    async def ignore(drift_id: DriftId, decision: Decided) -> Response:
        """The difference is accepted as it is; it blocks nothing until it changes."""
        return await _ask(state, "drift_ignore", decision, {"drift_id": drift_id})

    @router.get("/halt", responses={200: {"model": schemas.Halt}})
    async def halt_state() -> Response:
        """Whether trading is halted, and who last decided so."""
        halt = (await state.decisions.standing(await state.accounts.current())).halt
        return ExactResponse(
            {
                "halted": halt is not None and halt.is_on,
                "at": halt and halt.at,
                "by": halt and halt.by,
                "reason": halt and halt.reason,
            }
        )

    @router.post("/halt", status_code=202, responses=answered)
    async def halt(decision: Decided) -> Response:
        """Send nothing new until somebody resumes; cancels pass. The answer names what was on the wire."""
        return await _ask(state, "halt", decision, {})

    @router.post("/resume", status_code=202, responses=answered)
    async def resume(decision: Decided) -> Response:
        """Trade again after a halt."""
        return await _ask(state, "resume", decision, {})

    return router


async def _ask(state: State, kind: str, decision: Decision, more: dict[str, object]) -> Response:
    account_id, command_id = await state.accounts.current(), state.ids()
    data = {**more, "by": decision.by, "reason": decision.reason}
    await state.decisions.ask(command_id, account_id, kind, data, state.clock.now())
    command = await acknowledged(state, command_id, ACKNOWLEDGED_WITHIN_S)
    if command.outcome == "refused":
        raise Problem("command_refused", command.message or "The engine refused it.")
    answer = {
        "status": "accepted",
        "id": command_id,
        "acknowledged": command.done,
        "outcome": command.outcome,
        "message": command.message or "The engine has not taken it up yet; it is kept.",
    }
    return ExactResponse(answer, 202)


async def acknowledged(state: State, command_id: UUID, within_s: float) -> CommandState:
    """What the engine has made of a command, as soon as it has, or after so long."""
    until = state.clock.monotonic() + within_s
    while True:
        command = await state.queries.command(command_id)
        if command.done or state.clock.monotonic() >= until or state.tail.stopping:
            return command
        await asyncio.sleep(POLL_S)
