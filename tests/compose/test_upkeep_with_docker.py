"""Backups, `oms doctor`, `oms audit` and alerts with Docker; a record moves to a server without Docker and back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.compose.docker import Clone
from tests.stack import Stack, ask, eventually

KEY = "mock-upkeep"
BACK_UP = "docker compose exec -T app oms backup - > oms.backup"
RESTORE = """\
docker compose stop app
docker compose run --rm -T app oms restore --replace - < oms.backup
docker compose start app
""".splitlines()
# A receiver of alerts beside the app, as a stranger's program would be: it logs the lines that it is sent.
RECEIVER = r"""
services:
  receiver:
    image: ${OMS_IMAGE:-trademk1:local}
    pull_policy: never
    init: true
    command:
      - python
      - -uc
      - |
        import http.server, json
        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                print("TOLD", told["title"], "|", told["message"].replace("\n", " / "))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
            def log_message(self, *_):
                pass
        http.server.HTTPServer(("", 9999), Hook).serve_forever()
"""


@pytest.fixture(scope="module")
def oms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """Started in the background, with often a backup and a receiver of alerts."""
    settings = {
        "ALPACA_API_KEY": KEY,
        "ALPACA_REQUESTS_PER_MINUTE": "0",
        "PAPERBROKER_REQUESTS_PER_MINUTE": "0",
        "OMS_BACKUP_EVERY": "10s",
        "OMS_BACKUP_KEEP": "2",
        "ALERT_URLS": "json://receiver:9999/s3cret-path",
    }
    env_file = "".join(f"{name}={value}\n" for name, value in settings.items())
    clone = Clone(tmp_path_factory.mktemp("upkeep") / "clone", "upkeep", env_file)
    (clone.folder / "compose.override.yaml").write_text(RECEIVER)
    try:
        clone.run("docker compose up --build -d --wait", timeout=1500)
        clone.await_status("running")
        yield clone
    finally:
        clone.remove()


def told(oms: Clone) -> str:
    """What the receiver of alerts was sent."""
    return oms.run("docker compose logs receiver")


def test_backups_and_snapshots_make_themselves(oms: Clone) -> None:
    """Production Considerations 4: *Regular position/order snapshots*; the newest stay, and come out with `cp`."""

    def made() -> list[str]:
        return re.findall(r"oms-\d{8}T\d{6}Z\.backup: \d+ orders", oms.run("docker compose logs app"))

    oms.trades()
    eventually(lambda: len(made()) >= 3, 120, 1, why="no backups on schedule")
    oms.run("docker compose cp app:/app/data/backups ./backups")
    kept = sorted((oms.folder / "backups").glob("oms-*.backup"))
    assert 1 <= len(kept) <= 3
    assert all(path.stat().st_size > 10_000 for path in kept)
    printed = oms.run("docker compose exec app oms snapshot")
    assert re.search(r"data/snapshots/\d{8}T\d{6}Z: [1-9]\d* positions, [1-9]\d* orders", printed)


def test_the_doctor_finds_all_well_and_what_is_wrong(oms: Clone) -> None:
    """In the container of the app, beside the running OMS, with nothing of its own."""
    printed = oms.run("docker compose exec app oms doctor")
    assert "http://paperbroker:8100 accepts the keys" in printed
    assert re.search(r"^ok +postgresql +version 18", printed, re.MULTILINE)
    assert printed.splitlines()[-1].endswith("0 warning, 0 failed"), printed
    oms.run("docker compose stop redis")
    printed = oms.run("docker compose exec app oms doctor", fails=True)
    assert re.search(r"^failed +redis", printed, re.MULTILINE), printed
    oms.run("docker compose start redis")
    oms.await_status("running")


def test_alerts_reach_a_receiver(oms: Clone) -> None:
    """Production Considerations 3: *Add alerts for failed orders*; the address is shown nowhere."""
    assert oms.run("docker compose exec app oms alerts test").strip() == "1: json://receiver:9999/…: arrived"
    order = oms.ended(oms.signal(symbol="AAPL", side="buy", qty=101).json["id"])
    assert order["status"] == "rejected"
    eventually(lambda: "order rejected: buy 101 AAPL: MAX_ORDER_QTY" in told(oms), 60, 0.5)
    assert "s3cret" not in oms.run("docker compose logs app")


def test_a_database_that_is_down_is_told_without_it(oms: Clone) -> None:
    """The alerts are kept in PostgreSQL, and its own outage cannot be."""
    oms.run("docker compose stop db")
    eventually(lambda: "PostgreSQL has not answered since" in told(oms), 90, 0.5)
    assert ask("GET", f"{oms.url}/api/health").json["checks"]["postgresql"] != "ok"
    assert oms.engine_status() == "reconnecting"
    answer = oms.signal(symbol="KO", side="buy", qty=1)
    assert (answer.status, "retry-after" in {name.lower() for name in answer.headers}) == (503, True)
    oms.run("docker compose start db")
    eventually(lambda: "PostgreSQL answers again" in told(oms), 90, 0.5)
    oms.await_status("running", 90)
    oms.trades()


def test_a_record_moves_to_a_server_without_docker_and_back(oms: Clone, tmp_path: Path) -> None:
    """`oms backup` here, `oms restore` there, and the reverse; each time the broker tells what happened since."""
    resting = oms.signal(symbol="MSFT", side="buy", qty=1, type="limit", limit_price=1).json["id"]
    eventually(lambda: oms.get(f"/api/v1/trading/orders/{resting}")["status"] == "submitted", 30)
    oms.run(BACK_UP)
    backup = oms.folder / "oms.backup"
    before = oms.kept()
    later = oms.trades()  # the backup does not know it, the broker does
    shares = before["KO"][0] + later["filled_qty"]

    # To the database of an `oms up`, at the same broker: one of the two trades at a time.
    oms.run("docker compose stop app")
    data = tmp_path / "data"
    without_docker(data, "restore", str(backup))
    [address] = oms.inspect("paperbroker")["NetworkSettings"]["Networks"].values()
    elsewhere = Stack(
        data,
        ALPACA_API_KEY=KEY,
        PAPERBROKER_URL=f"http://{address['IPAddress']}:8100",
        ALPACA_REQUESTS_PER_MINUTE="0",
    )
    with elsewhere:
        eventually(lambda: position(elsewhere.get, "KO") == shares, 60, why="the later fill is missing")
        assert elsewhere.order(resting)["status"] == "submitted"
        kept_there = {order["id"]: order["status"] for order in elsewhere.get("/api/v1/trading/orders?limit=500")}
        assert all(kept_there[name] == value[0] for name, value in before.items() if name in kept_there)
        assert {name for name in before if "-" in name} <= set(kept_there)
        bought = elsewhere.traded(symbol="KO", side="buy", qty=2)
        assert bought["status"] == "filled"
        eventually(lambda: audit_is_clean(elsewhere), 60, 1)
        without_docker(data, "backup", str(backup))

    # And back, into the place of the record that compose has.
    for command in RESTORE:
        oms.run(command)
    oms.await_status("running", 90)
    eventually(lambda: position(oms.get, "KO") == shares + 2, 60, why="what was traded elsewhere is missing")
    assert oms.kept()[bought["id"]][0] == "filled"
    assert oms.get(f"/api/v1/trading/orders/{resting}")["status"] == "submitted"
    eventually(lambda: "Audit clean" in oms.run("docker compose exec app oms audit || true"), 60, 1)
    assert "Audit clean" in oms.run("docker compose exec app oms audit")
    assert oms.trades()["status"] == "filled"


def position(get: Any, symbol: str) -> Any:
    return next((one["qty"] for one in get("/api/v1/trading/positions") if one["symbol"] == symbol), None)


def audit_is_clean(stack: Stack) -> bool:
    done = command(stack.data, "audit", ALPACA_API_KEY=KEY)
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode == 0


def without_docker(data: Path, *arguments: str) -> None:
    done = command(data, *arguments)
    assert done.returncode == 0, done.stderr


def command(data: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`oms …` of this checkout on a data folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ALPACA_", "APCA_", "OMS_"))}
    return subprocess.run(
        [sys.executable, "-m", "oms.cli", *arguments],
        env={**clean, "OMS_ENV_FILE": os.devnull, "OMS_DATA": str(data), **env},
        cwd=data.parent,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
