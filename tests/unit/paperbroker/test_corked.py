"""What is written in one turn of the event loop is one piece on the socket, in its order, and nothing of it is lost."""

import asyncio
from typing import cast

from paperbroker.api.corked import Corked


class Wire:
    """A transport that remembers what reached it."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("closed")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


def corked(wire: Wire) -> Corked:
    return Corked(cast(asyncio.Transport, wire), asyncio.get_running_loop())


async def test_a_turn_is_one_write_and_the_next_another() -> None:
    wire = Wire()
    transport = corked(wire)
    for part in (b"head", b"body", b"frame"):
        transport.write(part)
    assert wire.told == []
    await asyncio.sleep(0)
    assert wire.told == [b"headbodyframe"]
    transport.write(b"more")
    await asyncio.sleep(0)
    assert wire.told == [b"headbodyframe", b"more"]


async def test_what_waits_goes_out_before_the_close() -> None:
    wire = Wire()
    transport = corked(wire)
    transport.write(b"goodbye")
    transport.close()
    await asyncio.sleep(0)
    assert wire.told == [b"goodbye", "closed"]


async def test_much_goes_out_at_once_so_that_the_transport_can_say_stop() -> None:
    wire = Wire()
    transport = corked(wire)
    transport.write(b"a" * 40_000)
    transport.write(b"b" * 40_000)
    assert wire.told == [b"a" * 40_000 + b"b" * 40_000]
    transport.write(b"c")
    await asyncio.sleep(0)
    assert wire.told[1:] == [b"c"]


async def test_nothing_is_written_to_a_connection_that_broke() -> None:
    wire = Wire()
    transport = corked(wire)
    transport.write(b"too late")
    wire.closing = True
    await asyncio.sleep(0)
    assert wire.told == []


async def test_the_rest_is_the_transports_own() -> None:
    wire = Wire()
    assert not corked(wire).is_closing()
    wire.closing = True
    assert corked(wire).is_closing()
