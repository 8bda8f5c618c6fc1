"""Alpaca's own clients, unmodified but for the address: account → stream → order → fill → position → cancel.

Each tells the same story in its own language, in a script that prints what it saw as one JSON object:
`cash`, `bid` and `ask` of a quote, `events` of a market order for 2 AAPL, its `status` and `price`, the `position`, the
`open` orders while a limit order rests, and the `cancel_events` and `cancel_status` of that one. `closed` is the side
of the order that closed the position.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from tests.acceptance.clients.environments import HERE, go_binary, node_environment, python_environment

SECONDS = 60


def alpaca_py() -> list[str]:
    pytest.importorskip("alpaca", reason="alpaca-py is not installed: run `make setup`")
    import sys

    return [sys.executable, str(HERE / "python" / "alpaca_py.py")]


def alpaca_trade_api() -> list[str]:
    return [str(python_environment("legacy")), str(HERE / "python" / "alpaca_trade_api_3.py")]


def javascript_3() -> list[str]:
    return ["node", str(node_environment() / "sdk3.js")]


def javascript_4() -> list[str]:
    return ["node", str(node_environment() / "sdk4.js")]


def go_3() -> list[str]:
    return [str(go_binary())]


def story_of(command: list[str], broker: Any) -> dict[str, Any]:
    """Run a client's script against the broker; what it printed last."""
    addresses = dict.fromkeys(("APCA_API_BASE_URL", "APCA_API_DATA_URL", "APCA_API_STREAM_URL"), broker.url)
    key = f"mock-{uuid.uuid4()}"
    environment = {**os.environ, **addresses, "APCA_API_KEY_ID": key, "APCA_API_SECRET_KEY": "any"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    story = json.loads(done.stdout.strip().splitlines()[-1])
    assert isinstance(story, dict)
    return story


@pytest.mark.timeout(300)  # the first run installs or builds the client
@pytest.mark.parametrize("client", [alpaca_py, alpaca_trade_api, javascript_3, javascript_4, go_3])
def test_account_stream_order_fill_position_cancel(client: Callable[[], list[str]], broker: Any) -> None:
    story = story_of(client(), broker)
    assert float(story["cash"]) == 100_000
    assert 0 < float(story["bid"]) < float(story["ask"])
    events = [event for event in story["events"] if event != "partial_fill"]
    assert events == ["pending_new", "new", "fill"]
    assert story["status"] == "filled"
    assert float(story["price"]) == pytest.approx(float(story["ask"]), rel=0.01)
    assert float(story["position"]) == 2
    assert story["open"] == 1
    assert story["cancel_events"] == ["pending_new", "new", "pending_cancel", "canceled"]
    assert story["cancel_status"] == "canceled"
    assert story["closed"] == "sell"
