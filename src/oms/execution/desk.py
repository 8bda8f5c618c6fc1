"""What the parts of a session share: the outside, and what the engine has in memory."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from uuid import UUID

from oms.execution.book import Book
from oms.execution.budget import RequestBudget
from oms.execution.journal import Journal
from oms.execution.market_time import MarketTime
from oms.execution.worth import Worth
from oms.ports import Broker, Clock, Ids, Prices, Store


@dataclass(frozen=True, slots=True)
class Outside:
    """What a session is given to reach the outside."""

    store: Store
    broker: Broker
    prices: Prices
    clock: Clock
    ids: Ids
    random: Random
    budget: RequestBudget


@dataclass(frozen=True, slots=True)
class Desk:
    """One session's own: its parts work on it and on each other, and on nothing else."""

    account_id: UUID
    epoch: int
    outside: Outside
    book: Book
    journal: Journal
    time: MarketTime
    worth: Worth
