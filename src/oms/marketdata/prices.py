"""The latest quote and trade of each symbol in memory, and whether they are still worth trading on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Generic, TypeVar

from oms.domain.market import Price, Quote, Tick, Trade
from oms.domain.values import AssetClass
from oms.ports import Clock

T = TypeVar("T", Quote, Trade)


@dataclass(slots=True)
class _Held(Generic[T]):
    """The newest tick of one kind. `seen_at`: when it was last known to be the newest (monotonic seconds)."""

    tick: T
    seen_at: float


@dataclass(slots=True)
class _Entry:
    """What is held of one symbol. `live_since`: since when a live stream carries it, None when none does."""

    quote: _Held[Quote] | None = None
    trade: _Held[Trade] | None = None
    live_since: float | None = None

    def is_live(self, held: _Held[Quote] | _Held[Trade]) -> bool:
        """Whether nothing newer can have been missed: seen on this very stream, or asked for since it carries it."""
        return self.live_since is not None and held.seen_at >= self.live_since


@dataclass(slots=True)
class PriceBook:
    """Prices with their freshness. No I/O, no waiting; every call is cheap.

    The order is the exchange's: an older tick never replaces a newer one, and of two with one time the later received
    wins. Quote and trade have a freshness each: a quote from before a lost connection does not bound a trade of now.
    """

    clock: Clock
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _live: dict[AssetClass, frozenset[str]] = field(default_factory=dict)

    def apply(self, ticks: Iterable[Tick]) -> None:
        """Take in ticks of a stream, received now."""
        now = self.clock.monotonic()
        for tick in ticks:
            self._take(tick, now)

    def apply_asked(self, ticks: Iterable[Tick], asked_at: float | None = None) -> Sequence[Tick]:
        """Take in answers to a question sent at `asked_at` (monotonic seconds, default now); returns what was new.

        An answer that is what we hold already, or older, makes what we hold as fresh as the question: nothing newer
        was to be had then.
        """
        at = self.clock.monotonic() if asked_at is None else asked_at
        new = []
        for tick in ticks:
            before = self._held(tick)
            known = before is not None and before.tick == tick
            self._take(tick, at)
            held = self._held(tick)
            assert held is not None  # noqa: S101 - just taken
            held.seen_at = max(held.seen_at, at)
            if held.tick is tick and not known:
                new.append(tick)
        return new

    def set_live(self, asset_class: AssetClass, symbols: Iterable[str]) -> None:
        """From now on a live stream carries just these symbols of the asset class."""
        now = self.clock.monotonic()
        wanted = frozenset(symbols)
        before = self._live.get(asset_class, frozenset())
        for symbol in before - wanted:
            self._entries[symbol].live_since = None
        for symbol in wanted - before:
            self._entries.setdefault(symbol, _Entry()).live_since = now
        self._live[asset_class] = wanted

    def stream_lost(self, asset_class: AssetClass) -> None:
        """The stream is gone: its symbols age from when they were last seen."""
        self.set_live(asset_class, ())

    def live(self, asset_class: AssetClass) -> frozenset[str]:
        """The symbols that a live stream carries."""
        return self._live.get(asset_class, frozenset())

    def price(self, symbol: str, max_age_s: Decimal | float) -> Price:
        """What is known of a symbol; not fresh and empty when nothing is.

        `fresh` is said of the best that is known: a fresh trade, or a fresh quote. A quote that is not fresh beside
        a fresh trade that is newer is left out: it would bound the trade by a market that is gone.
        """
        entry = self._entries.get(symbol)
        if entry is None or (entry.quote is None and entry.trade is None):
            return Price(symbol, None, None, None, None, fresh=False)
        oldest = self.clock.monotonic() - float(max_age_s)
        quote, trade = entry.quote, entry.trade
        quote_fresh = quote is not None and (quote.seen_at >= oldest or entry.is_live(quote))
        trade_fresh = trade is not None and (trade.seen_at >= oldest or entry.is_live(trade))
        if quote and trade and trade_fresh and not quote_fresh and trade.tick.at > quote.tick.at:
            quote = None
        return Price(
            symbol,
            last=trade.tick.price if trade else None,
            bid=quote.tick.bid if quote else None,
            ask=quote.tick.ask if quote else None,
            at=max(held.tick.at for held in (quote, trade) if held is not None),
            fresh=quote_fresh or trade_fresh,
        )

    def held(self) -> Sequence[tuple[float, Tick]]:
        """Everything held with its age in seconds; 0 for what a live stream vouches for at this moment."""
        now = self.clock.monotonic()
        return [
            (0.0 if entry.is_live(held) else max(now - held.seen_at, 0.0), held.tick)
            for entry in self._entries.values()
            for held in (entry.quote, entry.trade)
            if held is not None
        ]

    def newest_age_s(self) -> float | None:
        """Seconds since anything at all was seen, None when nothing ever was; for health."""
        seen = [held.seen_at for entry in self._entries.values() for held in (entry.quote, entry.trade) if held]
        return self.clock.monotonic() - max(seen) if seen else None

    def _held(self, tick: Tick) -> _Held[Quote] | _Held[Trade] | None:
        entry = self._entries.get(tick.symbol)
        if entry is None:
            return None
        return entry.quote if isinstance(tick, Quote) else entry.trade

    def _take(self, tick: Tick, seen_at: float) -> None:
        """Hold a tick unless a newer one is held. A symbol's ticks are seen in order, so `seen_at` never goes back."""
        entry = self._entries.get(tick.symbol)
        if entry is None:
            entry = self._entries[tick.symbol] = _Entry()
        if isinstance(tick, Quote):
            if entry.quote is None:
                entry.quote = _Held(tick, seen_at)
            elif tick.at >= entry.quote.tick.at:
                entry.quote.tick = tick
                entry.quote.seen_at = max(entry.quote.seen_at, seen_at)
        elif entry.trade is None:
            entry.trade = _Held(tick, seen_at)
        elif tick.at >= entry.trade.tick.at:
            entry.trade.tick = tick
            entry.trade.seen_at = max(entry.trade.seen_at, seen_at)
