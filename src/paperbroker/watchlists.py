"""Watchlists: named lists of assets, kept for each account."""

import uuid

import msgspec

from paperbroker import tables
from paperbroker.clock import Clock
from paperbroker.store import Store


class Watchlist(msgspec.Struct, kw_only=True):
    """`symbols` in Alpaca's own spelling, in the order in which they were added. Instants in ns."""

    id: str
    account_id: str
    name: str
    created_ns: int
    updated_ns: int
    symbols: list[str]


class Watchlists:
    """All watchlists, in memory as the store has them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lists: dict[str, dict[str, Watchlist]] = {}
        for (body,) in store.read("select body from watchlists order by rowid"):
            if isinstance(body, bytes):
                self._add(msgspec.json.decode(body, type=Watchlist))

    def of(self, account_id: str) -> list[Watchlist]:
        return list(self._lists.get(account_id, {}).values())

    def find(self, account_id: str, watchlist_id: str) -> Watchlist | None:
        return self._lists.get(account_id, {}).get(watchlist_id)

    def named(self, account_id: str, name: str) -> Watchlist | None:
        return next((found for found in self.of(account_id) if found.name == name), None)

    def create(self, account_id: str, name: str, symbols: list[str]) -> Watchlist:
        ns = self._clock.now()
        created = Watchlist(
            id=str(uuid.uuid4()), account_id=account_id, name=name, created_ns=ns, updated_ns=ns, symbols=symbols
        )
        self._add(created)
        self._keep(created)
        return created

    def change(self, watchlist: Watchlist, *, name: str | None = None, symbols: list[str] | None = None) -> None:
        if name is not None:
            watchlist.name = name
        if symbols is not None:
            watchlist.symbols = symbols
        watchlist.updated_ns = self._clock.now()
        self._keep(watchlist)

    def delete(self, watchlist: Watchlist) -> None:
        del self._lists[watchlist.account_id][watchlist.id]
        self._store.put(tables.DROP_WATCHLIST, (watchlist.id,))

    def _add(self, watchlist: Watchlist) -> None:
        self._lists.setdefault(watchlist.account_id, {})[watchlist.id] = watchlist

    def _keep(self, watchlist: Watchlist) -> None:
        body = msgspec.json.encode(watchlist)
        self._store.put(tables.PUT_WATCHLIST, (watchlist.id, watchlist.account_id, body))
