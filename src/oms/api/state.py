"""What the API is made of: its dependencies, given by `bootstrap`, and what all routes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from oms.api.accounts import Accounts
from oms.api.refreshed import Refreshed
from oms.api.tail import Tail
from oms.domain.instruments import Symbols
from oms.ports import Clock, Ids
from oms.signals.intake import Intake
from oms.storage.decisions import Decisions
from oms.storage.queries import Queries

SYMBOLS_AGE_S_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the API needs. `intake.run()` runs beside it. `key_hash` is None where no complete key is configured.

    `redis_url` and `questdb_url` (HTTP) are only probed, for health. `host` is the address that is listened on.
    `receivers` are those of alerts: their ids in the record, and what people are told of them. `local` gives lines
    for health of what this machine alone knows: its disk, and the works of `oms up` (backups, snapshots) that fail.
    """

    queries: Queries
    decisions: Decisions
    intake: Intake
    clock: Clock
    ids: Ids
    key_hash: str | None
    redis_url: str | None = None
    questdb_url: str | None = None
    token: str | None = None
    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    receivers: Mapping[str, str] = field(default_factory=dict)
    local: Callable[[], Mapping[str, str]] = dict


class State:
    """What the routes share."""

    def __init__(self, given: Dependencies) -> None:
        self.queries = given.queries
        self.decisions = given.decisions
        self.intake = given.intake
        self.clock = given.clock
        self.ids = given.ids
        self.key_hash = given.key_hash
        self.receivers = given.receivers
        self.local = given.local
        self.accounts = Accounts(given.queries, given.key_hash, given.clock.monotonic)
        self.symbols: Refreshed[Symbols] = Refreshed(given.queries.symbols, SYMBOLS_AGE_S_MAX, given.clock.monotonic)
        self.tail = Tail(given.queries)
