"""Which client_order_ids may be taken: a Bloom filter, so that a fresh id costs no query and old ones no memory.

It never misses a taken id. A megabyte; it is filled from the store at start, and when the store holds more ids than
it is good for, it says of every one that it may be taken, and the store is asked.
"""

import sqlite3
from functools import lru_cache
from hashlib import blake2b

_BITS = 1 << 23
_MOST_IDS = 500_000  # up to here one fresh id in a thousand is asked for in vain


class TakenIds:
    """The ids of all accounts."""

    def __init__(self, reader: sqlite3.Connection) -> None:
        self._bits = bytearray(_BITS // 8)
        (self._count,) = reader.execute("select count(*) from orders").fetchone()
        if self._count <= _MOST_IDS:
            for account_id, client_order_id in reader.execute("select account_id, client_order_id from orders"):
                self._set(account_id, client_order_id)

    def add(self, account_id: str, client_order_id: str) -> None:
        self._count += 1
        self._set(account_id, client_order_id)

    def may_hold(self, account_id: str, client_order_id: str) -> bool:
        if self._count > _MOST_IDS:
            return True
        return all(self._bits[place >> 3] & 1 << (place & 7) for place in _places(account_id, client_order_id))

    def _set(self, account_id: str, client_order_id: str) -> None:
        for place in _places(account_id, client_order_id):
            self._bits[place >> 3] |= 1 << (place & 7)


@lru_cache(maxsize=8)  # a fresh id is first asked for, then added
def _places(account_id: str, client_order_id: str) -> tuple[int, int, int, int]:
    number = int.from_bytes(blake2b(f"{account_id}/{client_order_id}".encode(), digest_size=16).digest())
    mask = _BITS - 1
    return number & mask, number >> 32 & mask, number >> 64 & mask, number >> 96 & mask
