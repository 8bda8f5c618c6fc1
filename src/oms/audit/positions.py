"""A position's row beside what its steps come to."""

from __future__ import annotations

from collections.abc import Iterator

from oms.audit.findings import Difference, agree
from oms.audit.holdings import Holding
from oms.audit.reading import Row
from oms.domain.values import ZERO, AssetClass


def check_position(symbol: str, row: Row | None, holding: Holding) -> Iterator[Difference]:
    """Every way in which they disagree."""
    if row is None:
        yield Difference("position", symbol, "row", "none", f"one with {holding.qty.normalize():f}")
        return
    for name in ("avg_price", "realized_pnl", "fees", "flat_realized", "flat_fees"):
        if not agree(row[name], getattr(holding, name)):
            yield Difference("position", symbol, name, row[name], getattr(holding, name))
    exact: dict[str, object] = {
        "qty": holding.qty,
        "closed_at": holding.closed_at,
        "asset_class": AssetClass.CRYPTO if "/" in symbol else AssetClass.STOCK,
    }
    if holding.qty:
        exact["opened_at"] = holding.opened_at
    for prefix, place in (("last", holding.last), ("flat", holding.flat)):
        at, order, cum, rank = place or (None, None, None, None)
        exact |= {f"{prefix}_at": at, f"{prefix}_order": order, f"{prefix}_cum": cum, f"{prefix}_rank": rank}
    for name, expected in exact.items():
        if row[name] != expected:
            yield Difference("position", symbol, name, row[name], expected)
    yield from _valuation(symbol, row)


def _valuation(symbol: str, row: Row) -> Iterator[Difference]:
    """Value and open P&L follow from the row's own price."""
    price = row["last_price"]
    value = None if price is None else row["qty"] * price
    gain = None if price is None else (price - row["avg_price"]) * row["qty"]
    if not row["qty"]:
        gain = ZERO if row["unrealized_pnl"] is not None else None
    for name, expected in (("market_value", value), ("unrealized_pnl", gain)):
        if not agree(row[name], expected):
            yield Difference("position", symbol, name, row[name], expected)
