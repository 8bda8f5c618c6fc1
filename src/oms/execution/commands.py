"""Carries out what the API asks of the engine: rows of `commands`, acknowledged in the row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from uuid import UUID

import structlog

from oms.domain.errors import BrokerError, CommandRefused
from oms.execution.cancels import Cancels
from oms.execution.decisions import Decisions
from oms.execution.desk import Desk
from oms.ports import Changes, Command
from oms.waiting import ended

log = structlog.get_logger(__name__)

AT_ONCE = 16
AT_ANY_TIME = frozenset({"halt", "resume"})  # they wait for no other command
TRIED_FOR = timedelta(seconds=60)  # what the broker leaves without an answer is given up then
AGAIN_S = 1.0

Handler = Callable[[Command], Awaitable[Changes | None]]


class Commands:
    """Takes commands up side by side, so that none waits behind one that the broker leaves without an answer.

    A command stays in its row until it was carried out or refused, also over a restart. A handler gives what is to be
    stored with the acknowledgement in it, or None where the command is to be taken up again.
    """

    def __init__(self, desk: Desk, cancels: Cancels, decisions: Decisions) -> None:
        self._desk = desk
        self._cancels = cancels
        self._handlers: Mapping[str, Handler] = {
            "cancel": cancels.cancel,
            "halt": decisions.halt,
            "resume": decisions.resume,
            "drift_adopt": decisions.adopt,
            "drift_ignore": decisions.ignore,
        }
        self._answered: set[UUID] = set()
        self._running: dict[UUID, asyncio.Task[None]] = {}

    @property
    def under_way(self) -> Collection[UUID]:
        """The commands that are being carried out."""
        return self._running.keys()

    async def carry_out(self) -> None:
        """Take up every waiting command once, and cancel what is alive at the broker but was given up here.

        Raises what a command failed with, but for the broker's errors.
        """
        for command_id, task in list(self._running.items()):
            if task.done():
                del self._running[command_id]
                task.result()
        await self._cancels.unwanted()
        for command in await self._desk.outside.store.commands(self._desk.account_id):
            if command.id in self._answered or command.id in self._running:
                continue
            if command.kind == "cancel":
                self._cancels.announce(command)
            if len(self._running) < AT_ONCE or command.kind in AT_ANY_TIME:
                self._running[command.id] = asyncio.create_task(self._one(command))

    async def close(self) -> None:
        """Leave what is under way to the next session."""
        await ended(list(self._running.values()))

    async def _one(self, command: Command) -> None:
        handler = self._handlers.get(command.kind)
        try:
            if handler is None:
                raise CommandRefused(f"this engine knows no command {command.kind!r}")
            changes = await handler(command)
        except CommandRefused as error:
            changes = Changes(commands=[(command.id, "refused", str(error))])
        except BrokerError as error:
            log.warning("command_waits", kind=command.kind, reason=str(error))
            if command.created_at + TRIED_FOR >= self._desk.outside.clock.now():
                await asyncio.sleep(AGAIN_S)
                return
            changes = Changes(commands=[(command.id, "refused", f"the broker does not answer: {error}")])
        if changes is not None:
            self._answered.add(command.id)
            self._desk.journal.record(changes)
