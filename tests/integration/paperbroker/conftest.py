"""A real paper broker, started as a process of its own on a free port."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

END_SECONDS = 60.0


class Broker:
    """A running process; `url` is its address. Fresh accounts hold half a bitcoin, to have something to sell."""

    def __init__(self, data: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self._log = (data.parent / f"{data.name}.log").open("ab")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from paperbroker.cli import main; main()", "--port", "0", "--data", data, *options],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "PAPERBROKER_POSITIONS": "BTC/USD=0.5", **(environment or {})},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("paperbroker ready at http://"), (line, Path(self._log.name).read_text())
        self.ready_seconds = time.monotonic() - self.started
        self.url = line.split()[-1]
        self.ws_url = self.url.replace("http", "ws", 1)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=END_SECONDS)
        self._log.close()
        if self.process.stdout:
            self.process.stdout.close()
        return status


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Start brokers with options; all of one test share a data folder unless told otherwise."""
    running: list[Broker] = []

    def start(*options: str, data: Path | None = None, environment: dict[str, str] | None = None) -> Broker:
        broker = Broker(data or tmp_path / "data", *options, environment=environment)
        running.append(broker)
        return broker

    yield start
    for broker in running:
        if broker.process.poll() is None:
            broker.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for the tests of a module; each uses keys of its own."""
    running = Broker(tmp_path_factory.mktemp("broker") / "data", "--requests-per-minute", "0")
    yield running
    assert running.end() == 0


class Client:
    """Alpaca's REST by hand: every call returns (status, JSON)."""

    def __init__(self, url: str, key: str = "mock") -> None:
        self._session = aiohttp.ClientSession(url, headers={"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": "any"})

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, **options: object) -> tuple[int, object]:
        async with self._session.request(method, path, **options) as answer:  # type: ignore[arg-type]
            return answer.status, await answer.json(content_type=None) if await answer.read() else None

    async def get(self, path: str, **parameters: str) -> object:
        status, body = await self.call("GET", path, params=parameters)
        assert status == 200, body
        return body

    async def order(self, symbol: str = "AAPL", side: str = "buy", **fields: object) -> tuple[int, dict[str, object]]:
        crypto = "/" in symbol or symbol.endswith("USD")
        body = {"symbol": symbol, "side": side, "type": "market", "time_in_force": "gtc" if crypto else "day", **fields}
        status, answer = await self.call("POST", "/v2/orders", json=body)
        assert isinstance(answer, dict)
        return status, answer


@pytest.fixture
def client_of() -> type[Client]:
    return Client
