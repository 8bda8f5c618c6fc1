"""The request budget of the trading API: bursts are allowed, room for cancels is kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

import structlog

from oms.ports import Clock, Purpose

log = structlog.get_logger(__name__)

WINDOW_S = 60.0
# Of 200 requests a minute: submits at most 120, reconciliation at most 35; for cancels at least 40 are left.
SHARES: Mapping[Purpose, float] = {Purpose.SUBMIT: 0.6, Purpose.RECONCILE: 0.175, Purpose.CANCEL: 1.0}
RESERVED_FOR_CANCELS = 0.2
CANCEL_PAUSE_S = 1.0


class RequestBudget:
    """Counts the requests of the last 60 s, each purpose within its share of `per_minute` (0: unlimited).

    A sliding window never sends more than the limit in any 60 s, however the broker cuts its minutes. What the broker's
    own headers say counts too: another program may use the same key.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._sent: dict[Purpose, deque[float]] = {purpose: deque() for purpose in Purpose}
        self._promised = dict.fromkeys(Purpose, 0)
        self._blocked_until = 0.0
        self._cancels_blocked_until = 0.0
        self._refused_at: float | None = None
        self._remaining: int | None = None
        self._remaining_until = 0.0

    def available(self, purpose: Purpose) -> int:
        """How many requests for this purpose may be sent at once, now."""
        if self.blocked_s(purpose) > 0:
            return 0
        if self.per_minute == 0:
            return 1_000_000
        now = self._clock.monotonic()
        total = sum(self._count(each, now) for each in Purpose)
        left = self.per_minute - total
        if now < self._remaining_until and self._remaining is not None:
            left = min(left, self._remaining)
        if purpose is not Purpose.CANCEL:
            left -= max(int(self.per_minute * RESERVED_FOR_CANCELS) - self._count(Purpose.CANCEL, now), 0)
        left -= sum(self._promised.values())
        share = int(self.per_minute * SHARES[purpose]) - self._count(purpose, now) - self._promised[purpose]
        return max(min(left, share), 0)

    def spare(self, purpose: Purpose) -> int:
        """What of it is available beyond a third of its share, which is kept for what comes regularly."""
        share = 0 if self.per_minute == 0 else int(self.per_minute * SHARES[purpose])
        return self.available(purpose) - share // 3

    def promise(self, purpose: Purpose) -> None:
        """Keep one request for the next `acquire` of this purpose, which then does not wait for the window."""
        self._promised[purpose] += 1

    def release(self, purpose: Purpose) -> None:
        """A promised request is not wanted any more."""
        self._promised[purpose] = max(self._promised[purpose] - 1, 0)

    def blocked_s(self, purpose: Purpose) -> float:
        """For how long nothing may be sent because of a 429; cancels wait a second at most."""
        until = self._cancels_blocked_until if purpose is Purpose.CANCEL else self._blocked_until
        return max(until - self._clock.monotonic(), 0.0)

    def forget_promises(self) -> None:
        """Whoever was promised requests is gone."""
        self._promised = dict.fromkeys(Purpose, 0)

    async def acquire(self, purpose: Purpose) -> None:
        """Return when one more request may be sent, and count it."""
        if self._promised[purpose]:
            self._promised[purpose] -= 1
            while self.blocked_s(purpose) > 0:  # noqa: ASYNC110 — time is what it waits for
                await asyncio.sleep(self._wait_s(purpose))
        else:
            while self.available(purpose) < 1:  # noqa: ASYNC110
                await asyncio.sleep(self._wait_s(purpose))
        self._sent[purpose].append(self._clock.monotonic())
        if self._remaining is not None:
            self._remaining -= 1

    def observe(self, limit: int, remaining: int, resets_in_s: float) -> None:
        """Follow the broker's own count until its reset."""
        if self.per_minute and limit > 0 and 0 < resets_in_s <= 2 * WINDOW_S:
            self._remaining = remaining
            self._remaining_until = self._clock.monotonic() + resets_in_s

    def refused(self, retry_after_s: float | None) -> None:
        """The broker answered 429: nothing more until it says, at most a minute."""
        pause = min(max(retry_after_s if retry_after_s is not None else 5.0, 0.25), WINDOW_S)
        now = self._clock.monotonic()
        if self._refused_at is None or now - self._refused_at > WINDOW_S:
            log.warning("OMS waits: the broker takes no more requests for a while (HTTP 429)", wait_s=pause)
        self._refused_at = now
        self._blocked_until = max(self._blocked_until, now + pause)
        self._cancels_blocked_until = now + min(pause, CANCEL_PAUSE_S)

    def state(self) -> Mapping[str, object]:
        """For health."""
        now = self._clock.monotonic()
        used = {str(purpose): self._count(purpose, now) for purpose in Purpose}
        blocked_s = round(max(self._blocked_until - now, 0.0), 1)
        error = f"the broker takes no more requests for {blocked_s} s (HTTP 429): orders wait" if blocked_s else ""
        return {"ok": not error, "error": error, "per_minute": self.per_minute, "used": used, "blocked_s": blocked_s}

    def _count(self, purpose: Purpose, now: float) -> int:
        sent = self._sent[purpose]
        while sent and sent[0] <= now - WINDOW_S:
            sent.popleft()
        return len(sent)

    def _wait_s(self, purpose: Purpose) -> float:
        """Until the oldest counted request leaves the window, but look again often: shares are freed by others too."""
        now = self._clock.monotonic()
        if (blocked := self.blocked_s(purpose)) > 0:
            return min(blocked, 1.0)
        oldest = min((sent[0] for sent in self._sent.values() if sent), default=now)
        return min(max(oldest + WINDOW_S - now, 0.01), 1.0)
