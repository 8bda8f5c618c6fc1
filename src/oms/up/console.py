"""Where lines go: to the terminal through a thread of its own, and to files that stay within a bound."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from pathlib import Path
from typing import BinaryIO

_LINES_MAX = 10_000
_FILE_BYTES_MAX = 5_000_000
_FILES_KEPT = 3


class Console:
    """Writes lines to standard output from a thread: a terminal stopped with Ctrl-S must not stop the supervisor.

    While nobody reads, lines beyond 10,000 are dropped (the files have them); once the reader is gone, all are.
    """

    def __init__(self, out: BinaryIO | None = None) -> None:
        self._out = out or sys.stdout.buffer
        self._lines: queue.Queue[bytes | None] = queue.Queue(_LINES_MAX)
        self._thread = threading.Thread(target=self._write, name="console", daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """Show text, a line or several."""
        self.put(text.encode(errors="replace") + b"\n")

    def put(self, line: bytes) -> None:
        """Show bytes that end in a newline."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line)

    def close(self, timeout_s: float = 0.5) -> None:
        """Let what was said get out, as far as the reader takes it in time."""
        try:
            self._lines.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _write(self) -> None:
        has_reader = True
        while (line := self._lines.get()) is not None:
            if has_reader:
                try:
                    self._out.write(line)
                    self._out.flush()
                except (OSError, ValueError):
                    has_reader = False  # `oms up | head`: the reader is gone, the OMS is not


class RollingFile:
    """A log file that is set aside at 5 MB; three older ones are kept."""

    def __init__(self, path: Path, bytes_max: int = _FILE_BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._file = path.open("ab")

    def write(self, line: bytes) -> None:
        """Append a line."""
        if self._file.tell() + len(line) > self._bytes_max:
            self._roll()
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def _roll(self) -> None:
        self._file.close()
        for number in range(_FILES_KEPT, 0, -1):
            newer = self._path if number == 1 else Path(f"{self._path}.{number - 1}")
            if newer.exists():
                newer.replace(f"{self._path}.{number}")
        self._file = self._path.open("ab")
