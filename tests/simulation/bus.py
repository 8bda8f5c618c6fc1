"""The port Bus: a Redis that loses what nobody listens to, and may itself be lost at any moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from oms.domain.errors import Unavailable
from oms.ports import BusMessage
from tests.simulation.store import _done
from tests.simulation.world import World

CLAIM_IDLE_S = 10.0


class Redis:
    """The server: channel, stream with a consumer group, the events told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.listeners: list[Listening] = []
        self.entries: dict[str, bytes] = {}  # not acknowledged yet
        self.delivered_at: dict[str, float] = {}
        self.told: list[int] = []
        self.down_until = -1.0
        self.lost = 0.0
        self._count = 0

    @property
    def is_down(self) -> bool:
        return self.world.loop.time() < self.down_until

    def publish(self, message: bytes) -> None:
        for listener in list(self.listeners):
            if not self.world.chance(self.lost):
                listener.put([BusMessage("channel", message)])

    def add(self, message: bytes) -> str:
        """XADD by a foreign program; the entry's id."""
        self._count += 1
        entry = f"{self._count}-0"
        self.entries[entry] = message
        for listener in self.listeners[:1]:
            self.deliver(listener, [entry])
        if self._count == 1:
            self.world.loop.at(CLAIM_IDLE_S, self._claim)
        return entry

    def deliver(self, listener: Listening, entries: Sequence[str]) -> None:
        """Hand entries to a consumer."""
        now = self.world.loop.time()
        self.delivered_at.update(dict.fromkeys(entries, now))
        if entries:
            listener.put([BusMessage("stream", self.entries[entry], entry) for entry in entries])

    def _claim(self) -> None:
        """XAUTOCLAIM by whoever listens: what another has taken and not acknowledged, as one that is frozen."""
        self.world.loop.at(CLAIM_IDLE_S / 2, self._claim)
        until = self.world.loop.time() - CLAIM_IDLE_S
        idle = [entry for entry in self.entries if self.delivered_at.get(entry, 0.0) <= until]
        if self.listeners and not self.is_down:
            self.deliver(self.world.random.choice(self.listeners), idle)

    def go_down(self, seconds: float) -> None:
        self.down_until = self.world.loop.time() + seconds
        for listener in list(self.listeners):
            listener.lose()


class Listening:
    """One process's subscription."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._loop = redis.world.loop
        self._arrived: deque[Sequence[BusMessage]] = deque()
        self._waiter: Any = None
        self._is_lost = False
        self.owner = self._loop.current

    async def __aenter__(self) -> Listening:
        await _trip(self._redis)
        self._redis.listeners.append(self)
        self._redis.deliver(self, list(self._redis.entries))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.lose()

    def __aiter__(self) -> Listening:
        return self

    async def __anext__(self) -> Sequence[BusMessage]:
        while not self._arrived:
            if self._is_lost:
                raise Unavailable("Redis was lost")
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._arrived.popleft()

    def put(self, batch: Sequence[BusMessage]) -> None:
        if not self._is_lost:
            self._arrived.append(batch)
            if self._waiter is not None:
                _done(self._waiter)

    def lose(self) -> None:
        self._is_lost = True
        if self in self._redis.listeners:
            self._redis.listeners.remove(self)
        if self._waiter is not None:
            _done(self._waiter)


class SimBus:
    """One process's client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def publish_signals(self, messages: Sequence[bytes]) -> None:
        await _trip(self._redis)
        for message in messages:
            self._redis.publish(message)

    def signals(self) -> Listening:
        return Listening(self._redis)

    async def acknowledge(self, entry_ids: Sequence[str]) -> None:
        await _trip(self._redis)
        for entry in entry_ids:
            self._redis.entries.pop(entry, None)

    async def append_events(self, account_id: UUID, events: Sequence[tuple[int, bytes]]) -> None:
        await _trip(self._redis)
        last = self._redis.told[-1] if self._redis.told else 0
        self._redis.told += [seq for seq, _ in events if seq > last]

    async def events_relayed(self, account_id: UUID) -> int | None:
        await _trip(self._redis)
        return self._redis.told[-1] if self._redis.told else None

    async def close(self) -> None: ...


async def _trip(redis: Redis) -> None:
    future = redis.world.loop.create_future()
    redis.world.loop.at(redis.world.random.uniform(0.0002, 0.002), _done, future)
    await future
    if redis.is_down or redis.world.chance(redis.lost / 4):
        raise Unavailable("Redis does not answer")
