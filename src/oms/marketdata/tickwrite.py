"""Rows into QuestDB with its own client, over HTTP. Blocking: to be called in a worker thread."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import structlog
from questdb import QuestDBError, QuestDBErrorCode, Sender

from oms.domain.errors import Unavailable
from oms.domain.market import Tick
from oms.marketdata.ticktable import TABLE, Convert, row_of

REFUSED_MAX = 50
_LINE = re.compile(r'"line":(\d+)')
_OF_THE_ROW = frozenset({
    QuestDBErrorCode.InvalidUtf8, QuestDBErrorCode.InvalidName, QuestDBErrorCode.InvalidTimestamp,
    QuestDBErrorCode.DecimalError,
})  # fmt: skip
_log = structlog.get_logger(__name__)

Numbered = tuple[int, Tick]


class RowWriter:
    """One connection that writes batches of numbered ticks, whole or not at all."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 9000)
        self._url = f"{parts.hostname}:{port}"
        self._conf = f"{'https' if parts.scheme == 'https' else 'http'}::addr={self._url};"
        self._user, self._password = parts.username, parts.password
        self._timeout_ms = int(timeout_s * 1000)
        self._sender: Sender | None = None
        # A call whose awaiting task was cancelled goes on in its thread: the next one waits for it.
        self._lock = threading.Lock()

    def write(self, rows: Sequence[Numbered], convert: Mapping[str, Convert]) -> int:
        """Write all rows that QuestDB takes, in one request; returns how many it refused for good.

        A request with one bad row is refused as a whole and names its line: that row is left out and the rest sent
        again, at most 50 times; then all of it counts as refused. Raises Unavailable when QuestDB does not answer.
        """
        with self._lock:
            left = list(rows)
            refused = 0
            while left:
                bad = self._flush(left, convert)
                if bad is None:
                    return refused
                refused += 1
                if refused > REFUSED_MAX:
                    _log.error("ticks refused", count=len(left), reason="too many rows are refused: is the table ours?")
                    return refused + len(left) - 1
                del left[bad]
            return refused

    def close(self) -> None:
        """Close the connection; the next write opens another."""
        with self._lock:
            self._drop()

    def _flush(self, rows: Sequence[Numbered], convert: Mapping[str, Convert]) -> int | None:
        """Send one request; the index of the row that QuestDB refuses, None when it took all."""
        index = -1
        try:
            sender = self._connected()
            for index, (seq, tick) in enumerate(rows):  # noqa: B007 - the index of the failing row is wanted
                symbols, columns = row_of(tick, seq, convert)
                sender.row(TABLE, symbols=symbols, columns=columns, at=tick.at)
            index = -1
            sender.flush()
        except QuestDBError as error:
            # The sender's buffer is in an unknown state: a new one for the next request.
            self._drop()
            if index >= 0 and error.code in _OF_THE_ROW:
                _log.warning("tick refused", tick=str(rows[index]), error=str(error))
                return index
            line = _LINE.search(str(error)) if '"code":"invalid"' in str(error) else None
            if line is None or not 0 < int(line[1]) <= len(rows):
                raise Unavailable(f"QuestDB does not take ticks at {self._url}: {error}") from error
            bad = int(line[1]) - 1
            _log.warning("tick refused", tick=str(rows[bad]), error=str(error))
            return bad
        except BaseException:
            self._drop()
            raise
        return None

    def _connected(self) -> Sender:
        if self._sender is None:
            sender = Sender.from_conf(
                self._conf,
                username=self._user,
                password=self._password,
                auto_flush=False,
                retry_timeout=0,  # the caller tries again, with patience of its own
                request_timeout=self._timeout_ms,
            )
            sender.establish()  # type: ignore[no-untyped-call]
            self._sender = sender
        return self._sender

    def _drop(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close(flush=False)
