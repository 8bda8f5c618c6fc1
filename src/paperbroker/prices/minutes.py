"""The minutes of the broker's clock end, and with each of them its bars, also where nothing trades after it."""

import asyncio

from paperbroker.clock import Clock
from paperbroker.prices.market import MINUTE, Prices
from paperbroker.timestamps import SECOND

_GRACE_SECONDS = 0.5  # real ones: what traded in the last moment of a minute is shown by then, also on a busy machine
_LONGEST_SLEEP_SECONDS = 1.0  # the clock may be set meanwhile


async def end_minutes(clock: Clock, prices: Prices) -> None:
    """Tell the bars of each minute as it ends, until cancelled; most have been told by a later trade already."""
    grace_ns = int(_GRACE_SECONDS * SECOND * clock.speed)
    told = 0
    while True:
        now = clock.peek() - grace_ns
        minute = now - now % MINUTE
        if minute != told:
            prices.end_minutes(now)
            told = minute
        wait = clock.seconds_until(minute + MINUTE + grace_ns)
        await asyncio.sleep(min(_LONGEST_SLEEP_SECONDS, max(wait, 0.01)))
