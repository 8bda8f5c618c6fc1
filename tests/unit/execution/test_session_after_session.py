"""The engine over sessions that fail one after the other, in virtual time and within the budget of requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any
from uuid import UUID, uuid4

from tests.simulation.loop import SimLoop
from tests.unit.execution.scripted import ACCOUNT, Prices, Store
from tests.unit.execution.test_requests_a_minute import PER_MINUTE, Counting, VirtualClock, run_virtual

from oms.domain.errors import BrokerUnauthorized, StoreUnavailable
from oms.domain.instruments import Instrument
from oms.domain.reports import BrokerAccount
from oms.domain.values import AssetClass
from oms.execution.budget import RequestBudget
from oms.execution.desk import Outside
from oms.execution.engine import Engine, Identity
from oms.execution.status import EngineStatus
from oms.ports import AccountRecord, Configs, Purpose, WorkingSet

AAPL = Instrument("AAPL", AssetClass.STOCK, "1")


class Asked(Counting):
    """Counts the questions of a beginning, too; refuses the keys when told."""

    keys_work = True

    async def account(self) -> BrokerAccount:
        if not self.keys_work:
            raise BrokerUnauthorized(401, None, "no such key")
        return await super().account()

    async def instruments(self, *_: object) -> Sequence[Any]:
        for _each_class in range(2):
            await self._request(Purpose.RECONCILE, "assets")
        return [AAPL]


class Record(Store):
    """One account, whose lease is always free. `is_away`: PostgreSQL is."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self.is_away = False

    async def register_account(self, *_: object) -> UUID:
        if self.is_away:
            raise StoreUnavailable("away")
        return ACCOUNT

    async def take_lease(self, *_: object) -> int:
        return 1

    async def renew_lease(self, *_: object) -> None:
        if self.is_away:
            raise StoreUnavailable("away")

    async def load(self, _: UUID) -> WorkingSet:
        now = self._clock.now()
        return WorkingSet(AccountRecord(ACCOUNT, "b", now, now), [], [], [], Configs(1, {}), {}, [AAPL])

    async def nothing(self, *_: object) -> None: ...

    release_lease = save_instruments = report = nothing  # type: ignore[assignment]


def test_postgresql_may_fail_three_times_in_a_minute() -> None:
    """Each session catches up with seven requests of thirty-five, and asks for nothing that was just answered."""

    async def scenario(loop: SimLoop) -> None:
        clock = VirtualClock(loop)
        budget = RequestBudget(PER_MINUTE, clock)
        broker, store, stop = Asked(budget, clock), Record(clock), asyncio.Event()
        outside = Outside(store, broker, Prices(), clock, uuid4, Random(1), budget)  # type: ignore[arg-type]
        engine = Engine(outside, Identity("hash", "address", "holder"), lambda *_: [], dict)

        async def until(status: EngineStatus, within_s: float) -> None:
            async with asyncio.timeout(within_s):
                while engine.status is not status:
                    await asyncio.sleep(0.05)

        living = asyncio.ensure_future(engine.run(stop))
        await until(EngineStatus.RUNNING, 10)
        for _ in range(3):
            await asyncio.sleep(3)
            store.is_away = True
            await until(EngineStatus.RECONNECTING, 10)
            await asyncio.sleep(3)
            store.is_away = False
            await until(EngineStatus.RUNNING, 10)
        asked = Counter(what for _, _, what in broker.sent)
        assert asked["assets"] == 2
        assert asked["fees"] == 4
        assert broker.in_any_minute(Purpose.RECONCILE) <= 35
        broker.keys_work = False
        await asyncio.sleep(60)
        store.is_away = True  # the next session begins with the keys
        await until(EngineStatus.UNAUTHORIZED, 30)
        stop.set()
        await living

    run_virtual(scenario)
