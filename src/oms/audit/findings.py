"""What an audit finds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

SHOWN_MAX = 1000
# The record keeps what the engine computed with 28 digits; the audit computes with more.
TOLERANCE = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Difference:
    """`subject` (an order, a fill, a position, …) has `recorded` where the audit has `expected`."""

    kind: str  # order, fill, fee, event, position; at the broker: broker_order, broker_fill, broker_position
    subject: str
    what: str
    recorded: object
    expected: object

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is about, whatever the values."""
        return (self.kind, self.subject, self.what)

    def as_data(self) -> dict[str, str]:
        """For JSON: exact texts."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "what": self.what,
            "recorded": text(self.recorded),
            "expected": text(self.expected),
        }


@dataclass(slots=True)
class Findings:
    """All that one audit has to say. Of very many differences the first thousand are kept, all are counted."""

    at: datetime
    differences: list[Difference] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    in_flight: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def differs(self, difference: Difference) -> None:
        """Take one in."""
        self.found[difference.kind] += 1
        if len(self.differences) < SHOWN_MAX:
            self.differences.append(difference)

    @property
    def is_clean(self) -> bool:
        """Whether everything agrees."""
        return not self.found


def agree(one: object, other: object) -> bool:
    """Equal; amounts of money to a billionth."""
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return abs(one - other) <= TOLERANCE
    return one == other


def text(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return "nothing"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    return value.isoformat() if isinstance(value, datetime) else str(value)
