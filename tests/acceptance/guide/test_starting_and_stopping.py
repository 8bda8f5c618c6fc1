"""`oms up` from its start to its end: signals, kill -9, restarts, a second one, ports that are taken."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.guide.ports import USUAL, taken
from tests.acceptance.guide.processes import all_gone, tree
from tests.stack import Stack, ask, eventually

from oms.embedded.process import processes_below

ROOT = Path(__file__).parents[3]


@pytest.fixture
def oms(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path / "data") as stack:
        yield stack


def trade(stack: Stack) -> Any:
    """The guide's first order."""
    order = stack.traded(symbol="AAPL", side="buy", qty=10, reason="Technical breakout")
    assert order["status"] == "filled", order
    return order


def ended(stack: Stack, within_s: float = 60) -> int:
    """The exit code of an `oms up` that ends by itself."""
    assert stack._process is not None
    return stack._process.wait(within_s)


def held(stack: Stack) -> dict[str, Decimal]:
    return {one["symbol"]: one["qty"] for one in stack.get("/api/v1/trading/positions")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_and_leaves_no_process(oms: Stack, number: int) -> None:
    trade(oms)
    processes = tree(oms)
    assert len(processes) > 6
    assert oms.stop(number) == 0
    all_gone(processes, 0)
    assert processes_below(oms.data) == []
    assert oms.addresses == {}


def test_a_second_start_finds_all_orders_and_positions_again(oms: Stack) -> None:
    order = trade(oms)
    resting = oms.signal(wait=30, symbol="IBM", side="buy", qty=1, type="limit", limit_price=1).json["id"]
    before, orders = held(oms), oms.get("/api/v1/trading/orders")
    assert oms.stop() == 0

    oms.start()
    assert [one["id"] for one in oms.get("/api/v1/trading/orders")] == [one["id"] for one in orders]
    assert oms.order(order["id"])["filled_price"] == order["filled_price"]
    assert held(oms) == before
    assert oms.order(resting)["status"] == "submitted"
    assert oms.traded(symbol="AAPL", side="sell", qty="all")["filled_qty"] == 10
    assert ask("DELETE", f"{oms.url}/api/v1/trading/orders/{resting}").status == 202
    assert oms.ended(resting)["status"] == "cancelled"


def test_killed_with_9_it_leaves_no_process_and_comes_back_with_everything(oms: Stack) -> None:
    trade(oms)
    before = held(oms)
    processes = tree(oms)
    oms.stop(signal.SIGKILL)
    all_gone(processes)
    oms.start()
    assert held(oms) == before
    trade(oms)


def test_killed_with_9_it_can_be_started_again_at_once(oms: Stack) -> None:
    trade(oms)
    oms.stop(signal.SIGKILL)
    oms.start()
    assert held(oms)["AAPL"] == 10
    trade(oms)


def test_a_signal_that_was_accepted_just_before_the_kill_is_traded_after_it(oms: Stack) -> None:
    ids = [oms.signal(symbol="KO", side="buy", qty=1, valid_for_s=300).json["id"] for _ in range(20)]
    oms.stop(signal.SIGKILL)
    oms.start()
    orders = [oms.ended(order_id) for order_id in ids]
    assert {order["status"] for order in orders} == {"filled"}
    eventually(lambda: held(oms)["KO"] == 20, why="each exactly once")


def test_ctrl_c_in_a_terminal_stops_everything_in_order(tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole group at once."""
    oms = Stack(tmp_path / "data")
    script = (
        "import os, sys; os.setsid(); from pathlib import Path; from tests.stack import Stack; "
        f"stack = Stack(Path({str(oms.data)!r})); stack.start(); "
        "import signal; signal.signal(signal.SIGINT, lambda *_: None); print(stack.pid, flush=True); "
        "print(stack._process.wait(60), flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT) as terminal:
        assert terminal.stdout is not None
        assert terminal.stdout.readline().strip().isdecimal()
        os.killpg(terminal.pid, signal.SIGINT)
        assert terminal.stdout.readline().strip() == "0"
    said = oms.logged()
    assert "OMS execution engine stopped" in said
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said


def test_a_second_one_on_the_data_folder_ends_with_a_message(oms: Stack) -> None:
    second = Stack(oms.data)
    second.log = oms.data.parent / "second.log"
    second.start(wait=False)
    assert ended(second) == 1
    assert "already runs" in second.logged()
    assert f"(process {oms.pid})" in second.logged()
    assert "--data" in second.logged()
    trade(oms)


def test_a_taken_api_port_ends_with_a_message_that_says_what_to_do(tmp_path: Path) -> None:
    oms = Stack(tmp_path / "data")
    with taken(oms.port):
        oms.start(wait=False)
        assert ended(oms) == 2
    assert "is taken by another program" in oms.logged()
    assert f"oms up --port {oms.port + 1}, or OMS_PORT={oms.port + 1} make up" in oms.logged()


def test_where_usual_ports_are_taken_the_servers_move_and_say_where_to(tmp_path: Path) -> None:
    with taken(*USUAL) as ours, Stack(tmp_path / "data") as oms:
        ports = {name: int(re.findall(r":(\d+)", url)[-1]) for name, url in oms.addresses.items() if ":" in url}
        assert not ours & set(ports.values())
        banner = eventually(lambda: "Ctrl-C stops" in oms.logged() and oms.logged())
        for name in ("questdb_url", "database_url", "redis_url"):
            assert f":{ports[name]}" in banner
        assert oms.sql("select 1") == "1"
        trade(oms)


def test_an_address_that_others_reach_is_refused_without_a_token(tmp_path: Path) -> None:
    oms = Stack(tmp_path / "data", OMS_HOST="0.0.0.0")
    oms.start(wait=False)
    assert ended(oms) == 2
    assert "OMS_API_TOKEN" in oms.logged()
    assert "--trust-network" in oms.logged()


def test_the_live_address_is_refused_unless_it_is_meant(tmp_path: Path) -> None:
    oms = Stack(tmp_path / "data", ALPACA_API_KEY="AKx", ALPACA_API_SECRET="y")
    oms.env["ALPACA_BASE_URL"] = "https://api.alpaca.markets"
    oms.start(wait=False)
    assert ended(oms) == 2
    assert "ALPACA_ALLOW_LIVE=yes" in oms.logged()


def test_oms_alone_explains_itself() -> None:
    done = subprocess.run([sys.executable, "-m", "oms.cli"], capture_output=True, text=True, timeout=120, check=True)
    for word in ("oms up", "oms db shell", "oms signals", "oms serve", "oms engine", "oms feed", "ALPACA_API_KEY"):
        assert word in done.stdout
