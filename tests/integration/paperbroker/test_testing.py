"""The fixture, as others use it."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from paperbroker.testing import PaperBroker, paper_broker

__all__ = ["paper_broker"]


def test_the_fixture_brings_an_account_of_its_own(paper_broker: PaperBroker) -> None:
    headers = {"APCA-API-KEY-ID": paper_broker.key, "APCA-API-SECRET-KEY": "any"}
    request = urllib.request.Request(f"{paper_broker.url}/v2/account", headers=headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
        assert int(answer.headers["X-RateLimit-Limit"]) > int(answer.headers["X-RateLimit-Remaining"]) > 0
    assert len(paper_broker.control.requests()) == 1
    assert paper_broker.account().control.requests() == []


def pytest_in(folder: Path, *arguments: str, passed: int = 1) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "paperbroker.testing", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{passed} passed" in ended.stdout


def test_options_reach_the_process(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "def test_time(paper_broker):\n    assert paper_broker.control.advance(0).startswith('2031-')\n"
    )
    pytest_in(tmp_path, "--paperbroker", "--now 2031-01-02", str(tmp_path))


@pytest.mark.parametrize("arguments", [["--paperbroker"], ["--paperbroker", "-x"], ["--paperbroker", "test_theirs.py"]])
def test_the_option_needs_no_value(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "def test_key(paper_broker):\n    assert paper_broker.key.startswith('mock')\n"
    )
    if arguments[-1] == "test_theirs.py":
        (tmp_path / "test_others.py").write_text("def test_not_asked_for():\n    raise AssertionError\n")
    pytest_in(tmp_path, *arguments)


AFTER_A_HALT = """
import json, time, urllib.request

def ask(broker, path, body=None):
    headers = {"APCA-API-KEY-ID": broker.key, "APCA-API-SECRET-KEY": "any", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(broker.url + path, content, headers)) as answer:
        return json.load(answer)

def test_halts(paper_broker):
    paper_broker.control.halt("AAPL")
    paper_broker.control.halt("IBM")

def test_trades(paper_broker):
    market = {"symbol": "IBM", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
    order, until = ask(paper_broker, "/v2/orders", market), time.monotonic() + 60
    while order["status"] != "filled":
        assert time.monotonic() < until, order
        time.sleep(0.05)
        order = ask(paper_broker, "/v2/orders/" + order["id"])
"""


def test_a_halt_ends_with_its_test(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(AFTER_A_HALT)
    pytest_in(tmp_path, "test_theirs.py", passed=2)
