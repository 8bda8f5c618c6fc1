"""SQLite with group commit: nothing is told before it is kept.

What the event loop has done by the time it comes to committing shares the commit; there is no delay, an idle broker
commits at once. A commit is a few writes to the page cache, so it runs on the event loop: handing it to a thread cost
more than it did. What does wait for the disk, copying the WAL into the database, a thread does beside it.
The state of the running broker is in memory; here is what a restart goes on with, and what lists are read from (they
show what is committed). WAL with synchronous=NORMAL: a commit survives the death of the process by any signal; the
last ones may be lost when the power fails, never half of one.
"""

import asyncio
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import msgspec

from paperbroker import tables
from paperbroker.accounts import Account, AccountState
from paperbroker.activities import Activity, Execution
from paperbroker.assets import Asset
from paperbroker.orders import Order
from paperbroker.taken_ids import TakenIds

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_ROWS_BETWEEN_COPIES = 5_000
_WAL_BYTES = 32 << 20  # where a commit itself copies the WAL; most of it has been copied by then
_PAGE_BYTES = 8192  # rows of a kilobyte or two fill SQLite's usual 4096 badly
Row = tuple[object, ...]


@dataclass(slots=True)
class _Batch:
    """What goes into one commit; orders and accounts only as they are at its end."""

    orders: dict[str, tuple[Order, Asset, bytes]] = field(default_factory=dict)
    client_order_ids: set[tuple[str, str]] = field(default_factory=set)
    accounts: dict[str, Account] = field(default_factory=dict)
    activities: list[Row] = field(default_factory=list)
    fills: list[tuple[int, str, str, bytes]] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    rows: list[tuple[str, Row]] = field(default_factory=list)
    after: list[Callable[[], None]] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class StoreFailed(Exception):
    """A commit failed (disk full, folder gone): the broker has to stop, because what it knows is not kept."""


class Store:
    """One connection that writes, one that reads, and one, in a thread of its own, that copies the WAL."""

    def __init__(self, folder: Path) -> None:
        """Open or create `paperbroker.sqlite` in a folder. Raises sqlite3.Error or OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder / "paperbroker.lock")
        path = folder / "paperbroker.sqlite"
        self._writer = sqlite3.connect(path, isolation_level=None)
        self._writer.execute(f"pragma page_size = {_PAGE_BYTES}")  # of a fresh file
        self._writer.execute("pragma journal_mode = wal")
        self._writer.execute("pragma synchronous = normal")
        (page_bytes,) = self._writer.execute(
            "pragma page_size"
        ).fetchone()  # a file of an earlier version keeps its own
        self._writer.execute(f"pragma wal_autocheckpoint = {_WAL_BYTES // page_bytes}")
        _migrate(self._writer)
        self._writer.executescript(tables.SCHEMA)
        self._writer.execute(f"pragma user_version = {tables.SCHEMA_VERSION}")
        self._reader = sqlite3.connect(path, isolation_level=None)
        self._reader.execute("pragma query_only = on")
        self._copier = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="copy")
        self._copying: Future[object] | None = None
        self._uncopied_rows = 0
        self._fill_log = _FillLog(folder / "fills.jsonl", self._reader)
        self._fill_seq = self._highest("fills")
        self._order_seq = self._kept_seq = self._highest("orders")
        self._taken = TakenIds(self._reader)
        self._places: dict[int, tuple[int, str | None]] = {}  # of the open orders that are kept, by seq
        self._batch = _Batch()
        self._waiting = False
        self._failed = False
        self.on_failure: Callable[[BaseException], None] = lambda _: None

    def next_order_seq(self) -> int:
        self._order_seq += 1
        return self._order_seq

    def put_order(self, order: Order, asset: Asset, wire: bytes) -> None:
        self._batch.orders[order.id] = (order, asset, wire)
        self._wake()

    def put_account(self, account: Account) -> None:
        self._batch.accounts[account.id] = account
        self._wake()

    def put_activity(self, activity: Activity) -> None:
        row = (activity.id, activity.account_id, activity.ns, activity.type, activity.order_id, activity.body)
        self._batch.activities.append(row)
        self._wake()

    def put_fill(self, execution: Execution) -> None:
        self._fill_seq += 1
        order = execution.order
        self._batch.fills.append((self._fill_seq, order.account_id, order.id, execution.facts()))
        self._wake()

    def put_event(self, seq: int, account_id: str, ns: int, body: bytes) -> None:
        self._batch.events.append((seq, account_id, ns, body))
        self._wake()

    def put(self, sql: str, values: Row) -> None:
        """Write a row of a table that only one other part of the broker knows (see `tables`)."""
        self._batch.rows.append((sql, values))
        self._wake()

    def after_commit(self, tell: Callable[[], None]) -> None:
        """Call something once what has been put so far is committed; calls keep their order."""
        self._batch.after.append(tell)
        self._wake()

    def commit(self) -> None:
        """Commit at once what has been put so far, so that nothing of what is put next gets into the same batch."""
        if self._waiting:
            self._commit()

    async def settled(self) -> None:
        """Wait until everything put so far is committed. Raises StoreFailed."""
        if self._waiting:
            await self._batch.done.wait()
        if self._failed:
            raise StoreFailed

    def load_accounts(self) -> Iterator[Account]:
        for (state,) in self._reader.execute("select state from accounts"):
            yield Account(msgspec.json.decode(state, type=AccountState))

    def load_open_orders(self) -> Iterator[Order]:
        for (state,) in self._reader.execute("select state from orders where is_open = 1 order by seq"):
            order = msgspec.json.decode(state, type=Order)
            self._places[order.seq] = _place(order)
            yield order

    def take_client_order_id(self, account_id: str, client_order_id: str) -> None:
        """Have it taken from now on by an order that is put next."""
        self._taken.add(account_id, client_order_id)
        self._batch.client_order_ids.add((account_id, client_order_id))

    def client_order_id_taken(self, account_id: str, client_order_id: str) -> bool:
        if (account_id, client_order_id) in self._batch.client_order_ids:
            return True
        if not self._taken.may_hold(account_id, client_order_id):
            return False
        sql = "select 1 from orders where account_id = ? and client_order_id = ?"
        return self._reader.execute(sql, (account_id, client_order_id)).fetchone() is not None

    def read(self, sql: str, values: Iterable[object] = ()) -> list[Row]:
        """Ask what is committed."""
        return self._reader.execute(sql, tuple(values)).fetchall()

    async def close(self) -> None:
        """Commit what is left and close."""
        await self.settled()
        self._thread.shutdown()
        self._copier.close()
        self._reader.close()
        self._writer.close()
        self._fill_log.close()
        self._lock.close()

    def _highest(self, table: str) -> int:
        (highest,) = self._reader.execute(f"select coalesce(max(seq), 0) from {table}").fetchone()  # noqa: S608
        return int(highest)

    def _wake(self) -> None:
        """Commit as soon as the event loop has done what it has at hand; all of that shares the commit."""
        if not self._waiting:
            self._waiting = True
            asyncio.get_running_loop().call_soon(self.commit)

    def _commit(self) -> None:
        batch, self._batch, self._waiting = self._batch, _Batch(), False
        try:
            self._write(batch)
        except (sqlite3.Error, OSError) as error:
            self._failed = True
            _log.critical(
                "the store failed; stopping, because what is not kept must not be told", extra={"error": str(error)}
            )
            self.on_failure(error)
            return
        finally:
            batch.done.set()
        for tell in batch.after:
            tell()

    def _write(self, batch: _Batch) -> None:
        fresh, changed, moved = self._order_rows(batch)
        write, fills = self._writer, batch.fills
        write.execute("begin immediate")
        try:
            write.executemany(tables.PUT_ORDER, fresh)
            write.executemany(tables.CHANGE_ORDER, changed)
            write.executemany(tables.MOVE_ORDER, moved)
            write.executemany(
                tables.PUT_ACCOUNT, [(a.id, a.state.key, _encode(a.state)) for a in batch.accounts.values()]
            )
            write.executemany(tables.PUT_ACTIVITY, batch.activities)
            write.executemany(tables.PUT_FILL, fills)
            write.executemany(tables.PUT_EVENT, batch.events)
            for sql, rows in groupby(batch.rows, key=itemgetter(0)):
                write.executemany(sql, [values for _, values in rows])
            write.execute("commit")
        except sqlite3.Error:
            write.rollback()
            raise
        if fills:
            self._fill_log.append((seq, body) for seq, _, _, body in fills)
        self._uncopied_rows += len(batch.events) + len(batch.orders)
        if self._uncopied_rows > _ROWS_BETWEEN_COPIES and (self._copying is None or self._copying.done()):
            self._uncopied_rows = 0
            self._copying = self._thread.submit(self._copier.execute, "pragma wal_checkpoint(passive)")

    def _order_rows(self, batch: _Batch) -> tuple[list[Row], list[Row], list[Row]]:
        """The rows of a batch: fresh orders, changed ones, and those whose place in lists changed."""
        fresh: list[Row] = []
        changed: list[Row] = []
        moved: list[Row] = []
        for order, asset, wire in batch.orders.values():
            state = _encode(order) if order.is_open else None
            place, before = _place(order), self._places.pop(order.seq, None)
            if order.seq > self._kept_seq:
                fresh.append(_order_row(order, asset, wire, state))
            else:
                changed.append((int(order.is_open), wire, state, order.seq))
                if place != before:
                    moved.append((*place, order.seq))
            if state is not None:
                self._places[order.seq] = place
        # An order is put by whoever takes its number, so what a batch lacks up to here never comes.
        self._kept_seq = max((self._kept_seq, *(order.seq for order, _, _ in batch.orders.values())))
        return fresh, changed, moved


def _migrate(writer: sqlite3.Connection) -> None:
    """Bring a folder of an earlier version up to date; a fresh one (version 0) gets its tables whole."""
    (version,) = writer.execute("pragma user_version").fetchone()
    for number, statement in tables.MIGRATIONS.items():
        if 0 < version < number:
            writer.executescript(statement)


def _lock(path: Path) -> BinaryIO:
    """Keep a second broker off the folder for as long as this process lives. Raises OSError."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise OSError("another paper broker is running on it") from None
    return file


class _FillLog:
    """`fills.jsonl`: the table of fills as text, for reading. The table is the record.

    What a crash left out is added at start.
    """

    def __init__(self, path: Path, reader: sqlite3.Connection) -> None:
        last = _last_seq(path)
        self._file = path.open("ab")
        self.append(reader.execute("select seq, body from fills where seq > ? order by seq", (last,)))

    def append(self, fills: Iterable[tuple[int, bytes]]) -> None:
        self._file.write(b"".join(b'{"seq":%d,%b\n' % (seq, body[1:]) for seq, body in fills))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _last_seq(path: Path) -> int:
    """The number of the last whole line; a line that a crash cut off is removed."""
    if not path.exists():
        return 0
    with path.open("rb+") as file:
        file.seek(max(0, path.stat().st_size - 65_536))
        tail = file.read()
        whole = tail[: tail.rfind(b"\n") + 1]
        if len(whole) < len(tail):
            os.truncate(path, path.stat().st_size - (len(tail) - len(whole)))
    lines = whole.splitlines()
    return int(msgspec.json.decode(lines[-1])["seq"]) if lines else 0


def _place(order: Order) -> tuple[int, str | None]:
    """Where lists show it: what is indexed of an order and may change."""
    return order.submitted_ns, order.parent_id


def _order_row(order: Order, asset: Asset, wire: bytes, state: bytes | None) -> Row:
    return (
        order.seq,
        order.id,
        order.account_id,
        order.client_order_id,
        order.symbol,
        order.side.value,
        asset.asset_class,
        int(order.is_open),
        order.submitted_ns,
        order.parent_id,
        wire,
        state,
    )
