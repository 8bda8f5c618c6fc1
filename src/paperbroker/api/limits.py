"""Requests a minute for a key, as Alpaca counts them.

A window of 60 s begins with a key's first request and is followed by the next one with the first request after its end.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 60.0


@dataclass(slots=True)
class Allowance:
    """What is left after a request; `reset` in epoch seconds, and as seconds from now in `retry_after`."""

    limit: int
    remaining: int
    reset: int
    exceeded: bool
    retry_after: int

    def headers(self) -> dict[str, str]:
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }
        return {**headers, "Retry-After": str(self.retry_after)} if self.exceeded else headers


class Limits:
    """One budget: `per_minute` requests for each key, 0 for no limit."""

    def __init__(self, per_minute: int, wall: Callable[[], float] = time.time) -> None:
        self._per_minute = per_minute
        self._wall = wall
        self._windows: dict[str, tuple[float, int]] = {}

    def count(self, key: str) -> Allowance | None:
        """Count a request; None when there is no limit. What exceeds the limit is not counted further."""
        if self._per_minute == 0:
            return None
        now = self._wall()
        end, used = self._windows.get(key, (0.0, 0))
        if now >= end:
            end, used = now + WINDOW_SECONDS, 0
        exceeded = used >= self._per_minute
        used += not exceeded
        self._windows[key] = (end, used)
        return Allowance(self._per_minute, self._per_minute - used, int(end) + 1, exceeded, int(end - now) + 1)
