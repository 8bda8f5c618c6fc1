"""Stops sending while the broker leaves one request after the other without a proper answer."""

from __future__ import annotations

from collections import deque

from oms.ports import Clock

UNKNOWN_MAX = 5  # unknown outcomes (timeout, lost connection, 5xx)
WITHIN_S = 30.0
PROBE_AFTER_S = (1.0, 30.0)  # the first probe, and the longest pause where it keeps tripping


class Breaker:
    """Opens at the fifth unknown outcome within 30 s; one question that the broker answers closes it again.

    Where orders fail and questions are answered, each time it opens sooner than a minute after it closed, the pause
    before the next probe doubles.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._unknown_at: deque[float] = deque(maxlen=UNKNOWN_MAX)
        self._opened_at: float | None = None
        self._closed_at: float | None = None
        self._pause_s = PROBE_AFTER_S[0]

    @property
    def is_open(self) -> bool:
        """Whether nothing new may be sent."""
        return self._opened_at is not None

    @property
    def trouble(self) -> str:
        """Why nothing may be sent, for a person; empty while it may."""
        if not self.is_open:
            return ""
        return (
            f"{UNKNOWN_MAX} orders within {WITHIN_S:.0f} s were left without a proper answer: nothing new is sent "
            "until the broker answers a question"
        )

    @property
    def wants_probe(self) -> bool:
        """Whether it is time for one question."""
        return self._opened_at is not None and self._clock.monotonic() >= self._opened_at + self._pause_s

    def unknown(self) -> bool:
        """One more outcome is unknown; whether that opened it."""
        now = self._clock.monotonic()
        self._unknown_at.append(now)
        if self.is_open or len(self._unknown_at) < UNKNOWN_MAX or now - self._unknown_at[0] > WITHIN_S:
            return False
        again = self._closed_at is not None and now - self._closed_at < 2 * WITHIN_S
        self._pause_s = min(self._pause_s * 2, PROBE_AFTER_S[1]) if again else PROBE_AFTER_S[0]
        self._opened_at = now
        return True

    def answered(self) -> None:
        """The broker answered the probe: count anew."""
        self._unknown_at.clear()
        self._opened_at, self._closed_at = None, self._clock.monotonic()

    def failed(self) -> None:
        """It did not: the next probe waits as long again."""
        self._opened_at = self._clock.monotonic()
