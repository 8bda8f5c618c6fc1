"""The broker without its API: the one function that puts its parts together, for the application and for tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from paperbroker.assets import Assets
from paperbroker.clock import Clock, Hours
from paperbroker.days import Days
from paperbroker.desk import Desk
from paperbroker.displayed import Displayed
from paperbroker.executions import Executions
from paperbroker.faults import Faults
from paperbroker.floor import Floor, Timers
from paperbroker.groups import Groups
from paperbroker.ledger import Ledger
from paperbroker.matching import Dice
from paperbroker.prices.market import Prices
from paperbroker.replacing import Replacing
from paperbroker.store import Store

Fills = Literal["paper", "displayed"]
_NOTHING: Mapping[str, Decimal] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Core:
    """The parts, wired. `start` goes on where the store left off."""

    clock: Clock
    hours: Hours
    assets: Assets
    prices: Prices
    store: Store
    ledger: Ledger
    executions: Executions
    groups: Groups
    floor: Floor
    days: Days
    desk: Desk
    replacing: Replacing
    faults: Faults

    def start(self) -> None:
        """Call it once, before serving."""
        self.replacing.resume(self.desk.resume())
        self.days.start()


def build_core(
    folder: Path,
    *,
    clock: Clock,
    timers: Timers,
    assets: Assets,
    prices: Prices,
    hours: Hours = "all",
    seed: int = 1,
    fills: Fills = "paper",
    opening: Mapping[str, Decimal] = _NOTHING,
) -> Core:
    """Open the store and wire the parts; `opening` is what a fresh account holds. Raises sqlite3.Error, OSError."""
    store, faults = Store(folder), Faults()
    ledger = Ledger(clock, assets, prices, store, opening)
    groups = Groups(assets, ledger)
    dice = Dice(seed)
    executions = Executions(clock=clock, assets=assets, prices=prices, store=store, ledger=ledger)
    floor = Floor(
        clock=clock,
        hours=hours,
        assets=assets,
        prices=prices,
        ledger=ledger,
        groups=groups,
        executions=executions,
        dice=dice,
        timers=timers,
        displayed=Displayed() if fills == "displayed" else None,
        faults=faults,
    )
    floor.halted.update(str(symbol) for (symbol,) in store.read("select symbol from halts"))
    days = Days(
        clock=clock, hours=hours, assets=assets, prices=prices, store=store, ledger=ledger, floor=floor, timers=timers
    )
    desk = Desk(clock=clock, hours=hours, prices=prices, store=store, ledger=ledger, floor=floor, groups=groups)
    replacing = Replacing(
        desk=desk,
        assets=assets,
        prices=prices,
        ledger=ledger,
        floor=floor,
        groups=groups,
        dice=dice,
        timers=timers,
        faults=faults,
    )
    return Core(clock, hours, assets, prices, store, ledger, executions, groups, floor, days, desk, replacing, faults)
