"""Every event of every order, kept in the commit of the change itself, so that server-sent events can be repeated.

An event's id is a ULID: 48 bits of milliseconds, then its number, so that ids sort as the events happened.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache

from paperbroker.ledger import Ledger
from paperbroker.store import Store
from paperbroker.timestamps import rfc3339
from paperbroker.updates import Update

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NUMBER_BITS = 80
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


def ulid(ns: int, seq: int) -> str:
    """The id of the event `seq`, which happened at `ns`."""
    return _time_part(ns // 1_000_000) + _characters(seq, 8)


@lru_cache(maxsize=16)
def _time_part(ms: int) -> str:
    return _characters(ms, 5)


def _characters(value: int, pairs: int) -> str:
    return "".join([_PAIRS[value >> shift & 1023] for shift in range((pairs - 1) * 10, -1, -10)])


def seq_of(event_id: str) -> int:
    """The number in an id. Raises ValueError for what is no ULID."""
    if len(event_id) != 26:
        raise ValueError("an event's id is a ULID of 26 characters")
    value = 0
    for character in event_id.upper():
        value = value << 5 | _ALPHABET.index(character)
    return value & (1 << _NUMBER_BITS) - 1


class TradeEvents:
    """Records what the ledger changes, and reads it back."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._store = store
        self._seq = self.last_seq()
        self._waiting: dict[str, set[Callable[[], None]]] = defaultdict(set)
        ledger.recorders.append(self._record)
        ledger.listeners.append(self._wake)

    def last_seq(self) -> int:
        """The number of the last committed event, 0 without any."""
        ((highest,),) = self._store.read("select coalesce(max(seq), 0) from events")
        return int(str(highest))

    def seq_before(self, account_id: str, ns: int) -> int:
        """The number after which an account's events of an instant and later come."""
        sql = "select seq from events where account_id = ? and ns >= ? order by seq limit 1"
        rows = self._store.read(sql, (account_id, ns))
        return int(str(rows[0][0])) - 1 if rows else self.last_seq()

    def after(self, account_id: str, seq: int, most: int) -> list[tuple[int, int, bytes]]:
        """An account's committed events after a number, oldest first: number, instant, JSON."""
        sql = "select seq, ns, body from events where account_id = ? and seq > ? order by seq limit ?"
        rows = self._store.read(sql, (account_id, seq, most))
        return [
            (n, ns, body)
            for n, ns, body in rows
            if isinstance(n, int) and isinstance(ns, int) and isinstance(body, bytes)
        ]

    def follow(self, account_id: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called after each commit with events of the account; returns how to end that."""
        self._waiting[account_id].add(wake)
        return lambda: self._waiting[account_id].discard(wake)

    def _record(self, update: Update) -> None:
        self._seq += 1
        self._store.put_event(self._seq, update.account_id, update.ns, update.body)

    def _wake(self, update: Update) -> None:
        for wake in tuple(self._waiting.get(update.account_id, ())):
            wake()


def event_json(seq: int, ns: int, body: bytes) -> bytes:
    """A kept event as it is sent: the update with its id, and when it happened under either name."""
    return b'{"at":"%b","event_id":"%b",%b' % (rfc3339(ns).encode(), ulid(ns, seq).encode(), body[1:])
