"""A trade signal that has been read and understood, and what makes two of them the same."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from oms.domain.values import AssetClass, OrderType, Side, TimeInForce, trimmed


@dataclass(frozen=True, slots=True)
class Signal:
    """One wish to trade. `qty` None means the whole position. Symbols are canonical, texts free of NUL."""

    signal_id: str
    source: str  # rest, channel or stream
    symbol: str
    asset_class: AssetClass
    side: Side
    qty: Decimal | None
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None = None
    reason: str | None = None
    strategy: str | None = None
    valid_for_s: Decimal | None = None

    @property
    def terms(self) -> str:
        """What must agree for two signals of one identity to be the same: 10 equals 10.0, the reason may differ."""
        numbers = (
            "all" if self.qty is None else trimmed(self.qty),
            trimmed(self.limit_price) if self.limit_price else "-",
        )
        return "|".join(
            str(part)
            for part in (
                self.symbol,
                self.side,
                numbers[0],
                self.type,
                numbers[1],
                self.time_in_force,
                self.strategy or "",
            )
        )
