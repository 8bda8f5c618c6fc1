"""What Alpaca can refuse, one after the other, on one running Trademk1.

Each has its line in health and in the log, says what to do, and is over when the broker says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.stack import Stack, ask, eventually

from paperbroker.testing import Control

KEY = "mock-refused"
SYMBOLS_MAX = 2  # of a data connection: Alpaca's free plan has 30
FOR_EVER = {"count": None}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("refused")
    with Stack(folder / "data", ALPACA_API_KEY=KEY, PAPERBROKER_STREAM_SYMBOLS=str(SYMBOLS_MAX)) as stack:
        for symbol in ("AAPL", "MSFT", "NVDA", "TSLA"):
            assert stack.traded(symbol=symbol, side="buy", qty=1)["status"] == "filled"
        yield stack


@pytest.fixture
def control(running: Stack) -> Iterator[Control]:
    """The broker's faults; afterwards there are none, and all is well again."""
    found = Control(running.addresses["paperbroker_url"], KEY)
    yield found
    found.clear_faults()
    found.set_state(status="ACTIVE", trading_blocked=False, account_blocked=False)
    eventually(lambda: checks(running)["engine"] == "ok", 120, 0.2, "the engine does not run again")


@pytest.fixture
def oms(running: Stack) -> Stack:
    return running


def checks(oms: Stack) -> dict[str, str]:
    found: dict[str, str] = oms.get("/api/health")["checks"]
    return found


def says(oms: Stack, check: str, *texts: str) -> str:
    """Wait until the line of health has all the texts."""

    def line() -> str:
        found = checks(oms).get(check, "")
        return found if all(text in found for text in texts) else ""

    found: str = eventually(line, 60, 0.2, f"{check} does not say {texts}")
    return found


def logged_since(oms: Stack, at: int, *texts: str) -> None:
    eventually(lambda: all(text in oms.logged()[at:] for text in texts), 30, 0.2, f"the log does not say {texts}")


@pytest.mark.parametrize(("status", "message"), [(401, "unauthorized."), (403, "forbidden.")])
def test_keys_that_rest_refuses(oms: Stack, control: Control, status: int, message: str) -> None:
    at = len(oms.logged())
    control.fault("deny", status=status, message=message, **FOR_EVER)
    control.cut_streams("trade")  # else it is asked within a minute
    says(oms, "engine", "unauthorized")
    error = oms.get("/api/health/detailed")["other"]["error"]
    assert message.rstrip(".") in error
    assert "a live account's keys at the paper address or the other way round" in error
    logged_since(oms, at, "The broker refuses the keys", "the other way round")
    answer = oms.signal(symbol="AAPL", side="buy", qty=1)
    assert (answer.status, answer.json["code"]) == (503, "unauthorized")


def test_keys_that_the_order_stream_does_not_accept(oms: Stack, control: Control) -> None:
    at = len(oms.logged())
    control.fault("deny_stream", **FOR_EVER)
    control.cut_streams("trade")
    says(oms, "engine", "unauthorized")
    logged_since(oms, at, "the stream does not accept the keys", "check ALPACA_API_KEY")


@pytest.mark.parametrize("status", [401, 403])
def test_an_order_stream_that_refuses_the_handshake(oms: Stack, control: Control, status: int) -> None:
    at = len(oms.logged())
    control.fault("refuse_stream", path="/stream", status=status, **FOR_EVER)
    control.cut_streams("trade")
    says(oms, "engine", "unauthorized")
    logged_since(oms, at, f"HTTP {status}", "check ALPACA_API_KEY")


def test_an_order_stream_that_is_asked_too_often(oms: Stack, control: Control) -> None:
    control.fault("refuse_stream", path="/stream", status=429, headers={"Retry-After": "1"}, **FOR_EVER)
    control.cut_streams("trade")
    says(oms, "engine", "cancel_only")
    says(oms, "stream", "429")


@pytest.mark.parametrize("status", [401, 403])
def test_a_data_stream_that_refuses_the_handshake(oms: Stack, control: Control, status: int) -> None:
    at = len(oms.logged())
    control.fault("refuse_stream", path="/v2/iex", status=status, **FOR_EVER)
    control.cut_streams("data")
    says(oms, "feed", f"HTTP {status}", "check ALPACA_API_KEY")
    logged_since(oms, at, "data stream lost", f"HTTP {status}", "check ALPACA_API_KEY")
    assert oms.traded(symbol="AAPL", side="buy", qty=1)["status"] == "filled"
    control.clear_faults()
    eventually(lambda: checks(oms)["feed"] == "ok", 120, 0.5, "the data stream does not come back")


@pytest.mark.parametrize(
    ("code", "event", "texts"),
    [
        (401, "auth", ("not authenticated", "check ALPACA_API_KEY")),
        (402, "auth", ("auth failed", "check ALPACA_API_KEY")),
        (406, "auth", ("connection limit exceeded", "another program holds the one data connection", "by REST")),
        (409, "subscribe", ("insufficient subscription", "ALPACA_FEED=iex", "by REST")),
    ],
)
def test_a_data_stream_that_refuses_leaves_prices_fresh_by_rest(
    oms: Stack, control: Control, code: int, event: str, texts: tuple[str, ...]
) -> None:
    at = len(oms.logged())
    message = {"message": "not authenticated"} if code == 401 else {}
    control.fault("data_error", code=code, event=event, **message, **FOR_EVER)
    control.cut_streams("data")
    says(oms, "feed", *texts)
    logged_since(oms, at, "data stream lost", *texts)
    assert oms.get("/api/health")["status"] == "degraded"
    assert oms.get("/api/health/detailed")["execution_engine_status"] == "running"
    feed = eventually(lambda: (found := oms.get("/api/health/detailed")["components"]["feed"])["polled"] >= 4 and found)
    assert feed["streams"]["stock"]["followed"] == 0
    asked_from = time.time()
    eventually(
        lambda: all(_seconds(one["price_time"]) > asked_from for one in positions(oms)), 120, 0.5, "stale prices"
    )
    assert not any(one["stale"] for one in positions(oms))
    assert oms.traded(symbol="AAPL", side="buy", qty=1)["status"] == "filled"
    control.clear_faults()
    eventually(lambda: checks(oms)["feed"] == "ok", 120, 0.5, "the data stream does not come back")


def positions(oms: Stack) -> list[Any]:
    found: list[Any] = oms.get("/api/v1/trading/positions")
    return found


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_a_plan_of_few_symbols_streams_the_first_and_asks_for_the_rest(oms: Stack, control: Control) -> None:
    """405: as many as the plan takes are streamed, and every position is valued all the same."""

    def feed() -> Any:
        found = oms.get("/api/health/detailed")["components"]["feed"]
        return 1 <= found["streams"]["stock"]["followed"] <= SYMBOLS_MAX and found["polled"] >= 2 and found

    assert eventually(feed, 120, 0.2, "no part of the symbols is streamed")["ok"]
    assert "data stream takes fewer symbols" in oms.logged()
    asked_from = time.time()
    eventually(lambda: all(_seconds(one["price_time"]) > asked_from for one in positions(oms)), 120, 0.5)
    assert not any(one["stale"] for one in positions(oms))


def test_too_many_requests_delay_an_order_and_reject_none(oms: Stack, control: Control) -> None:
    at = len(oms.logged())
    control.fault("rate_limit", path="/v2/orders", method="POST", seconds=4, count=2)
    order = oms.signal(symbol="AAPL", side="buy", qty=1, valid_for_s=60).json["order"]
    says(oms, "budget", "HTTP 429", "orders wait")
    assert oms.ended(order["id"])["status"] == "filled"
    logged_since(oms, at, "takes no more requests for a while (HTTP 429)")
    eventually(lambda: checks(oms)["budget"] == "ok", 120, 0.2, "health still tells of it")
    assert control.requests(method="POST", path="/v2/orders", status=429)


@pytest.mark.parametrize(
    ("state", "says_so"),
    [
        ({"trading_blocked": True}, "trading_blocked"),
        ({"account_blocked": True}, "account_blocked"),
        ({"status": "ACCOUNT_CLOSED"}, "ACCOUNT_CLOSED"),
    ],
)
def test_an_account_that_may_not_trade(oms: Stack, control: Control, state: dict[str, Any], says_so: str) -> None:
    at = len(oms.logged())
    control.set_state(**state)
    first = oms.traded(symbol="AAPL", side="buy", qty=1)
    assert first["status"] == "rejected"  # by the broker, which makes it look; unless it has just looked by itself
    assert first["error_code"] in {"BROKER_40310000", "ACCOUNT_BLOCKED"}
    says(oms, "account", says_so)
    logged_since(oms, at, "OMS cannot trade", says_so)
    order = oms.traded(symbol="AAPL", side="buy", qty=1)
    assert (order["status"], order["error_code"]) == ("rejected", "ACCOUNT_BLOCKED")
    assert says_so in order["error_message"]
    control.set_state(status="ACTIVE", trading_blocked=False, account_blocked=False)
    eventually(lambda: checks(oms)["account"] == "ok", 120, 0.2)
    logged_since(oms, at, "OMS trades again")
    assert oms.traded(symbol="AAPL", side="buy", qty=1)["status"] == "filled"


def test_no_line_of_health_or_log_shows_the_key(oms: Stack, control: Control) -> None:
    assert ask("GET", f"{oms.url}/api/health/detailed").body.count(KEY.encode()) == 0
    ours = [line for line in oms.logged().splitlines() if line.startswith(("engine", "api"))]
    assert len(ours) > 50
    assert [line for line in ours if KEY in line] == []
