"""A tape's time in terms of the broker's, where its events are given the time of today."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shift:
    """How a tape's time became the broker's: `start_ns` of the tape was shown at `shown_ns`, `speed` times as fast."""

    start_ns: int
    shown_ns: int
    speed: float

    def shown(self, ns: int) -> int:
        return self.shown_ns + round((ns - self.start_ns) / self.speed)

    def recorded(self, shown_ns: int) -> int:
        return self.start_ns + round((shown_ns - self.shown_ns) * self.speed)
