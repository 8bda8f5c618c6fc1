"""A deterministic asyncio event loop: virtual clock, one handle at a time, in an order that a seed chooses.

No selector, no I/O, no threads. Every handle belongs to a process, by a context variable that tasks inherit. A killed
process loses its handles and timers where they stand: no `finally`, no `except`, nothing of it runs again. A frozen one
(SIGSTOP) keeps them until it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from random import Random
from typing import Any


class Process:
    """Something that can die or stand still on its own."""

    __slots__ = ("alive", "frozen", "name", "parked", "was_frozen")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = self.was_frozen = False
        self.parked: list[Handle] = []

    def __repr__(self) -> str:
        return self.name


WORLD = Process("world")
PROCESS: ContextVar[Process] = ContextVar("process", default=WORLD)


class Handle:
    """What asyncio expects of call_soon and call_at."""

    __slots__ = ("_when", "args", "callback", "context", "process")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, process: Process, when: float
    ) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args = args
        self.context = context
        self.process = process
        self._when = when

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self._when


class SimTask(asyncio.Task[Any]):
    """Its hash does not depend on its address, so that sets of tasks are walked in the same order in each run."""

    def __init__(self, coro: Coroutine[Any, Any, Any], loop: Any, context: Context | None, number: int) -> None:
        self.number = number
        super().__init__(coro, loop=loop, name="", context=context)

    def __hash__(self) -> int:
        return self.number


class SimFuture(asyncio.Future[Any]):
    """The same for futures."""

    def __init__(self, loop: Any, number: int) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SimLoop:
    """The part of an event loop that tasks, futures, timeouts, locks and queues use.

    `in_order`: ready handles run first in, first out, as asyncio does; else in a random order. `alarm` is the step
    before which `on_alarm` is called.
    """

    def __init__(self, random: Random, *, in_order: bool) -> None:
        self._random = random.random
        self._in_order = in_order
        self._ready: list[Handle] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._count = 0
        self._tasks: list[SimTask] = []  # held, so that nothing of a killed process is finalised before the end
        self._now = 0.0
        self._closed = False
        self.current = WORLD
        self.steps = 0
        self.alarm = -1
        self.on_alarm: Callable[[], None] = lambda: None
        self.troubles: list[str] = []

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool], steps_max: int) -> bool:
        """Step until something holds (looked at after each step of the world); False when it never does."""
        asyncio._set_running_loop(self)  # type: ignore[arg-type]
        try:
            return self._run(until, steps_max)
        finally:
            asyncio._set_running_loop(None)

    def _run(self, until: Callable[[], bool], steps_max: int) -> bool:
        ready, timers, random, in_order = self._ready, self._timers, self._random, self._in_order
        while self.steps < steps_max:
            if not ready:
                if not timers:
                    return False
                now = self._now = timers[0][0]
                while timers and timers[0][0] <= now:
                    ready.append(heappop(timers)[2])
            count = len(ready)
            if count == 1:
                handle = ready.pop()
            elif in_order:
                handle = ready.pop(0)
            else:
                place = int(random() * count)
                handle = ready[place]
                ready[place] = ready[-1]
                ready.pop()
            if handle.callback is None:
                continue
            self.steps += 1
            if self.steps == self.alarm:
                self.on_alarm()
            process = handle.process
            if not process.alive:
                continue
            if process.frozen:
                process.parked.append(handle)
                continue
            self.current = process
            handle.context.run(handle.callback, *handle.args)
            if process is WORLD and until():
                return True
        return False

    def close(self) -> None:
        """Nothing runs any more; what is finalised afterwards finds a loop that ignores it."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        self._tasks.clear()

    def thaw(self, process: Process) -> None:
        """SIGCONT: everything that waited for the process is ready at once."""
        process.frozen = False
        self._ready.extend(process.parked)
        process.parked.clear()

    def spawn(self, process: Process, work: Coroutine[Any, Any, Any]) -> SimTask:
        """A first task of a process; whatever it starts belongs to the process too."""
        context = copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(work, context=context)

    def at(self, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        """Something happens in the world later, whoever is alive then."""
        self._count += 1
        handle = Handle(callback, args, _WORLD_CONTEXT, WORLD, self._now + delay)
        heappush(self._timers, (self._now + delay, self._count, handle))

    # --- what asyncio calls -------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Handle:
        if context is None:
            handle = Handle(callback, args, copy_context(), self.current, self._now)
        else:
            handle = Handle(callback, args, context, context.get(PROCESS, WORLD), self._now)
        if not self._closed:
            self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Handle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Handle:
        if context is None:
            handle = Handle(callback, args, copy_context(), self.current, when)
        else:
            handle = Handle(callback, args, context, context.get(PROCESS, WORLD), when)
        if not self._closed:
            self._count += 1
            heappush(self._timers, (max(when, self._now), self._count, handle))
        return handle

    def create_future(self) -> SimFuture:
        self._count += 1
        return SimFuture(self, self._count)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> SimTask:
        self._count += 1
        task = SimTask(coro, self, context, self._count)
        if not self._closed:
            self._tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed and self.current.alive:  # nobody takes up what the killed have left
            self.troubles.append(f"{context.get('message')}: {context.get('exception')!r}")


_WORLD_CONTEXT = copy_context()
