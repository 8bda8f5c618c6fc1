"""A paper broker for tests: a pytest fixture that starts one, and a client of its control API.

    from paperbroker.testing import paper_broker      # in conftest.py; or `pytest -p paperbroker.testing`

    def test_mine(paper_broker):
        client = TradingClient(paper_broker.key, "any", url_override=paper_broker.url)
        paper_broker.control.set_price("AAPL", bid="99.99", ask="100.00")
        paper_broker.control.fault("reject", code=40310000, message="insufficient buying power")

`paper_broker` has an account of its own for each test, on one process for each session; `pytest --paperbroker "…"`
gives that process options. Nothing but the standard library is used beside pytest.
"""

import json
import shlex
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

_STOP_SECONDS = 10.0
_MANY_REQUESTS = "1000000"  # a minute: no test sends as many, and answers have Alpaca's headers of a limit


class ControlError(Exception):
    """The control API refused; the message says why."""


class Control:
    """The control API of a running paper broker, in the words of docs/paperbroker.md."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """`key`: the account that faults and requests are about, unless told otherwise."""
        self._url = url
        self._key = key

    def fault(self, kind: str, **terms: object) -> str:
        """Add a fault; returns its id. `count=None`: until it is removed; `key=None`: of every account."""
        terms = {"key": self._key, **terms}
        if kind == "refuse_stream":
            terms.pop("key")  # a connection has no key yet
        return str(self._ask("POST", "/faults", {"kind": kind, **terms})["id"])

    def faults(self) -> list[dict[str, Any]]:
        """Those that still wait."""
        return self._list("/faults")

    def remove_fault(self, fault_id: str) -> None:
        self._ask("DELETE", f"/faults/{fault_id}")

    def clear_faults(self, key: str | None = None) -> None:
        """Remove those of one account; without a key all, also of others who use the broker at the same time."""
        self._ask("DELETE", "/faults" + (f"?key={urllib.parse.quote(key)}" if key else ""))

    def requests(self, **wanted: object) -> list[dict[str, Any]]:
        """The requests of the account, oldest first: by `method`, `path` (beginning), `status`, `fault`, `after`."""
        query = {name: str(value) for name, value in {"key": self._key, **wanted}.items() if value is not None}
        return self._list("/requests?" + urllib.parse.urlencode(query))

    def fills(self, **wanted: object) -> list[dict[str, Any]]:
        """Every fill with the quote it was made against: by `after`, `limit`, `account_id`, `order_id`."""
        return self._list("/fills?" + urllib.parse.urlencode({name: str(value) for name, value in wanted.items()}))

    def set_price(self, symbol: str, **price: object) -> None:
        """`bid` and `ask` (and sizes), and/or `price` of a trade; it stays until it is set again or let go."""
        self._ask("PUT", f"/prices/{symbol}", price)

    def let_go(self, symbol: str = "*") -> None:
        """Let a price that was set or frozen move again; `*`: all of them."""
        self._ask("DELETE", f"/prices/{symbol}")

    def freeze(self, symbol: str = "*") -> None:
        self._ask("PUT", f"/freezes/{symbol}")

    def push(self, prices: Sequence[dict[str, object]]) -> None:
        """Quotes and trades, shown in their order."""
        self._ask("POST", "/prices", {"prices": list(prices)})

    def halt(self, symbol: str) -> None:
        self._ask("PUT", f"/halts/{symbol}")

    def resume(self, symbol: str = "*") -> None:
        """End the halt of a symbol; `*`: of all of them."""
        self._ask("DELETE", f"/halts/{symbol}")

    def set_clock(self, time: str) -> str:
        """To an RFC 3339 time; returns what the clock shows."""
        return str(self._ask("PUT", "/clock", {"time": time})["time"])

    def advance(self, seconds: float) -> str:
        return str(self._ask("PUT", "/clock", {"advance_seconds": str(seconds)})["time"])

    def cut_streams(self, stream: str | None = None) -> int:
        """Close the account's connections to `trade` or `data` streams, or both; returns how many there were."""
        return int(self._ask("POST", "/streams/cut", {"key": self._key, "stream": stream})["closed"])

    def trade(self, symbol: str, side: str, qty: object, price: object = None) -> dict[str, Any]:
        """A trade in the account that none of its clients sent; returns the order."""
        body = {"symbol": symbol, "side": side, "qty": str(qty), **({} if price is None else {"price": str(price)})}
        return self._ask("POST", f"/accounts/{self._key}/trades", body)

    def bust(self, execution_id: str) -> dict[str, Any]:
        """Take a fill back; returns it."""
        return self._ask("POST", "/busts", {"execution_id": execution_id})

    def set_state(self, **state: object) -> None:
        """`status`, `account_blocked`, `trading_blocked` of the account."""
        self._ask("PUT", f"/accounts/{self._key}/state", state)

    def reset(self, cash: object = None, positions: dict[str, object] | None = None) -> None:
        """A fresh account: no orders, no history."""
        body: dict[str, object] = {} if cash is None else {"cash": str(cash)}
        if positions is not None:
            body["positions"] = {symbol: str(qty) for symbol, qty in positions.items()}
        self._ask("POST", f"/accounts/{self._key}/reset", body)

    def _list(self, path: str) -> list[dict[str, Any]]:
        answer: Any = self._ask("GET", path)
        return list(answer)

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}/paper/v1{path}", content, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                answered = answer.read()
        except urllib.error.HTTPError as error:
            raise ControlError(f"{error.code}: {error.read().decode()}") from None
        return json.loads(answered) if answered else {}


@dataclass(frozen=True)
class PaperBroker:
    """A running broker and an account on it. `url` is for REST, `ws_url` for the streams."""

    url: str
    key: str
    control: Control

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def account(self, key: str | None = None) -> "PaperBroker":
        """Another account on the same broker."""
        key = key or f"mock-{uuid.uuid4()}"
        return PaperBroker(self.url, key, Control(self.url, key))


@contextmanager
def running_broker(*options: str, data: Path | None = None) -> Iterator[PaperBroker]:
    """Start a paper broker on a free port, with a limit of requests that no test reaches, and stop it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "paperbroker.cli", "--port", "0", "--data", str(data or folder)]
        process = subprocess.Popen(  # noqa: S603
            [*command, "--requests-per-minute", _MANY_REQUESTS, *options], stdout=subprocess.PIPE, text=True
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            if " ready at " not in line:
                raise ControlError(f"the paper broker did not start with {options}: see its output above")
            url = line.split()[-1]
            yield PaperBroker(url, "", Control(url)).account()
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--paperbroker`: options of the broker that the fixture starts; without any it is started as it is."""
    parser.addoption(
        "--paperbroker",
        nargs="?",
        const="",
        default="",
        metavar="OPTIONS",
        help="options of the paper broker that `paper_broker` starts, such as '--hours nyse'",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """`--paperbroker tests`: what follows is a path, unless it begins with a dash, as the broker's options do."""
    for index, (argument, value) in enumerate(pairwise(args)):
        if argument == "--paperbroker" and not value.startswith("-"):
            args[index] = "--paperbroker="
            early_config.known_args_namespace.file_or_dir.append(value)


_RUNNING = pytest.StashKey[PaperBroker]()


def _process(config: pytest.Config) -> PaperBroker:
    """The one paper broker of a session, started when a test first asks for it."""
    if _RUNNING not in config.stash:
        options = config.getoption("--paperbroker", default="") or ""
        stack = ExitStack()
        config.stash[_RUNNING] = stack.enter_context(running_broker(*shlex.split(str(options))))
        config.add_cleanup(stack.close)
    return config.stash[_RUNNING]


@pytest.fixture
def paper_broker(request: pytest.FixtureRequest) -> Iterator[PaperBroker]:
    """An account of the test's own; its faults, all prices that were set and all halts are gone afterwards."""
    process = _process(request.config)
    yield process.account()
    process.control.clear_faults()
    process.control.let_go()
    process.control.resume()
