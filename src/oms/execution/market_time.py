"""The broker's time and whether its stock market is open."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from oms.domain.reports import MarketClock
from oms.ports import Clock

NEW_YORK = ZoneInfo("America/New_York")


class MarketTime:
    """Keeps the broker's last clock, carried on by the monotonic clock: whoever sets ours does not move it.

    `is_open` holds until the market's next change.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._market: MarketClock | None = None
        self._learned_at = 0.0

    def learn(self, market: MarketClock) -> None:
        """Take in an answer of `/v2/clock`."""
        self._market = market
        self._learned_at = self._clock.monotonic()

    def now(self) -> datetime:
        """The broker's time, UTC; ours before it was asked."""
        if self._market is None:
            return self._clock.now()
        return self._market.at + timedelta(seconds=self._clock.monotonic() - self._learned_at)

    @property
    def offset_s(self) -> float:
        """How far the broker's clock is ahead of ours."""
        return (self.now() - self._clock.now()).total_seconds()

    @property
    def market(self) -> MarketClock | None:
        """The clock while it holds; None when it must be asked again."""
        if self._market is None or self.now() >= self._market.next_change:
            return None
        return self._market

    def seconds_to_change(self) -> float:
        """Until `is_open` changes; 0 when that is not known."""
        if self._market is None:
            return 0.0
        return max((self._market.next_change - self.now()).total_seconds(), 0.0)
