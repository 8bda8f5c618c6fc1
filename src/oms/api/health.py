"""How the OMS is: the engine by its own last words, the servers by asking them; both at most a second old."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from oms.api.encoding import ExactResponse
from oms.api.parameters import StrictRoute
from oms.api.probes import NOT_CONFIGURED, OK, Probes
from oms.api.refreshed import Refreshed
from oms.api.state import State
from oms.domain.alerts import ReceiverState
from oms.domain.errors import StoreUnavailable

AGE_S_MAX = 1.0
HEARTBEAT_S_MAX = 5.0
STORE_S_MAX = 2.0
# What the engine knows and tells in `engines.detail`; passed on as it is.
OF_ENGINE = ("broker", "account", "sending", "stream", "prices", "budget", "feed", "drift", "clock")
# Signals are accepted, and an engine will deal with them, if only by refusing (halted).
READY = frozenset({"running", "reconnecting", "cancel_only", "halted"})


@dataclass(frozen=True, slots=True)
class Stored:
    """What PostgreSQL says: whether it answers, `execution_engine_status`, and what the engine left there."""

    postgresql: str
    engine: str
    heartbeat_at: datetime | None = None
    account_known: bool = False
    backlog: tuple[int, int] | None = None  # pending, outcome unknown
    detail: Mapping[str, msgspec.Raw] = field(default_factory=dict)
    receivers: Sequence[ReceiverState] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The state of everything at one moment."""

    at: datetime
    redis: str
    questdb: str
    stored: Stored
    names: Mapping[str, str] = field(default_factory=dict)
    local: Mapping[str, str] = field(default_factory=dict)

    @property
    def heartbeat_age_s(self) -> float | None:
        """Seconds since the engine last reported."""
        at = self.stored.heartbeat_at
        return None if at is None else round((self.at - at).total_seconds(), 3)

    @property
    def lines(self) -> dict[str, str]:
        """One line for each part; `ok` or what is the matter."""
        detail = self.stored.detail
        told: dict[str, str | None] = {}
        if self.stored.engine != "stopped":  # else its last words are old
            told = {name: _told(name, detail[name]) for name in OF_ENGINE if name in detail}
        return {
            "postgresql": self.stored.postgresql,
            "redis": self.redis,
            "questdb": self.questdb,
            "engine": OK if self.stored.engine == "running" else self.stored.engine,
            **{name: line for name, line in told.items() if line is not None},
            **({"alerts": self.alerts} if self.receivers else {}),
            **self.local,
        }

    @property
    def receivers(self) -> dict[str, ReceiverState]:
        """Those that alerts go to, by what people are told of them."""
        return {self.names[one.receiver]: one for one in self.stored.receivers if one.receiver in self.names}

    @property
    def alerts(self) -> str:
        """Whether all of them take what they are sent."""
        failing = [
            f"{name} has not taken {one.waiting} since {one.failing_since:%H:%M:%S} UTC: {one.last_error}"
            for name, one in self.receivers.items()
            if one.failing_since is not None
        ]
        return "; ".join(failing) or OK

    @property
    def status(self) -> str:
        """`ok`, `degraded`, or `down` when signals cannot be accepted."""
        stored = self.stored
        if stored.postgresql != OK or not stored.account_known or stored.engine == "unauthorized":
            return "down"
        calm = {OK, NOT_CONFIGURED}
        return OK if all(line in calm for line in self.lines.values()) else "degraded"

    @property
    def missing(self) -> list[str]:
        """What stands between a signal and an engine that deals with it; empty when ready."""
        if self.stored.postgresql != OK:
            return [f"postgresql {self.stored.postgresql}"]
        missing = [] if self.stored.engine in READY else [f"the engine is {self.stored.engine}"]
        return missing if self.stored.account_known else [*missing, "the account is not known yet"]


class Health:
    """Makes reports, one at a time."""

    def __init__(self, state: State, probes: Probes) -> None:
        self._state = state
        self._probes = probes
        self.report = Refreshed(self._look, AGE_S_MAX, state.clock.monotonic)

    async def _look(self) -> Report:
        redis, questdb, stored = await asyncio.gather(self._probes.redis(), self._probes.questdb(), self._stored())
        state = self._state
        local = {"intake": state.intake.trouble or OK, **state.local()}
        return Report(state.clock.now(), redis, questdb, stored, state.receivers, local)

    async def _stored(self) -> Stored:
        state = self._state
        configured = state.accounts.is_configured
        try:
            async with asyncio.timeout(STORE_S_MAX):
                key = await state.accounts.load()
                backlog = None if key.account_id is None else await state.queries.backlog(key.account_id)
                receivers = await state.queries.receivers(state.key_hash) if state.receivers and state.key_hash else ()
        except (StoreUnavailable, TimeoutError):
            # What an engine says in such a time, which cannot be read where it writes it.
            return Stored("does not answer", "reconnecting" if configured else NOT_CONFIGURED)
        age_s = None if key.heartbeat_at is None else (state.clock.now() - key.heartbeat_at).total_seconds()
        engine = key.status if key.status and age_s is not None and age_s <= HEARTBEAT_S_MAX else "stopped"
        return Stored(
            OK,
            engine if configured else NOT_CONFIGURED,
            key.heartbeat_at,
            key.account_id is not None,
            backlog,
            msgspec.json.decode(key.detail, type=dict[str, msgspec.Raw]),
            receivers,
        )


def health_router(state: State, health: Health) -> APIRouter:
    """The routes of health. Always 200 with a body, but for /readyz."""
    router = APIRouter(route_class=StrictRoute, tags=["health"])

    @router.get("/api/health")
    async def brief() -> Response:
        """ok, degraded or down, with one line for each part."""
        report = await health.report.get()
        return ExactResponse({"status": report.status, "checks": report.lines, "time": report.at})

    @router.get("/api/health/detailed")
    async def detailed() -> Response:
        """Everything: the engine's status and what it last told, the servers, the backlog."""
        report = await health.report.get()
        return ExactResponse(_detailed(report, state))

    @router.get("/livez")
    async def live() -> Response:
        """The API runs."""
        return ExactResponse({"status": OK})

    @router.get("/readyz")
    async def ready() -> Response:
        """Signals are accepted and an engine deals with them; else 503 with what is missing."""
        missing = (await health.report.get()).missing
        if missing:
            return ExactResponse({"status": "not_ready", "missing": missing}, 503, {"Retry-After": "2"})
        return ExactResponse({"status": OK})

    return router


def _detailed(report: Report, state: State) -> dict[str, object]:
    stored, detail = report.stored, report.stored.detail
    pending, unknown = stored.backlog or (None, None)
    own = {name: detail[name] for name in OF_ENGINE if name in detail}
    return {
        "status": report.status,
        "execution_engine_status": stored.engine,
        "engine": {
            "heartbeat_at": stored.heartbeat_at,
            "heartbeat_age_s": report.heartbeat_age_s,
            "account_known": stored.account_known,
        },
        "components": {
            "postgresql": {"status": stored.postgresql},
            "redis": {"status": report.redis, "signals_not_published": state.intake.unpublished},
            "questdb": {"status": report.questdb, "engine": detail.get("questdb")},
            "backlog": {
                "pending_orders": pending,
                "outcome_unknown": unknown,
                "waiting_for_commit": state.intake.waiting,
                "engine": detail.get("backlog"),
            },
            "alerts": {"status": report.alerts if report.names else NOT_CONFIGURED, "receivers": _receivers(report)},
            **own,
            **{name: {"status": line} for name, line in report.local.items()},
            "intake": {"status": report.local["intake"], "refused": state.intake.refused},
        },
        "other": {name: value for name, value in detail.items() if name not in {*OF_ENGINE, "questdb", "backlog"}},
        "time": report.at,
    }


def _receivers(report: Report) -> list[dict[str, object]]:
    return [
        {
            "receiver": name,
            "delivered": one.delivered,
            "waiting": one.waiting,
            "failures": one.failures,
            "last_error": one.last_error,
            "failing_since": one.failing_since,
            "delivered_at": one.delivered_at,
        }
        for name, one in report.receivers.items()
    ]


def _told(name: str, component: msgspec.Raw) -> str | None:
    """The line of a part that the engine told of: by its `ok` or `connected`, with `error`; drift by its symbols."""
    told = msgspec.json.decode(component)
    if not isinstance(told, dict):
        return None
    if name == "drift":
        return _drift(told)
    well = told.get("ok", told.get("connected"))
    if well is None:
        return None
    return OK if well else str(told.get("error") or "not connected")


def _drift(told: Mapping[str, object]) -> str:
    if not told:
        return OK
    open_ones = [one for one in told.values() if isinstance(one, dict)]
    blocked = sorted({str(one["symbol"]) for one in open_ones if one.get("blocks")})
    if blocked:
        return f"differs from the broker; blocked for orders that increase risk: {', '.join(blocked)} (oms drift)"
    return f"differs from the broker for {', '.join(sorted({str(one.get('symbol')) for one in open_ones}))} (oms drift)"
