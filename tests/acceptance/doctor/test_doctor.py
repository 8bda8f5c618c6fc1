"""`oms doctor` as it is typed: with nothing running, beside a running Trademk1, and where things are wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.stack import Stack, eventually, free_port

from oms.doctor.account import broker_findings
from oms.settings import Settings
from oms.system import SystemClock
from oms.upkeep import UpkeepLog
from paperbroker.testing import Control, PaperBroker


def doctor(folder: Path, *options: str, **env: str) -> tuple[int, str]:
    """Its exit code and everything that it printed."""
    command = [sys.executable, "-m", "oms.cli", "doctor", *options]
    around = {"OMS_PORT": str(free_port()), "OMS_ENV_FILE": os.devnull, **env}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={**os.environ, **around}, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def findings(folder: Path, *options: str, **env: str) -> tuple[int, dict[str, Any]]:
    code, text = doctor(folder, "--json", *options, **env)
    return code, {one["check"]: one for one in json.loads(text)}


def test_with_nothing_running_it_says_what_oms_up_would_do(tmp_path: Path) -> None:
    code, text = doctor(tmp_path)
    assert code == 0, text
    assert "built-in paper broker" in text
    assert "ok       postgresql  oms up brings its own; none runs now" in text
    assert text.splitlines()[-1].endswith("0 failed")
    assert list(tmp_path.iterdir()) == []  # it changes nothing


def test_beside_a_running_oms_it_looks_at_that_one_and_leaves_the_stream_alone(
    tmp_path: Path, migrated_database_url: str, redis_clean_url: str, questdb_url: str
) -> None:
    servers = {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_clean_url, "QUESTDB_URL": questdb_url}
    with Stack(tmp_path / "data", ALPACA_API_KEY="mock", **servers) as oms:
        oms.traded(symbol="AAPL", side="buy", qty=1)

        def stream() -> Any:
            return oms.get("/api/health/detailed")["components"]["feed"]["streams"]["stock"]

        eventually(lambda: stream()["connected"])
        losses = stream()["losses"]
        # neither servers nor paper broker are named: what runs on the folder says where they are
        code, found = findings(tmp_path, "--data", str(oms.data), ALPACA_API_KEY="mock")
        assert code == 0, found
        assert all(one["verdict"] == "ok" for one in found.values()), found
        assert "accepts the keys" in found["broker"]["text"]
        assert "buying power" in found["account"]["text"]
        assert "the engine holds the data connection (running)" in found["data plan"]["text"]
        assert found["schema"]["text"].endswith("as this version needs it")
        assert "QuestDB" in found["questdb"]["text"]
        assert oms.url in found["ports"]["text"]
        assert (stream()["connected"], stream()["losses"]) == (True, losses)
        control = Control(oms.addresses["paperbroker_url"], "mock")
        control.set_state(trading_blocked=True)
        code, found = findings(tmp_path, "--data", str(oms.data), ALPACA_API_KEY="mock")
        assert code == 1
        assert found["account"]["verdict"] == "failed"
        assert "trading_blocked" in found["account"]["text"]


def test_without_an_engine_it_tries_the_data_plan_itself(tmp_path: Path, paper_broker: PaperBroker) -> None:
    env = {"ALPACA_API_KEY": paper_broker.key, "PAPERBROKER_URL": paper_broker.url}
    code, found = findings(tmp_path, **env)
    assert (code, found["data plan"]["verdict"]) == (0, "ok"), found
    for code_of_stream, event, text in ((406, "auth", "another program"), (409, "subscribe", "ALPACA_FEED=iex")):
        paper_broker.control.fault("data_error", code=code_of_stream, event=event)
        code, found = findings(tmp_path, **env)
        assert (code, found["data plan"]["verdict"]) == (0, "warning"), found
        assert text in found["data plan"]["text"]


def test_what_is_wrong_is_failed_with_what_to_do_and_no_secret(tmp_path: Path, paper_broker: PaperBroker) -> None:
    env_file = tmp_path / ".env"
    key, secret = "AK" + "B2" * 9, "T0ps3cret" * 5
    env_file.write_text(
        f"ALPACA_API_KEY={key}\nALPACA_API_SECRET={secret}\nALPACA_BASE_URL={paper_broker.url}\nOMS_PROT=1\n"
        f"ALPACA_DATA_URL={paper_broker.url}\nDATABASE_URL=postgresql://oms:pa55w0rd@127.0.0.1:{free_port()}/oms\n"
        f"REDIS_URL=redis://:pa55w0rd@127.0.0.1:{free_port()}/0\nQUESTDB_URL=http://127.0.0.1:{free_port()}\n"
    )
    (tmp_path / "data").mkdir()
    UpkeepLog(tmp_path / "data", ["backup"]).failed("backup", "no room", datetime(2026, 3, 2, 15, tzinfo=UTC))
    code, text = doctor(tmp_path, OMS_ENV_FILE=str(env_file))
    assert code == 1
    lines = {line.split()[1]: line for line in text.splitlines() if line.split()[0] in {"failed", "warning"}}
    assert "a live account's keys (AK…), which do not work at" in lines["broker"]
    assert "do you mean OMS_PORT?" in text
    assert "chmod 600" in text
    assert lines["postgresql"].startswith("failed")
    assert "DATABASE_URL" in lines["postgresql"]
    assert lines["redis"].startswith("failed")
    assert lines["questdb"].startswith("warning")
    assert "failed once since 2026-03-02 15:00 UTC: no room" in lines["backup"]
    assert "backup.log" in lines["backup"]
    for hidden in (key, "T0ps3cret", "pa55w0rd"):
        assert hidden not in text


def test_a_setting_that_stops_everything_is_said_too(tmp_path: Path) -> None:
    code, text = doctor(tmp_path, ALPACA_API_KEY="AK1", ALPACA_BASE_URL="https://api.alpaca.markets")
    assert code == 1
    assert "ALPACA_ALLOW_LIVE=yes" in text


class AsForAlpaca(Settings):
    """The paper broker for what Alpaca is: its clock is not set elsewhere on purpose."""

    @property
    def is_mock(self) -> bool:
        return False


class Skewed(SystemClock):
    """A machine whose clock nobody sets."""

    def __init__(self, ahead_s: float) -> None:
        super().__init__()
        self._ahead = timedelta(seconds=ahead_s)

    def now(self) -> datetime:
        return super().now() + self._ahead


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "text"),
    [(60, "warning", r"[56]\d\.\d s ahead of"), (-60, "warning", r"[56]\d\.\d s behind"), (0, "ok", r"[01]\.\d s ")],
)
async def test_a_clock_that_is_wrong_is_told_with_how_far(
    paper_broker: PaperBroker, ahead_s: float, verdict: str, text: str
) -> None:
    settings = AsForAlpaca(
        alpaca_api_key=paper_broker.key, alpaca_api_secret="x", alpaca_base_url=paper_broker.url,
        alpaca_data_url=paper_broker.url,
    )  # fmt: skip
    found = {one.check: one for one in await broker_findings(settings, Skewed(ahead_s), None)}
    assert found["clock"].verdict == verdict
    assert re.search(text, found["clock"].text), found["clock"].text
    assert ("NTP" in found["clock"].advice) is (verdict == "warning")
