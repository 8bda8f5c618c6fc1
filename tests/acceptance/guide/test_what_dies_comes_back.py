"""kill -9 of each process that `oms up` started: it comes back, nothing accepted is lost, and trading goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import redis
from tests.acceptance.guide.ports import USUAL, taken
from tests.acceptance.guide.processes import child
from tests.stack import Stack, ask, eventually

WELL_WITHIN_S = 120
CHILDREN = {
    "engine": ("oms.cli", "engine"),
    "API": ("oms.cli", "serve"),
    "broker": ("paperbroker.cli",),
    "PostgreSQL": ("/proc/self/cwd",),
    "Valkey": ("valkey-server",),
    "QuestDB": ("-Xmx256m",),
}


@pytest.fixture(scope="module")
def oms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack on unusual ports: a server that is killed must find its own again, whoever else starts servers here."""
    data = tmp_path_factory.mktemp("kills") / "data"
    with taken(*USUAL):
        stack = Stack(data, ALPACA_REQUESTS_PER_MINUTE="0", PAPERBROKER_REQUESTS_PER_MINUTE="0")
        stack.start()
    try:
        yield stack
    finally:
        stack.stop()


def pid_of(stack: Stack, what: str) -> int:
    """The process id of a child."""
    return child(stack, *CHILDREN[what])


def well(stack: Stack) -> None:
    """Wait until everything is well, by a report that was made after this was asked."""
    asked = datetime.now(UTC)
    health: Any = None

    def is_well() -> bool:
        nonlocal health
        try:
            health = stack.get("/api/health")
        except (OSError, AssertionError) as error:
            health = error
            return False
        return datetime.fromisoformat(health["time"]) > asked and health["status"] == "ok"

    try:
        eventually(is_well, WELL_WITHIN_S, 0.2)
    except AssertionError:
        raise AssertionError(f"not everything is well within {WELL_WITHIN_S} s: {health}") from None


def fills(stack: Stack, **terms: object) -> Any:
    """A signal that must be traded, sent again while it cannot be taken: always the same one."""
    signal_id = f"after-{time.monotonic_ns()}"

    def accepted() -> Any:
        try:
            answer = stack.signal(**{"valid_for_s": 120, "signal_id": signal_id, **terms})
        except OSError:
            return None
        assert answer.status in {202, 503}, answer.body
        return answer.status == 202 and answer.json

    order = stack.ended(eventually(accepted, why="no signal is taken")["id"])
    assert order["status"] == "filled", order
    return order


@pytest.mark.parametrize("what", CHILDREN)
def test_killed_with_9_it_comes_back_and_trades_on(oms: Stack, what: str) -> None:
    well(oms)
    before = oms.get("/api/v1/trading/orders?limit=1")
    had = held(oms, "KO")
    pid = pid_of(oms, what)
    os.kill(pid, signal.SIGKILL)
    order = fills(oms, symbol="KO", side="buy", qty=1)
    well(oms)
    assert eventually(lambda: pid_of(oms, what)) != pid
    found = oms.get("/api/v1/trading/orders?limit=2")
    assert [one["id"] for one in found] == [order["id"], *(one["id"] for one in before)][: len(found)]
    assert held(oms, "KO") == had + 1
    ours = [line for line in oms.logged().splitlines() if 'File "' in line and "/oms/" in line]
    assert not ours, "an exception of ours got into the log"


def held(stack: Stack, symbol: str) -> Decimal:
    found = stack.get("/api/v1/trading/positions?include_closed=true")
    return next((one["qty"] for one in found if one["symbol"] == symbol), Decimal(0))


def test_redis_killed_in_the_middle_loses_nothing_that_was_accepted(oms: Stack) -> None:
    """Signals are stored before Redis hears of them; events that Redis missed are added when it is back."""
    well(oms)
    first = [oms.signal(symbol="KO", side="buy", qty=1, valid_for_s=120).json["id"] for _ in range(5)]
    os.kill(pid_of(oms, "Valkey"), signal.SIGKILL)
    later = [oms.signal(symbol="KO", side="buy", qty=1, valid_for_s=120) for _ in range(5)]
    assert {answer.status for answer in later} == {202}
    for order_id in [*first, *(answer.json["id"] for answer in later)]:
        assert oms.ended(order_id)["status"] == "filled"
    last = int(oms.sql("select max(seq) from order_events"))

    def relayed() -> list[int]:
        try:
            with redis.Redis.from_url(oms.addresses["redis_url"], decode_responses=True) as bus:
                return [int(fields["seq"]) for _, fields in bus.xrange("order_events")]
        except redis.RedisError:
            return []

    found = eventually(
        lambda: (seen := relayed()) and seen[-1] >= last and seen, why="the stream order_events did not catch up"
    )
    assert found == list(range(found[0], found[-1] + 1))
    with redis.Redis.from_url(oms.addresses["redis_url"]) as bus:
        message = {"symbol": "KO", "side": "buy", "qty": 1, "reason": "after Redis came back"}
        eventually(lambda: bus.publish("trade_signals", json.dumps(message)) >= 1, why="nobody listens again")
    eventually(
        lambda: oms.get("/api/v1/trading/orders?limit=1")[0]["reason"] == "after Redis came back",
        why="a foreign signal after the restart was not taken",
    )


def test_while_postgresql_is_away_signals_get_503_and_never_a_lie(oms: Stack) -> None:
    well(oms)
    os.kill(pid_of(oms, "PostgreSQL"), signal.SIGKILL)
    answers = [
        oms.signal(symbol="KO", side="buy", qty=1, signal_id=f"outage-{number}", valid_for_s=120)
        for number in range(20)
    ]
    assert {answer.status for answer in answers} <= {202, 503}
    assert all(
        answer.json["code"] in {"store_unavailable", "outcome_unknown"} for answer in answers if answer.status == 503
    )
    # A client asks again until it is told that the signal is stored; that ends the warning in the health report too.
    again = {"symbol": "KO", "side": "buy", "qty": 1, "signal_id": "outage-19", "valid_for_s": 120}
    eventually(lambda: oms.signal(**again).status == 202)
    well(oms)
    for number, answer in enumerate(answers):
        stored = oms.signal(symbol="KO", side="buy", qty=1, signal_id=f"outage-{number}", valid_for_s=120)
        assert stored.status == 202
        assert answer.status == 503 or answer.json["id"] == stored.json["id"]
        assert oms.ended(stored.json["id"])["status"] == "filled"
    assert oms.sql("select count(*) from orders where signal_id like 'outage-%'") == "20"


def test_without_questdb_trading_goes_on_and_health_says_so(oms: Stack) -> None:
    well(oms)
    os.kill(pid_of(oms, "QuestDB"), signal.SIGSTOP)
    try:
        eventually(lambda: oms.get("/api/health/detailed")["components"]["questdb"]["status"] != "ok")
        assert ask("GET", f"{oms.url}/readyz").status == 200
        fills(oms, symbol="PFE", side="buy", qty=1)

        def valued() -> bool:
            positions = oms.get("/api/v1/trading/positions")
            return any(one["symbol"] == "PFE" and one["unrealized_pnl"] is not None for one in positions)

        eventually(valued, why="prices in memory did not value the position")
    finally:
        os.kill(pid_of(oms, "QuestDB"), signal.SIGCONT)
    well(oms)
