"""Alerts from the whole of Trademk1 to a local receiver, and `oms alerts test`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.alert_receiver import AlertReceiver, alert_receiver
from tests.stack import ROOT, Stack, eventually


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    with alert_receiver() as found:
        yield found


@pytest.fixture
def shared_servers(migrated_database_url: str, redis_clean_url: str, questdb_url: str) -> dict[str, str]:
    return {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_clean_url, "QUESTDB_URL": questdb_url}


def test_a_rejected_order_and_the_engines_death_are_told(
    tmp_path: Path, shared_servers: dict[str, str], receiver: AlertReceiver
) -> None:
    with Stack(tmp_path / "data", ALPACA_API_KEY="mock", ALERT_URLS=receiver.url, **shared_servers) as oms:
        oms.traded(symbol="AAPL", side="buy", qty=100000)
        eventually(lambda: receiver.told("order rejected: buy 100000 AAPL: MAX_ORDER_QTY"), 60)
        engine = oms.child("oms.cli", "engine")
        os.kill(engine, signal.SIGSTOP)  # dead to all who look, and not started again by oms up
        eventually(lambda: receiver.told("the engine is stopped"), 90)
        os.kill(engine, signal.SIGCONT)
        eventually(lambda: receiver.told("the engine is running again"), 90)
        alerts = oms.get("/api/health/detailed")["components"]["alerts"]
        assert alerts["status"] == "ok"
        assert alerts["receivers"][0]["receiver"] == f"1: json://127.0.0.1:{receiver.port}/…"
        assert alerts["receivers"][0]["delivered"] >= 3
        receiver.status = 500
        oms.traded(symbol="AAPL", side="buy", qty=100000)
        eventually(lambda: "answered HTTP 500" in oms.get("/api/health")["checks"]["alerts"], 60)
        assert oms.get("/api/health")["status"] == "degraded"
        receiver.status = 200
        eventually(lambda: oms.get("/api/health")["checks"]["alerts"] == "ok", 120)
        health = str(oms.get("/api/health/detailed")) + str(oms.get("/api/health"))
    for secret in ("t0ken", "s3cret"):
        assert secret not in oms.logged() + health
    assert receiver.told("buy 100000 AAPL") == 2


def alerts_test(folder: Path, urls: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "ALERT_URLS": urls, "OMS_ENV_FILE": os.devnull}
    command = [sys.executable, "-m", "oms.cli", "alerts", "test"]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, timeout=90, check=False)


def test_oms_alerts_test_says_for_each_receiver_whether_it_arrived(tmp_path: Path, receiver: AlertReceiver) -> None:
    done = alerts_test(tmp_path, receiver.url)
    assert (done.returncode, done.stdout) == (0, f"1: json://127.0.0.1:{receiver.port}/…: arrived\n")
    assert "This is a test" in receiver.lines[0]
    with alert_receiver() as refusing:
        refusing.status = 403
        urls = f"{receiver.url},{refusing.url} json://t0ken@127.0.0.1:1/s3cret nonsense://t0ken/s3cret"
        done = alerts_test(tmp_path, urls)
        assert done.returncode == 1
        assert done.stdout.splitlines() == [
            f"1: json://127.0.0.1:{receiver.port}/…: arrived",
            f"2: json://127.0.0.1:{refusing.port}/…: answered HTTP 403",
            "3: json://127.0.0.1:1/…: cannot be reached",
            "4: nonsense://…: Apprise does not understand it; see https://github.com/caronc/apprise/wiki for the form",
        ]
        assert refusing.refused == 1
    assert "t0ken" not in done.stderr
    assert "s3cret" not in done.stderr


def test_without_receivers_oms_alerts_test_says_what_to_set(tmp_path: Path) -> None:
    done = alerts_test(tmp_path, " ")
    assert done.returncode == 2
    assert "ALERT_URLS" in done.stderr


def test_the_example_names_it() -> None:
    assert "#ALERT_URLS=" in (ROOT / ".env.example").read_text()
    assert "ALERT_URLS: ${ALERT_URLS:-}" in (ROOT / "compose.yaml").read_text()
