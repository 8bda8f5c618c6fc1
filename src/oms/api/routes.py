"""Orders, positions, the portfolio, events and signal errors, over FastAPI."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from oms.api import schemas, shapes
from oms.api.decision_routes import acknowledged
from oms.api.encoding import ExactResponse
from oms.api.parameters import StrictRoute, cursor_of, order_id_of, place_of, statuses_of, time_of
from oms.api.problems import Problem
from oms.api.state import State
from oms.domain.errors import AccountUnknown, NotFound
from oms.domain.orders import OrderStatus
from oms.storage.queries import OrderFilter

CANCEL_WAIT_S = 5.0
SEQ_MAX = 2**63 - 1

OrderId = Annotated[str, Path(description="The order's id")]
Seq = Annotated[int, Query(ge=0, le=SEQ_MAX, description="Events after this sequence")]
Limit = Annotated[int, Query(ge=1, le=500)]
Wait = Annotated[float, Query(ge=0, le=30, allow_inf_nan=False, description="Seconds to wait where there are none yet")]
Statuses = Annotated[list[str], Query(description="One or more, separated by commas; canceled is understood")]
Symbol = Annotated[str | None, Query(description="Any spelling: AAPL, BTCUSDT, btc/usd")]
Since = Annotated[str | None, Query(description="ISO time with zone, or a date (UTC)")]
Cursor = Annotated[str | None, Query(description="From the Link header of the page before")]
Answers = dict[int | str, dict[str, Any]]


def trading_router(state: State) -> APIRouter:
    """The routes under /api/v1/trading, but for the signal."""
    router = APIRouter(prefix="/api/v1/trading", route_class=StrictRoute, responses=schemas.PROBLEMS)

    @router.get("/orders", tags=["orders"], responses=_list_of(schemas.Order, "Newest first; the next page in Link"))
    async def orders(
        request: Request,
        status: Statuses = [],  # noqa: B006 — FastAPI copies it
        symbol: Symbol = None,
        since: Since = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """Orders, newest first."""
        account_id = await state.accounts.current()
        wanted = OrderFilter(statuses_of(status), await _canonical(state, symbol), time_of(since), place_of(cursor))
        rows = await state.queries.orders(account_id, wanted, limit + 1)
        page = rows[:limit]
        headers = {}
        if len(rows) > limit:
            place = cursor_of(page[-1]["created_at"], page[-1]["seq"])
            headers["Link"] = f'<{request.url.include_query_params(cursor=place)}>; rel="next"'
        return ExactResponse([shapes.order_of_row(row) for row in page], headers=headers)

    @router.get("/orders/{order_id}", tags=["orders"], responses={200: {"model": schemas.OrderWithTrail}})
    async def order(order_id: OrderId) -> Response:
        """One order with its events and fills."""
        wanted = order_id_of(order_id)
        found = await state.queries.order_with_trail(await state.accounts.current(), wanted)
        if found is None:
            raise NotFound(f"There is no order {wanted}.")
        row, events, fills = found
        trail = {"events": [shapes.event_of_row(event) for event in events], "fills": fills}
        return ExactResponse({**shapes.order_of_row(row), **trail})

    @router.delete(
        "/orders/{order_id}", tags=["orders"], status_code=202, responses={202: {"model": schemas.Cancelling}}
    )
    async def cancel(order_id: OrderId) -> Response:
        """Ask for an order's cancel; answers when the engine has taken it up, or after 5 s. Only an event ends it."""
        return await _cancel(state, await state.accounts.current(), order_id_of(order_id))

    @router.get("/positions", tags=["positions"], responses=_list_of(schemas.Position, "By symbol"))
    async def positions(include_closed: bool = False) -> Response:
        """Open positions; closed ones too where asked for."""
        account_id = await state.accounts.current()
        return ExactResponse(await state.queries.positions(account_id, include_closed=include_closed))

    @router.get("/portfolio", tags=["positions"], responses={200: {"model": schemas.Portfolio}})
    async def portfolio() -> Response:
        """The account's money, profit and loss, and open positions."""
        found = await state.queries.portfolio(await state.accounts.current())
        if found is None:
            raise AccountUnknown("The account is not stored.")
        return ExactResponse(shapes.portfolio(*found))

    @router.get("/signal-errors", tags=["signals"], responses=_list_of(schemas.SignalError, "Newest first"))
    async def signal_errors(
        limit: Limit = 100, before: Annotated[int | None, Query(ge=1, le=SEQ_MAX)] = None
    ) -> Response:
        """Signals from Redis that could not become orders, with the reason."""
        return ExactResponse(await state.queries.signal_errors(await state.accounts.current(), before, limit))

    return router


def events_router(state: State) -> APIRouter:
    """The feed of events."""
    router = APIRouter(route_class=StrictRoute, responses=schemas.PROBLEMS)

    @router.get("/api/v1/events", tags=["events"], responses=_list_of(schemas.Event, "In order, without gaps"))
    async def events(after: Seq = 0, wait: Wait = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 500) -> Response:
        """Events of all orders after a sequence; answers at once where there are any, else after `wait` seconds."""
        account_id = await state.accounts.current()
        rows = await state.queries.events(account_id, after, limit)
        if not rows and wait:
            until = state.clock.monotonic() + wait
            with state.tail.watch(account_id, None, after) as watch:
                while not (rows := await state.queries.events(account_id, after, limit)):
                    if not await watch.changed(until - state.clock.monotonic()):
                        break
        return ExactResponse([shapes.event_of_row(row) for row in rows])

    return router


def _list_of(model: type[schemas.Shape], description: str) -> Answers:
    return {200: {"model": list[model], "description": description}}  # type: ignore[valid-type]


async def _canonical(state: State, symbol: str | None) -> str | None:
    """A symbol filter in the inside form. Raises InvalidInput for what no symbol can be; an unlisted one finds none."""
    return None if symbol is None else (await state.symbols.get()).canonical(symbol)


async def _cancel(state: State, account_id: UUID, order_id: UUID) -> Response:
    order = await state.queries.order(account_id, order_id)
    if order is None:
        raise NotFound(f"There is no order {order_id}.")
    _must_be_open(order["status"], order_id)
    command_id = await state.queries.cancel(state.ids(), account_id, order_id, state.clock.now())
    state.intake.wake({"order_id": str(order_id), "command": "cancel"})
    command = await acknowledged(state, command_id, CANCEL_WAIT_S)
    order = await state.queries.order(account_id, order_id) or order
    if command.outcome == "refused":
        _must_be_open(order["status"], order_id)
        raise Problem("cancel_refused", command.message or "The engine refused the cancel.")
    answer = {
        "status": "accepted",
        "id": order_id,
        "order": shapes.order_of_row(order),
        "acknowledged": command.done,
        "outcome": command.outcome,
        "message": command.message or (None if command.done else "The engine has not taken it up yet; it is kept."),
    }
    return ExactResponse(answer, 202)


def _must_be_open(status: str, order_id: UUID) -> None:
    if OrderStatus(status).is_final:
        detail = f"Order {order_id} is {status} and cannot be cancelled any more."
        raise Problem("order_not_open", detail, extra={"order_status": status})
