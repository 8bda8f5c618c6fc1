"""The engine's life: find the account, become its one engine, trade, and start again after whatever ends a session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from oms.domain.errors import (
    BrokerError,
    BrokerUnauthorized,
    ConfigurationError,
    Fenced,
    StoreConflict,
    StoreUnavailable,
)
from oms.domain.instruments import Instrument
from oms.domain.reports import BrokerAccount
from oms.execution.desk import Outside
from oms.execution.session import LEASE_TTL_S, Session
from oms.execution.status import EngineStatus
from oms.ports import Row
from oms.waiting import happens, pause_s

log = structlog.get_logger(__name__)

REPORT_EVERY_S = 1.0
DRIFT_SHOWN = 20
CLOCK_OFFSET_S_MAX = 2.0  # beyond it the ages of signals and the times of orders are doubtful
UNAUTHORIZED_PAUSE_S = 10.0
STANDBY_PAUSE_S = 1.0
BACKOFF_S = (0.25, 5.0)
# A session that fails is followed by another soon: it does not ask for what was just answered, which would cost the
# requests that it needs for catching up.
ACCOUNT_HOLDS_S = 60.0
INSTRUMENTS_HOLD_S = 3600.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who trades: a hash of the key (None without keys), the broker's address, and a name for this engine."""

    key_hash: str | None
    address: str
    holder: str


Companions = Callable[[UUID, Session], Sequence[Coroutine[None, None, None]]]
"""What runs beside a session: signals from Redis, prices, valuing, telling."""


class Engine:
    """Runs sessions one after another. `status` and `session` are for whoever reports or feeds it."""

    def __init__(
        self, outside: Outside, identity: Identity, companions: Companions, more_detail: Callable[[], Row]
    ) -> None:
        self._outside = outside
        self._identity = identity
        self._companions = companions
        self._more_detail = more_detail
        self._changed = asyncio.Event()
        self._account_id: UUID | None = None
        self._error = ""
        self._account: tuple[float, datetime, BrokerAccount] | None = None  # monotonic, when, the answer
        self._instruments: tuple[float, Sequence[Instrument]] | None = None
        self.status = EngineStatus.STARTING
        self.session: Session | None = None
        self.started = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Trade until `stop` is set."""
        reporting = asyncio.ensure_future(self._report())
        try:
            await self._run(stop)
        finally:
            self._set(EngineStatus.STOPPED)
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
            await self._tell()

    def wake(self) -> None:
        """Something was accepted or asked."""
        if self.session is not None:
            self.session.wake()

    async def _run(self, stop: asyncio.Event) -> None:
        if self._identity.key_hash is None:
            self._set(EngineStatus.NOT_CONFIGURED)
            log.error("OMS is not configured: set ALPACA_API_KEY and ALPACA_API_SECRET, or ALPACA_API_KEY=mock")
            await stop.wait()
            return
        attempt = 0
        while not stop.is_set():
            began = self._outside.clock.monotonic()
            pause = await self._until(stop)
            attempt = 0 if self._outside.clock.monotonic() - began > BACKOFF_S[1] else attempt + 1
            await happens(stop, pause_s(self._outside.random, attempt, BACKOFF_S) if pause is None else pause)

    async def _until(self, stop: asyncio.Event) -> float | None:
        """One session; a stop that comes before it trades ends the waiting, later the session drains by itself."""
        life = asyncio.ensure_future(self._once(stop))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([life, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not life.done() and self.session is None:
                life.cancel()
            await asyncio.wait([life])
            return None if life.cancelled() else life.result()
        finally:
            life.cancel()
            stopping.cancel()
            await asyncio.gather(life, stopping, return_exceptions=True)

    async def _once(self, stop: asyncio.Event) -> float | None:
        """One session, or the reason why there is none; how long to wait before the next (None: back off)."""
        try:
            await self._session(stop)
        except BrokerUnauthorized as error:
            self._account = None
            self._fail(EngineStatus.UNAUTHORIZED, error)
            # People look for why it does not start with `docker compose logs app | grep -i oms`: these lines say OMS.
            log.error(
                "OMS cannot trade. The broker refuses the keys: check ALPACA_API_KEY and ALPACA_API_SECRET",
                reason=str(error),
            )
            return UNAUTHORIZED_PAUSE_S
        except BrokerError as error:
            self._fail(EngineStatus.RECONNECTING, error)
            log.warning("OMS waits for the broker", reason=str(error))
        except Fenced as error:
            self._fail(EngineStatus.STANDBY, error)
            log.error("fenced", reason=str(error))
            return STANDBY_PAUSE_S
        except (StoreUnavailable, StoreConflict) as error:
            self._fail(EngineStatus.RECONNECTING, error)
            log.error("OMS waits for the database", reason=str(error))
        except ConfigurationError as error:
            self._fail(EngineStatus.NOT_CONFIGURED, error)
            log.error("OMS is not configured", reason=str(error))
            return UNAUTHORIZED_PAUSE_S
        except Exception as error:
            self._fail(EngineStatus.RECONNECTING, error)
            log.exception("session_failed")
        finally:
            self.session = None
        return None

    async def _session(self, stop: asyncio.Event) -> None:
        store = self._outside.store
        account_id = await self._contact()
        await self._refresh_instruments()  # before the lease, which is short
        epoch = await self._become_the_engine(account_id, stop)
        if epoch is None:
            return
        try:
            working = await store.load(account_id)
            self._set(EngineStatus.STARTING)
            self.session = Session(self._outside, working, epoch, self._session_is)
            await self.session.run(stop, self._companions(account_id, self.session))
        finally:
            await self._release(account_id, epoch)

    async def _contact(self) -> UUID:
        """Ask the broker whose keys these are; when it is away, who they were last time."""
        store, identity = self._outside.store, self._identity
        assert identity.key_hash is not None  # noqa: S101 — _run has seen to it
        clock = self._outside.clock
        try:
            if self._account is None or clock.monotonic() > self._account[0] + ACCOUNT_HOLDS_S:
                self._account = (clock.monotonic(), clock.now(), await self._outside.broker.account())
        except BrokerUnauthorized:
            raise
        except BrokerError:
            known = await store.account_of_key(identity.key_hash)
            if known is None:
                raise
            self._account_id = known
        else:
            _, at, account = self._account
            self._account_id = await store.register_account(account, identity.key_hash, identity.address, at)
            log.info("account", number=account.number, equity=str(account.equity), address=identity.address)
        return self._account_id

    async def _become_the_engine(self, account_id: UUID, stop: asyncio.Event) -> int | None:
        while not stop.is_set():
            epoch = await self._outside.store.take_lease(account_id, self._identity.holder, LEASE_TTL_S)
            if epoch is not None:
                return epoch
            if self.status is not EngineStatus.STANDBY:
                log.info("standby: another engine has the account")
            self._set(EngineStatus.STANDBY)
            await happens(stop, STANDBY_PAUSE_S)
        return None

    async def _refresh_instruments(self) -> None:
        clock = self._outside.clock
        try:
            if self._instruments is None or clock.monotonic() > self._instruments[0] + INSTRUMENTS_HOLD_S:
                self._instruments = (clock.monotonic(), await self._outside.broker.instruments())
            await self._outside.store.save_instruments(self._instruments[1])
        except BrokerUnauthorized:
            raise
        except BrokerError as error:
            stored, _ = await self._outside.store.symbols()
            if not stored:
                raise  # at the first contact: without a list every signal would be refused as unknown
            log.warning("asset_list_kept", reason=str(error))

    async def _release(self, account_id: UUID, epoch: int) -> None:
        try:
            await self._outside.store.release_lease(account_id, epoch)
        except StoreUnavailable:
            log.warning("lease_not_released")  # it expires by itself

    def _session_is(self, status: EngineStatus) -> None:
        caught_up = self.session is not None and self.session.fulls > 0
        if status is EngineStatus.RUNNING or (status is EngineStatus.HALTED and caught_up):
            self._error = ""
            if not self.started.is_set():
                self.started.set()
                log.info("OMS execution engine started")
        self._set(status)

    def _fail(self, status: EngineStatus, error: Exception) -> None:
        self._error = f"{type(error).__name__}: {error}"
        self._set(status)

    def _set(self, status: EngineStatus) -> None:
        if status is not self.status:
            log.info("engine_status", status=str(status), before=str(self.status))
            self.status = status
            self._changed.set()

    # --- what health shows --------------------------------------------------------------------------------------------

    async def _report(self) -> None:
        while True:
            await self._tell()
            await happens(self._changed, REPORT_EVERY_S)
            self._changed.clear()

    async def _tell(self) -> None:
        key_hash = self._identity.key_hash or ""
        try:
            await self._outside.store.report(
                key_hash, self._account_id, str(self.status), self.detail(), self._outside.clock.now()
            )
        except StoreUnavailable:
            return  # health shows the heartbeat's age
        except Exception:  # the edge of the task: without it an engine that trades would look dead
            log.exception("report_failed")

    def detail(self) -> Mapping[str, object]:
        """What the engine knows of itself and of what is around it."""
        detail: dict[str, object] = {"error": self._error, "address": self._identity.address, **self._more_detail()}
        session = self.session
        if session is None:
            return detail
        now = self._outside.clock.monotonic()
        streaming = session.stream_since is not None
        last = session.last_update_at
        findings = session.reconciler.findings
        waiting, opened = session.dispatcher.waiting, session.book.open_orders()
        detail |= {
            "broker": {"ok": not session.rest_error, "error": session.rest_error},
            "account": {"ok": not session.dispatcher.account_trouble, "error": session.dispatcher.account_trouble},
            "sending": {"ok": not session.breaker.is_open, "error": session.breaker.trouble},
            "stream": {
                "connected": streaming,
                "last_message_age_s": None if last is None else round(now - last, 1),
                "reconnects": session.reconnects,
                "error": "" if streaming else session.last_error,
            },
            "budget": self._outside.budget.state(),
            "backlog": {
                "waiting": len(waiting),
                "in_flight": session.dispatcher.in_flight,
                "open_orders": len(opened),
                "outcome_unknown": sum(order.outcome_unknown for order in opened),
            },
            "reconciled_at": findings.at,
            "in_sync_at": findings.in_sync_at,
            "drift": {
                str(one.id): {
                    "kind": one.kind, "symbol": one.symbol, "cause": one.cause, "ours": one.ours, "broker": one.theirs,
                    "blocks": one.blocks,
                }
                for one in session.book.drift.unsettled[:DRIFT_SHOWN]
            },
            "clock": _clock(session.time.offset_s),
            "market_open": None if session.time.market is None else session.time.market.is_open,
        }  # fmt: skip
        if session.worth.halt is not None and session.worth.is_halted:
            halt = session.worth.halt
            detail["halt"] = {"at": halt.at, "by": halt.by, "reason": halt.reason}
        return detail


def _clock(offset_s: float) -> Row:
    """How far the broker's clock is ahead of ours."""
    ok = abs(offset_s) <= CLOCK_OFFSET_S_MAX
    way = "behind" if offset_s > 0 else "ahead of"
    error = f"this machine's clock is {abs(offset_s):.1f} s {way} the broker's: set it (NTP)"
    return {"ok": ok, "offset_s": round(offset_s, 3), "error": "" if ok else error}
