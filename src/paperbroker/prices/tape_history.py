"""The past of a tape: the file itself, up to the present of the replay.

Read as a whole at the first question (a second and some 100 MB for a million events), so a broker that is never asked
does not pay for it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from paperbroker.prices.history import Found, Kind, joined
from paperbroker.prices.quotes import Bar, Trade
from paperbroker.prices.shift import Shift
from paperbroker.prices.tape import codes_of, events_of, open_batches, timestamps_of
from paperbroker.prices.timeframes import MINUTE, Timeframe

_SLICE_ROWS = 256


class TapeHistory:
    """Quotes, trades and bars of the symbols of a tape."""

    def __init__(self, path: Path, shift: Shift | None = None) -> None:
        """`shift` where the events were given other times than the tape's."""
        self._path = path
        self._shift = shift
        self._rows: dict[tuple[str, Kind], Any] | None = None
        self._minutes: dict[str, dict[int, Bar]] = {}

    def events(self, symbol: str, kind: Kind, start_ns: int, end_ns: int, *, descending: bool) -> Iterator[Found]:
        table = self._table(symbol, kind)
        if table is None:
            return
        import numpy as np  # noqa: PLC0415

        instants = timestamps_of(table)
        margin = 0 if self._shift is None else MINUTE  # rounding: looked at again below
        first = int(np.searchsorted(instants, self._recorded(start_ns) - margin, "left"))
        last = int(np.searchsorted(instants, self._recorded(end_ns) + margin, "right"))
        starts = range(first, last, _SLICE_ROWS)
        for start in reversed(starts) if descending else starts:
            events = events_of(table.slice(start, min(_SLICE_ROWS, last - start)))
            for event in reversed(events) if descending else events:
                shown = event if self._shift is None else replace(event, ns=self._shift.shown(event.ns))
                if start_ns <= shown.ns <= end_ns:
                    yield shown.ns, shown

    def bars(
        self, symbol: str, timeframe: Timeframe, start_ns: int, end_ns: int, *, present_ns: int, descending: bool
    ) -> Iterator[Found]:
        minutes = self._minute_bars(symbol)
        if not minutes:
            return
        present = present_ns - present_ns % MINUTE
        first, last = min(minutes), max(minutes)
        start_ns, end_ns = max(start_ns, timeframe.start_of(first)), min(end_ns, last)
        for begin, end in timeframe.windows(start_ns, end_ns, descending=descending):
            found = (minutes.get(ns) for ns in range(max(begin, first), min(end, present, last + 1), MINUTE))
            yield begin, joined((bar for bar in found if bar is not None), begin)

    def _minute_bars(self, symbol: str) -> dict[int, Bar]:
        """Every minute of the tape, also those that are still to come: callers end with the present."""
        if symbol not in self._minutes:
            bars: dict[int, Bar] = {}
            for _, trade in self.events(symbol, "trades", 0, 2**62, descending=False):
                if isinstance(trade, Trade):
                    minute = trade.ns - trade.ns % MINUTE
                    if minute in bars:
                        bars[minute].add(trade)
                    else:
                        bars[minute] = Bar.of(trade, minute)
            self._minutes[symbol] = bars
        return self._minutes[symbol]

    def _table(self, symbol: str, kind: Kind) -> Any:
        if self._rows is None:
            self._rows = _read(self._path)
        return self._rows.get((symbol, kind))

    def _recorded(self, ns: int) -> int:
        ns = min(ns, 2**62)
        return ns if self._shift is None else self._shift.recorded(ns)


def _read(path: Path) -> dict[tuple[str, Kind], Any]:
    """The whole file as one record batch for each symbol and kind."""
    import pyarrow as pa  # noqa: PLC0415

    parts: dict[tuple[str, Kind], list[Any]] = defaultdict(list)
    for batch in open_batches(path):
        for key, part in _split(batch):
            parts[key].append(part)
    return {key: pa.Table.from_batches(found).combine_chunks().to_batches()[0] for key, found in parts.items()}


def _split(batch: Any) -> Iterator[tuple[tuple[str, Kind], Any]]:
    """A batch by symbol and kind, with plain texts, because dictionaries differ from batch to batch.

    Rows are chosen by numpy: pyarrow's own way through Python values imports pandas, which takes seconds.
    """
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    for index, field in enumerate(batch.schema):
        if pa.types.is_dictionary(field.type):
            batch = batch.set_column(index, field.name, batch.column(index).cast(pa.string()))
    kinds: dict[str, Kind] = {"q": "quotes", "t": "trades"}
    symbols, codes = codes_of(batch, "symbol"), codes_of(batch, "kind")
    for symbol in np.unique(symbols):
        for code in np.unique(codes):
            rows: Any = np.flatnonzero((symbols == symbol) & (codes == code))
            if len(rows):
                chosen = pa.Int64Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])
                part = batch.take(chosen)
                first = {
                    name: part.column(batch.schema.get_field_index(name))[0].as_py() for name in ("symbol", "kind")
                }
                yield (first["symbol"], kinds[first["kind"]]), part
