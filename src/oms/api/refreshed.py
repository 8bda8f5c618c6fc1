"""A value that is read again when it has become old, by one reader at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from oms.domain.errors import Unavailable

Value = TypeVar("Value")


class Refreshed(Generic[Value]):
    """Holds what `load` gave for at most `age_s_max`. While it cannot be loaded again, the former value stays."""

    def __init__(self, load: Callable[[], Awaitable[Value]], age_s_max: float, monotonic: Callable[[], float]) -> None:
        self._load = load
        self._age_s_max = age_s_max
        self._monotonic = monotonic
        self._held: tuple[Value, float] | None = None
        self._loading: asyncio.Task[Value] | None = None

    async def get(self) -> Value:
        """The value. Raises what `load` raises when there never was one."""
        held = self._held
        if held is not None and self._monotonic() - held[1] < self._age_s_max:
            return held[0]
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._reload())
        try:
            return await asyncio.shield(self._loading)
        except Unavailable:
            if held is None:
                raise
            return held[0]

    async def fresh(self) -> Value:
        """The value as it is now, which is then held. Raises what `load` raises."""
        return await self._reload()

    async def _reload(self) -> Value:
        value = await self._load()
        self._held = (value, self._monotonic())
        return value
