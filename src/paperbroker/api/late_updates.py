"""Updates of the trade stream that a fault drops, delays, doubles or lets overtake each other."""

import asyncio
from collections.abc import Callable

from paperbroker.faults import Facts, Faults

Send = Callable[[], None]


class LateUpdates:
    """Decides for each update when, and how often, it is sent."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held_back: dict[str | None, list[Send]] = {}

    @property
    def holding(self) -> bool:
        return bool(self._held_back)

    def deliver(self, facts: Facts, send: Send) -> None:
        if self._faults.take(facts, "mute_updates", "drop_updates"):
            return
        if self._faults.take(facts, "reorder_updates"):
            self._held_back.setdefault(facts.key, []).append(send)  # the next one overtakes it
            return
        if late := self._faults.take(facts, "delay_updates"):
            asyncio.get_running_loop().call_later(late.seconds, send)
            return
        send()
        if self._faults.take(facts, "double_updates"):
            send()
        for overtaken in self._held_back.pop(facts.key, []):
            overtaken()
