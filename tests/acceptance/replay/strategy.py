"""A small strategy of the tests' own: crossing moving averages, long and short, with adding and taking off.

Its rules are deterministic in the quotes that it is shown; it knows nothing of the OMS. It deals in one order at a time
for each symbol, so that no two of its own orders can meet.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Quote:
    """The best bid and offer."""

    bid: Decimal
    ask: Decimal

    @property
    def middle(self) -> Decimal:
        return (self.bid + self.ask) / 2


@dataclass(frozen=True, slots=True)
class Rules:
    """`fast`, `slow`: the windows in looks. `step`: what a price must move, for adding to or taking from a position.

    A resting order is cancelled after `patience` looks.
    """

    base: dict[str, int]
    fast: int
    slow: int
    step: Decimal = Decimal("0.02")
    adds_max: int = 2
    patience: int = 8


@dataclass(frozen=True, slots=True)
class Wish:
    """An order that the strategy wants: the fields of a signal."""

    symbol: str
    side: str
    qty: int | str
    type: str = "market"
    limit_price: Decimal | None = None
    time_in_force: str = "day"
    reason: str = ""

    def terms(self) -> dict[str, object]:
        """As the API takes it."""
        given = {name: getattr(self, name) for name in ("symbol", "side", "qty", "type", "time_in_force", "reason")}
        return given if self.limit_price is None else {**given, "limit_price": str(self.limit_price)}


class Crossover:
    """One symbol. `look` is called with each quote and what is held, while no order of the symbol is under way."""

    def __init__(self, symbol: str, rules: Rules) -> None:
        self._symbol = symbol
        self._rules = rules
        self._base = rules.base[symbol]
        self._middles: deque[Decimal] = deque(maxlen=rules.slow)
        self._entered_at: Decimal | None = None
        self._adds = 0
        self._takes = 0
        self._entries = 0
        self._closes = 0

    def see(self, quote: Quote) -> None:
        """Remember a quote; call it with every look."""
        self._middles.append(quote.middle)

    def look(self, quote: Quote, held: Decimal) -> Wish | None:
        """What to order now, if anything."""
        trend = self._trend()
        if trend == 0:
            return None
        if held == 0:
            return self._enter(quote, trend)
        if held * trend < 0:
            return self._close(held)
        return self._scale(quote, held, trend)

    def _trend(self) -> int:
        """1 up, -1 down, 0 neither, or not known yet."""
        if len(self._middles) < self._rules.slow:
            return 0
        recent = list(self._middles)[-self._rules.fast :]
        difference = sum(recent, ZERO) / len(recent) - sum(self._middles, ZERO) / len(self._middles)
        return (difference > 0) - (difference < 0)

    def _enter(self, quote: Quote, trend: int) -> Wish:
        """Every third entry waits at its own side of the quote, the others take what there is."""
        self._entries += 1
        self._adds = self._takes = 0
        self._entered_at = quote.middle
        side = "buy" if trend > 0 else "sell"
        if self._entries % 3 == 0:
            price = quote.bid if trend > 0 else quote.ask
            return Wish(self._symbol, side, self._base, "limit", price, reason="enter, resting")
        return Wish(self._symbol, side, self._base, reason="enter")

    def _close(self, held: Decimal) -> Wish:
        """Every other time with the quantity "all"."""
        self._closes += 1
        qty: int | str = "all" if self._closes % 2 else int(abs(held))
        return Wish(self._symbol, "sell" if held > 0 else "buy", qty, reason="close")

    def _scale(self, quote: Quote, held: Decimal, trend: int) -> Wish | None:
        assert self._entered_at is not None
        moved = (quote.middle - self._entered_at) * trend
        if moved >= self._rules.step and self._adds < self._rules.adds_max:
            self._adds += 1
            self._entered_at = quote.middle
            side = "buy" if trend > 0 else "sell"
            return Wish(self._symbol, side, self._base // 2 + self._adds, reason="add")
        if moved <= -self._rules.step and self._takes < 1 and abs(held) >= 3:
            self._takes += 1
            side, price = ("sell", quote.bid) if held > 0 else ("buy", quote.ask)
            return Wish(self._symbol, side, int(abs(held) // 3), "limit", price, "ioc", reason="take some off")
        return None
