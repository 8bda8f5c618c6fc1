"""A client that does not read holds up nobody."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from starlette.datastructures import Headers

from paperbroker.api import connection
from paperbroker.api.data_stream import DataStream
from paperbroker.faults import Faults
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Quote


class Peer:
    """A websocket whose client says what it was given and, when it `reads`, takes what it is sent."""

    def __init__(self, key: str, *, reads: bool) -> None:
        self.headers = Headers({})
        self.scope = {"headers": []}
        self.got: list[Any] = []
        self._reads = reads
        self._says = [{"action": "auth", "key": key}, {"action": "subscribe", "quotes": ["*"]}]
        self._closed = asyncio.Event()

    async def accept(self) -> None: ...

    async def receive(self) -> dict[str, Any]:
        if self._says:
            return {"type": "websocket.receive", "text": json.dumps(self._says.pop(0))}
        await self._closed.wait()
        return {"type": "websocket.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.got += [one for text in message["frames"] for one in json.loads(text)]
        if not self._reads and self.got[-1]["T"] == "q":
            await asyncio.Event().wait()

    async def close(self) -> None:
        self._closed.set()


async def test_the_slow_one_is_cut_off_and_the_other_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_WAITING_BYTES", 2000)
    prices = Prices()
    stream = DataStream(prices, Faults(), coins=False, most_symbols=0)
    slow, quick = Peer("mock-slow", reads=False), Peer("mock-quick", reads=True)
    serving = [asyncio.create_task(stream.serve(peer)) for peer in (slow, quick)]  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    for number in range(100):
        prices.quote(Quote("IBM", number, Decimal(number + 1), Decimal(number + 2), 1, 1))
        await asyncio.sleep(0.001)
    assert [message["bp"] for message in quick.got if message["T"] == "q"] == list(range(1, 101))
    assert sum(message["T"] == "q" for message in slow.got) == 1
    assert list(stream._clients) == ["mock-quick"]
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
