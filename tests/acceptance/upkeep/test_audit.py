"""`oms audit` as a person runs it beside the OMS: quiet while trading goes on, loud when something is wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.upkeep.conftest import Oms
from tests.stack import Stack

pytestmark = pytest.mark.timeout(400)

FREE = {"ALPACA_REQUESTS_PER_MINUTE": "0", "PAPERBROKER_REQUESTS_PER_MINUTE": "0"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("audit") / "data", **FREE) as stack:
        yield stack


def test_an_audit_while_orders_fill_raises_no_false_alarm(stack: Stack, oms: Oms) -> None:
    stopped = threading.Event()
    orders: list[str] = []

    def trade() -> None:
        while not stopped.wait(0.2):
            for symbol, side in (("AAPL", "buy"), ("AAPL", "sell"), ("BTC/USD", "buy"), ("BTC/USD", "sell")):
                qty = "1" if symbol == "AAPL" else "0.001"
                orders.append(stack.signal(symbol=symbol, side=side, qty=qty).json["id"])

    trader = threading.Thread(target=trade)
    trader.start()
    try:
        during = [oms("audit", "--data", str(stack.data), "--json", **FREE) for _ in range(2)]
    finally:
        stopped.set()
        trader.join()
    for done in during:
        assert done.returncode == 0, done.stdout + done.stderr
    for order_id in orders:
        stack.ended(order_id)
    stack.signal(symbol="MSFT", side="buy", qty=1, type="limit", limit_price=1, wait=30)
    after = oms("audit", "--data", str(stack.data), "--json", **FREE)
    assert after.returncode == 0, after.stdout + after.stderr
    found = json.loads(after.stdout)
    assert found["clean"]
    assert found["in_flight"] == []
    assert found["checked"]["orders"] == len(orders) + 1
    assert found["checked"]["fills at the broker"] == found["checked"]["fills"] > 0
    assert found["checked"]["open orders at the broker"] == 1


def test_what_is_wrong_is_told_and_the_exit_code_says_so(stack: Stack, oms: Oms) -> None:
    order = stack.traded(symbol="NVDA", side="buy", qty=2)
    stack.sql(f"delete from fills where order_id = '{order['id']}'")
    done = oms("audit", "--data", str(stack.data), **FREE)
    assert done.returncode == 1, done.stdout + done.stderr
    assert order["id"] in done.stdout
    assert order["alpaca_id"] in done.stdout, "the broker has a fill that is not recorded"
    assert "NVDA" in done.stdout
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("Audit found "), last


def test_what_cannot_be_audited_ends_with_2(oms: Oms, tmp_path: Path) -> None:
    nothing = oms("audit", "--data", str(tmp_path / "none"))
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "oms up" in nothing.stderr
    away = oms("audit", "--no-broker", DATABASE_URL="postgresql://oms@127.0.0.1:1/oms")
    assert away.returncode == 2
    assert "PostgreSQL does not answer" in away.stderr


def test_a_broker_that_cannot_be_asked_is_told_beside_what_was_found(migrated_database_url: str, oms: Oms) -> None:
    done = oms("audit", DATABASE_URL=migrated_database_url)
    assert done.returncode == 2
    assert "Audit clean" in done.stdout
    assert "ALPACA_API_KEY" in done.stderr
    alone = oms("audit", "--no-broker", DATABASE_URL=migrated_database_url)
    assert (alone.returncode, alone.stderr) == (0, "")
