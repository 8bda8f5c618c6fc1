"""The API as one ASGI application: the signal route by itself, everything else on FastAPI, security before both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from oms.api.decision_routes import decisions_router
from oms.api.documentation import document
from oms.api.health import Health, health_router
from oms.api.interactive import add_interactive_page
from oms.api.parameters import StrictRoute
from oms.api.probes import Probes
from oms.api.problems import problem_of
from oms.api.routes import events_router, trading_router
from oms.api.security import App, Receive, Scope, Security, Send
from oms.api.signal_route import PATH, SignalRoute
from oms.api.state import Dependencies, State
from oms.domain.errors import OmsError

__all__ = ["Api", "Dependencies", "create_app"]


class Api:
    """The ASGI application. `stop_waiting` lets long polls answer, before the server stops."""

    def __init__(self, app: App, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._app(scope, receive, send)

    def stop_waiting(self) -> None:
        """Let all who wait answer with what there is."""
        self._state.tail.stop()


def create_app(given: Dependencies) -> Api:
    """Build the application. Nothing is opened before it is served."""
    state = State(given)
    probes = Probes(given.redis_url, given.questdb_url)
    signal = SignalRoute(state)
    rest = _fastapi(state, probes, with_token=given.token is not None)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await signal(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "HEAD":  # GET without its body, which the server leaves out
            await _guarded(rest, {**scope, "method": "GET"}, receive, send)
        else:
            await _guarded(rest, scope, receive, send)

    secured = Security(dispatch, token=given.token, bound=given.host, hosts=given.allowed_hosts)
    return Api(secured, state)


def _fastapi(state: State, probes: Probes, *, with_token: bool) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await probes.close()

    app = FastAPI(
        title="Trademk1", version="0.1.0", lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.router.route_class = StrictRoute
    for kind in (OmsError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _problem)
    for router in (
        trading_router(state),
        decisions_router(state),
        events_router(state),
        health_router(state, Health(state, probes)),
    ):
        app.include_router(router)
    add_interactive_page(app)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, with_token=with_token)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


async def _problem(_: Request, error: Exception) -> Response:
    return problem_of(error).response()


async def _guarded(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """What FastAPI answers with 500 it also raises; it has been logged and answered, so the server need not hear it."""
    started = False

    async def noted(message: Any) -> None:
        nonlocal started
        started = True
        await send(message)

    try:
        await app(scope, receive, noted)
    except Exception:
        if scope["type"] != "http" or not started:
            raise
