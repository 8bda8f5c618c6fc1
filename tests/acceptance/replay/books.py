"""The tests' own arithmetic: positions and profit from the broker's log of fills, in plain Decimal.

Written from what the words mean (average cost; an average is rounded to 12 decimals), not from the code of the OMS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

TWELVE_DECIMALS = Decimal("0.000000000001")
ZERO = Decimal(0)


@dataclass(slots=True)
class Holding:
    """What is held of one symbol: positive when long. `paid` is what all its fills took from the cash."""

    qty: Decimal = ZERO
    avg_price: Decimal = ZERO
    realized: Decimal = ZERO
    paid: Decimal = ZERO

    def trade(self, side: str, qty: Decimal, price: Decimal) -> None:
        """One fill. What reduces is realised against the average; what goes through zero opens at its own price."""
        change = qty if side == "buy" else -qty
        self.paid += change * price
        if self.qty * change >= 0:
            cost = abs(self.qty) * self.avg_price + qty * price
            self.qty += change
            self.avg_price = (cost / abs(self.qty)).quantize(TWELVE_DECIMALS)
            return
        closed = min(qty, abs(self.qty))
        per_unit = price - self.avg_price if self.qty > 0 else self.avg_price - price
        self.realized += closed * per_unit
        self.qty += change
        if self.qty == 0:
            self.avg_price = ZERO
        elif qty > closed:
            self.avg_price = price

    def unrealized(self, price: Decimal) -> Decimal:
        """What closing at a price would bring on top."""
        return self.qty * (price - self.avg_price)


def holdings(log: Iterable[Mapping[str, str]]) -> dict[str, Holding]:
    """Every symbol of the broker's log of fills, which is in the order in which they happened."""
    found: dict[str, Holding] = {}
    for line in log:
        holding = found.setdefault(line["symbol"], Holding())
        holding.trade(line["side"], Decimal(line["qty"]), Decimal(line["price"]))
    return found


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the tape says by itself: every quoted (bid, ask) of each symbol, the last of them, the last trade."""

    quoted: dict[str, set[tuple[Decimal, Decimal]]]
    last_quote: dict[str, tuple[Decimal, Decimal]]
    last_trade: dict[str, Decimal]

    def valuation(self, symbol: str) -> Decimal:
        """The price of a position when the tape has ended: the last trade, clamped into bid and ask."""
        bid, ask = self.last_quote[symbol]
        return max(bid, min(ask, self.last_trade[symbol]))


def read_tape(path: Path) -> Recorded:
    """Read a tape whole."""
    recorded = Recorded({}, {}, {})
    for batch in pq.ParquetFile(path).iter_batches(columns=["symbol", "kind", "bid", "ask", "price"]):
        columns: list[list[Any]] = [column.to_pylist() for column in batch.columns]
        for symbol, kind, bid, ask, price in zip(*columns, strict=True):
            if kind == "q":
                recorded.quoted.setdefault(symbol, set()).add((bid, ask))
                recorded.last_quote[symbol] = (bid, ask)
            else:
                recorded.last_trade[symbol] = price
    return recorded
