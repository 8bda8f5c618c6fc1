"""Keys that are wrong, missing, or whose broker is away: what health says, what a signal is answered.

The paper broker of one stack plays Alpaca for the others, which reach it by `ALPACA_BASE_URL`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.guide.shell import paste
from tests.stack import RECORD, Stack, ask, eventually, free_port

ENGINE_STATUS = "curl http://localhost:8000/api/health/detailed | jq '.execution_engine_status'"


@contextmanager
def broker(data: Path, port: int) -> Iterator[str]:
    """`paperbroker` alone; its address."""
    command = [sys.executable, "-m", "paperbroker.cli", "--port", str(port), "--data", str(data)]
    clean = {key: value for key, value in os.environ.items() if key == RECORD or not key.startswith("PAPERBROKER_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=clean) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"paperbroker ready at http://127.0.0.1:{port}\n"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextmanager
def started(stack: Stack) -> Iterator[Stack]:
    """A stack that is not going to be ready; its API answers."""

    def answers() -> bool:
        try:
            return ask("GET", f"{stack.url}/livez", timeout=5).status == 200
        except OSError:
            return False

    stack.start(wait=False)
    try:
        eventually(answers, why=f"the API does not answer; see {stack.log}")
        yield stack
    finally:
        stack.stop()


def becomes(stack: Stack, status: str, within_s: float = 120) -> None:
    eventually(lambda: paste(stack, ENGINE_STATUS) == status, within_s, 0.2, why=f"{stack.log}: it is not {status}")


def test_keys_in_dot_env_that_the_broker_refuses(tmp_path: Path, shared_servers: dict[str, str]) -> None:
    """Troubleshooting, *OMS not starting: check Alpaca credentials in `.env`*: everything says so."""
    with broker(tmp_path / "broker", free_port()) as url:
        (tmp_path / ".env").write_text(
            f"ALPACA_API_KEY=AKbad\nALPACA_API_SECRET=x\nALPACA_BASE_URL={url}\nALPACA_DATA_URL={url}\n"
        )
        with started(Stack(tmp_path / "data", OMS_ENV_FILE=str(tmp_path / ".env"), **shared_servers)) as oms:
            becomes(oms, "unauthorized")
            answer = oms.signal(symbol="AAPL", side="buy", qty=10)
            assert (answer.status, answer.json["code"]) == (503, "unauthorized")
            assert "ALPACA_API_KEY" in answer.json["detail"]
            assert "ALPACA_API_SECRET" in answer.json["detail"]
            assert ask("GET", f"{oms.url}/readyz").status == 503
            assert "The broker refuses the keys" in oms.logged()


def test_no_keys_where_the_paper_broker_is_not_our_own(tmp_path: Path, shared_servers: dict[str, str]) -> None:
    """Prerequisites: without credentials the OMS runs and says what to set (this is how compose's `app` runs)."""
    with broker(tmp_path / "broker", free_port()) as url:
        with started(Stack(tmp_path / "data", PAPERBROKER_URL=url, **shared_servers)) as oms:
            becomes(oms, "not_configured")
            answer = oms.signal(symbol="AAPL", side="buy", qty=10)
            assert (answer.status, answer.json["code"]) == (503, "not_configured")
            assert "ALPACA_API_KEY" in answer.json["detail"]
            assert "not configured" in oms.logged()
        with Stack(tmp_path / "data", PAPERBROKER_URL=url, ALPACA_API_KEY="mock", **shared_servers) as oms:
            assert oms.traded(symbol="AAPL", side="buy", qty=10)["status"] == "filled"


def test_a_broker_that_is_away_at_the_start_is_taken_when_it_comes(
    tmp_path: Path, shared_servers: dict[str, str]
) -> None:
    """Before the first contact a signal gets 503; once the account is known it is accepted, and waits."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    oms = Stack(tmp_path / "data", ALPACA_API_KEY="mock-late", PAPERBROKER_URL=url, **shared_servers)
    with started(oms):
        becomes(oms, "reconnecting")
        answer = oms.signal(symbol="AAPL", side="buy", qty=10)
        assert (answer.status, answer.json["code"]) == (503, "account_unknown")
        with broker(tmp_path / "broker", port):
            becomes(oms, "running")
            time.sleep(1.1)  # what the API knows of the account is up to a second old, and then asked for anew
            assert oms.traded(symbol="AAPL", side="buy", qty=10)["status"] == "filled"
        becomes(oms, "reconnecting")
        waiting = oms.signal(symbol="AAPL", side="buy", qty=1, valid_for_s=120)
        stale = oms.signal(symbol="AAPL", side="buy", qty=1, valid_for_s=1)
        assert (waiting.status, stale.status) == (202, 202)
        assert oms.ended(stale.json["id"])["error_code"] == "SIGNAL_STALE"
        with broker(tmp_path / "broker", port):
            assert oms.ended(waiting.json["id"])["status"] == "filled"


def test_a_broker_that_is_away_at_a_restart_keeps_no_one_from_looking(
    tmp_path: Path, shared_servers: dict[str, str]
) -> None:
    port = free_port()
    oms = Stack(tmp_path / "data", ALPACA_API_KEY="mock", PAPERBROKER_URL=f"http://127.0.0.1:{port}", **shared_servers)
    with broker(tmp_path / "broker", port), oms:
        oms.traded(symbol="AAPL", side="buy", qty=10)
    with started(oms):
        becomes(oms, "reconnecting")
        assert [one["symbol"] for one in oms.get("/api/v1/trading/orders")] == ["AAPL"]
        assert oms.get("/api/v1/trading/portfolio")["cash"] > 0
        with broker(tmp_path / "broker", port):
            becomes(oms, "running")


def test_with_a_token_everything_asks_for_it_but_the_probes(tmp_path: Path, shared_servers: dict[str, str]) -> None:
    with Stack(tmp_path / "data", ALPACA_API_KEY="mock", OMS_API_TOKEN="s3cret", **shared_servers) as oms:
        bearer = {"Authorization": "Bearer s3cret"}
        for path in ("/livez", "/readyz"):
            assert ask("GET", oms.url + path).status == 200
        for path in ("/api/v1/trading/orders", "/api/health/detailed", "/api/v1/events", "/docs", "/openapi.json"):
            assert ask("GET", oms.url + path).status == 401, path
            assert ask("GET", oms.url + path, headers={"Authorization": "Bearer wrong"}).status == 401, path
            assert ask("GET", oms.url + path, headers=bearer).status == 200, path
        signal = {"symbol": "AAPL", "side": "buy", "qty": 10}
        url = f"{oms.url}/api/v1/trading/signal"
        assert ask("POST", url, signal).status == 401
        assert ask("POST", url, signal, bearer).status == 202
        assert "$OMS_API_TOKEN" in eventually(lambda: "Ctrl-C stops" in oms.logged() and oms.logged())
        assert "s3cret" not in oms.logged()


def test_no_web_page_can_trade_on_a_local_oms(tmp_path: Path, shared_servers: dict[str, str]) -> None:
    with Stack(tmp_path / "data", ALPACA_API_KEY="mock", **shared_servers) as oms:
        url, order = f"{oms.url}/api/v1/trading/signal", {"symbol": "AAPL", "side": "buy", "qty": 10}
        for headers, status in (
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Host": "evil.example"}, 421),
            ({"Host": f"evil.example:{oms.port}", "Origin": f"http://evil.example:{oms.port}"}, 421),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
        ):
            assert ask("POST", url, order, headers).status == status, headers
            assert ask("GET", f"{oms.url}/api/v1/trading/orders", headers=headers).status == status, headers
        assert oms.get("/api/v1/trading/orders") == []
        own = {"Origin": f"http://localhost:{oms.port}"}
        assert ask("POST", url, order, own).status == 202
