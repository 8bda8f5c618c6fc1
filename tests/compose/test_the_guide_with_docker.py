"""The guide's Docker commands, as they are written, against one `docker compose up --build` in a fresh clone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.docs.commands import commands
from tests.acceptance.guide.shell import paste
from tests.compose.docker import SERVICES, Clone
from tests.stack import ROOT, ask, eventually

BUY_APPLE = r"""curl -X POST http://localhost:8000/api/v1/trading/signal \
  -H "Content-Type: application/json" \
  -d '{
    "symbol": "AAPL",
    "side": "buy",
    "qty": 10,
    "reason": "Technical breakout"
  }'"""
SELL_BITCOIN = r"""curl -X POST http://localhost:8000/api/v1/trading/signal \
  -H "Content-Type: application/json" \
  -d '{
    "symbol": "BTCUSDT",
    "side": "sell",
    "qty": 0.1,
    "reason": "Take profit"
  }'"""
ENGINE_STATUS = "curl http://localhost:8000/api/health/detailed | jq '.execution_engine_status'"
UPDATES = """\
docker compose exec db psql -c "UPDATE configs SET value = '20000' WHERE key = 'max_position_size_usd'"
docker compose exec db psql -c "UPDATE configs SET value = '2.0' WHERE key = 'max_order_qty_crypto'"
docker compose exec db psql -c "UPDATE configs SET value = '500' WHERE key = 'max_order_qty_stock'"
""".splitlines()
RESTORE_THE_DATABASE = """\
docker compose stop app
docker compose exec -T db pg_restore --clean --if-exists --dbname oms < oms.dump
docker compose start app
""".splitlines()
BACK_UP_EVERY_VOLUME = """\
docker compose stop
for volume in app db paperbroker questdb redis; do docker run --rm -v trademk1_$volume:/from:ro -v "$PWD/backup:/to" redis:7-alpine tar czf /to/$volume.tar.gz -C /from .; done
docker compose start
""".splitlines()  # noqa: E501
RESTORE_EVERY_VOLUME = """\
docker compose down --volumes
docker compose create
for volume in app db paperbroker questdb redis; do docker run --rm -v trademk1_$volume:/to -v "$PWD/backup:/from:ro" redis:7-alpine tar xzf /from/$volume.tar.gz -C /to; done
docker compose up -d --wait
""".splitlines()  # noqa: E501


@pytest.fixture(scope="module")
def oms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """*docker compose up --build*, in the foreground as the guide has it; `.env` names a mock account of its own."""
    clone = Clone(tmp_path_factory.mktemp("guide") / "clone", "guide", "ALPACA_API_KEY=mock-guide\n")
    try:
        clone.attach("docker compose up --build", until="OMS execution engine started")
        clone.await_status("running")
        yield clone
        assert clone.interrupt() in {0, 130}
        clone.run("docker compose down")  # what is stopped is also removed; volumes stay
    finally:
        clone.remove()


def test_the_log_line_of_the_guide_appears(oms: Clone) -> None:
    """Starting the OMS: *`app_1 | OMS execution engine started`* (compose 2 writes app-1)."""
    assert re.search(r"^app-1 +\| .*OMS execution engine started", oms.printed(), re.MULTILINE)


def test_the_curl_that_buys_apple_fills(oms: Clone) -> None:
    """Submit Trade Signal, sent from the host."""
    order = oms.ended(paste(oms, BUY_APPLE)["id"])
    assert (order["status"], order["symbol"], order["filled_qty"]) == ("filled", "AAPL", 10)


def test_the_curl_that_sells_bitcoin_fills(oms: Clone) -> None:
    """Submit Trade Signal, sent from the host."""
    order = oms.ended(paste(oms, SELL_BITCOIN)["id"])
    assert (order["status"], order["symbol"], order["filled_qty"]) == ("filled", "BTC/USD", Decimal("0.1"))


def test_the_engine_is_running(oms: Clone) -> None:
    """Monitoring: *Check OMS health*; every part is well."""
    assert paste(oms, ENGINE_STATUS) == "running"
    eventually(lambda: oms.get("/api/health")["status"] == "ok", 30, why=str(oms.get("/api/health")))


def test_every_container_becomes_healthy(oms: Clone) -> None:
    """The health checks use nothing that the images do not hold."""
    for service in SERVICES:
        eventually(lambda name=service: oms.inspect(name)["State"]["Health"]["Status"] == "healthy", 90, 1, why=service)


def test_redis_answers_ping(oms: Clone) -> None:
    """Monitoring: *Check Redis connectivity.*"""
    assert oms.run("docker compose exec redis redis-cli ping").strip() == "PONG"


def test_the_signal_queue_can_be_followed(oms: Clone) -> None:
    """Monitoring: *Monitor signal queue.*"""
    command = ["bash", "-c", "exec docker compose exec redis redis-cli subscribe trade_signals"]
    with subprocess.Popen(command, cwd=oms.folder, env=oms.env, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            assert [following.stdout.readline().strip() for _ in range(3)] == ["subscribe", "trade_signals", "1"]
            order_id = oms.signal(symbol="KO", side="buy", qty=1).json["id"]
            assert [following.stdout.readline().strip() for _ in range(2)] == ["message", "trade_signals"]
            assert json.loads(following.stdout.readline())["order_id"] == order_id
        finally:
            following.terminate()


def test_a_signal_published_with_redis_cli_is_executed(oms: Clone) -> None:
    """Order Flow 2: *Redis queue.*"""
    message = '{"symbol": "KO", "side": "buy", "qty": 2, "signal_id": "by-redis-cli"}'
    oms.run(f"docker compose exec redis redis-cli publish trade_signals '{message}'")

    def filled() -> bool:
        orders = oms.get("/api/v1/trading/orders?symbol=KO&status=filled")
        return any(order["qty"] == 2 for order in orders)

    eventually(filled, 20, why="the published signal did not become a filled order")


def test_ps_shows_redis_running(oms: Clone) -> None:
    """Troubleshooting: *Verify Redis is running.*"""
    assert re.search(r"redis:7-alpine.*\bUp\b", oms.run("docker compose ps redis"))


def test_the_logs_name_the_oms(oms: Clone) -> None:
    """Troubleshooting: *Check logs.*"""
    found = oms.run("docker compose logs app | grep -i oms")
    assert "OMS execution engine started" in found
    assert "OMS API started" in found
    assert "database system is ready" in oms.run("docker compose logs db")


def test_what_alpaca_refused_is_in_the_logs(oms: Clone) -> None:
    """Troubleshooting: *Review app logs for Alpaca API errors.*"""
    refused = oms.signal(symbol="AAPL", side="buy", qty=1, type="limit", limit_price=150.98765).json["id"]
    assert oms.ended(refused)["error_code"] == "BROKER_42210000"
    assert "sub-penny increment" in oms.run("docker compose logs app | grep -i alpaca")
    assert refused in oms.run("docker compose logs app | grep -iE 'warning|error'")


def test_questdbs_console_has_recent_ticks(oms: Clone) -> None:
    """Troubleshooting: *Check QuestDB has recent ticks: http://localhost:9000.*"""
    console = f"http://localhost:{oms.questdb_port}"
    assert "questdb" in ask("GET", f"{console}/index.html").body.decode(errors="replace").lower()
    query = "select%20count()%20from%20market_ticks%20where%20timestamp%20%3E%20dateadd('m',-1,now())"

    def ticks() -> int:
        answer = ask("GET", f"{console}/exec?query={query}").json
        return int(answer["dataset"][0][0]) if "dataset" in answer else 0  # the first tick makes the table

    eventually(ticks, 60, why="no recent ticks")


def test_limits_are_changed_by_sql(oms: Clone) -> None:
    """Risk Management: *Modify via SQL*, through `docker compose exec db psql`; they hold for the next order."""
    refused = oms.ended(oms.signal(symbol="F", side="buy", qty=101).json["id"])
    assert "max_order_qty_stock 100" in refused["error_message"]
    for command in UPDATES:
        assert oms.run(command).strip() == "UPDATE 1"
    limits = oms.run('docker compose exec db psql -Atc "SELECT key, value FROM configs"').split()
    assert {"max_position_size_usd|20000", "max_order_qty_crypto|2.0", "max_order_qty_stock|500"} <= set(limits)
    order = oms.ended(oms.signal(symbol="F", side="buy", qty=101).json["id"])
    assert order["status"] == "filled", order["error_message"]


def test_limits_are_changed_within_psql(oms: Clone) -> None:
    """Risk Management: *Modify via SQL*, the guide's three statements typed into the shell that it opens."""
    statements = [command.text for command in commands(ROOT / "docs" / "guide.md") if command.language == "sql"]
    assert len(statements) == 3
    assert oms.run("docker compose exec db psql", typed="\n".join(statements)).splitlines() == ["UPDATE 1"] * 3


def test_the_tests_run_in_the_container_and_leave_the_running_account_alone(oms: Clone) -> None:
    """Testing: *`docker compose exec app pytest tests/test_oms.py -v`*, on servers and a broker of its own."""
    counts = "(SELECT count(*) FROM orders), (SELECT count(*) FROM accounts)"
    state = f"SELECT {counts}, (SELECT json_agg(c ORDER BY key) FROM configs c)"
    before = oms.run(f'docker compose exec db psql -Atc "{state}"'), oms.kept()
    printed = oms.run("docker compose exec app pytest tests/test_oms.py -v", timeout=1200)
    (oms.folder / "pytest-in-the-container").write_text(printed)
    assert re.search(r"= \d+ passed in ", printed), printed[-3000:]
    assert (oms.run(f'docker compose exec db psql -Atc "{state}"'), oms.kept()) == before
    assert oms.engine_status() == "running"


def test_the_image_holds_the_servers_of_its_tests(oms: Clone) -> None:
    """QuestDB's jar, PostgreSQL, Valkey: nothing is fetched, and nothing but /tmp and /var/tmp is written."""
    alone = "docker run --rm --network none --read-only --cap-drop ALL --tmpfs /tmp --volume /var/tmp trademk1:test"
    printed = oms.run(f"{alone} pytest tests/test_oms.py -q -k questdb", timeout=600)
    assert re.search(r"^[1-9]\d* passed", printed, re.MULTILINE), printed[-3000:]


# --- What may happen to the parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_a_restarted_service_loses_nothing(oms: Clone, service: str) -> None:
    """`docker compose restart`."""
    before = oms.kept()
    oms.run(f"docker compose restart {service}")
    _trades_on(oms, before)


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_loses_nothing(oms: Clone, service: str) -> None:
    """`docker compose kill`, which Docker takes for the user's wish: `docker compose up -d` brings it back."""
    before = oms.kept()
    oms.run(f"docker compose kill {service}")
    oms.run("docker compose up -d --no-build --wait")
    _trades_on(oms, before)


@pytest.mark.parametrize("service", SERVICES)
def test_a_crashed_service_is_started_again_by_itself(oms: Clone, service: str) -> None:
    """The restart policy: its first process dies, as if out of memory."""
    state = oms.inspect(service)["State"]
    if os.geteuid() != 0 or not Path(f"/proc/{state['Pid']}").exists():
        pytest.skip("a container's process can be killed from here only by root, on the engine's own machine")
    before = oms.kept()
    os.kill(state["Pid"], signal.SIGKILL)
    eventually(
        lambda: oms.inspect(service)["State"]["StartedAt"] != state["StartedAt"], 30, 0.5, why="not started again"
    )
    _trades_on(oms, before)


def test_everything_is_there_after_down_and_up(oms: Clone) -> None:
    """Volumes outlive containers."""
    before = oms.kept()
    oms.run("docker compose down")
    oms.run("docker compose up -d --wait")
    _trades_on(oms, before)


def test_a_dump_of_the_database_restores(oms: Clone) -> None:
    """Production Considerations 4: *Backup.* What happened after the dump, the broker tells again."""
    oms.run("docker compose exec -T db pg_dump --format=custom > oms.dump")
    before = oms.kept()
    later = oms.trades()
    for command in RESTORE_THE_DATABASE:
        oms.run(command)
    oms.await_status("running", 90)

    def position() -> Any:
        return next(one["qty"] for one in oms.get("/api/v1/trading/positions") if one["symbol"] == "KO")

    eventually(lambda: position() == before["KO"][0] + later["filled_qty"], 90, why="the later fill is missing")
    assert {key: value for key, value in oms.kept().items() if key in before and key != "KO"} == {
        key: value for key, value in before.items() if key != "KO"
    }
    assert oms.trades()["status"] == "filled"


def test_a_copy_of_every_volume_restores(oms: Clone) -> None:
    """Production Considerations 4: *Backup*, of everything."""
    for command in BACK_UP_EVERY_VOLUME:
        oms.run(command)
    oms.await_status("running", 90)
    before = oms.kept()
    for command in RESTORE_EVERY_VOLUME:
        oms.run(command)
    oms.await_status("running", 90)
    assert oms.kept() == before
    assert oms.trades()["status"] == "filled"


def _trades_on(oms: Clone, before: dict[str, Any]) -> None:
    oms.await_status("running", 90)
    oms.trades()
    after = oms.kept()
    after_of_before = {key: after.get(key) for key in before if key != "KO"}  # what trades() buys
    assert after_of_before == {key: value for key, value in before.items() if key != "KO"}
    filled = [value for value in after.values() if value[:3] == ("filled", "KO", "buy")]
    assert after["KO"][0] == sum(value[4] for value in filled)


# --- How it is locked up ----------------------------------------------------------------------------------------------


def test_only_this_machine_reaches_the_ports(oms: Clone) -> None:
    """8000 and 9000 on the loopback; the other services are not published."""
    published = {name: oms.inspect(name)["HostConfig"]["PortBindings"] or {} for name in SERVICES}
    assert {name: list(ports) for name, ports in published.items() if ports} == {
        "app": ["8000/tcp"],
        "questdb": ["9000/tcp"],
    }
    assert {
        binding["HostIp"] for ports in published.values() for bindings in ports.values() for binding in bindings
    } == {"127.0.0.1"}


def test_no_key_is_in_the_image(oms: Clone) -> None:
    """`.env` stays outside, as does everything that the Dockerfile does not name."""
    assert (oms.folder / ".env").exists()
    assert set(oms.run("docker compose exec app ls -A /app").split()) == {"data", "docs", "pyproject.toml", "tests"}


def test_other_containers_of_the_project_reach_the_api(oms: Clone) -> None:
    """By the service's name; a foreign name is refused, so that no web page can trade (DNS rebinding)."""
    fetch = "import urllib.request as u; print(u.urlopen(u.Request('http://app:8000/api/health', headers={})).status)"
    assert oms.run(f'docker compose exec paperbroker python -c "{fetch}"').strip() == "200"
    foreign = fetch.replace("{}", "{'Host': 'evil.example'}")
    assert "421" in oms.run(f'docker compose exec paperbroker python -c "{foreign}"', fails=True)


def test_containers_can_do_little(oms: Clone) -> None:
    """Read-only root, no capabilities (QuestDB: to become its user), no new privileges, no root in our own image."""
    for service in SERVICES:
        found = oms.inspect(service)["HostConfig"]
        assert found["ReadonlyRootfs"]
        assert found["CapDrop"] == ["ALL"]
        assert (found["CapAdd"] or []) == (
            ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID"] if service == "questdb" else []
        )
        assert found["SecurityOpt"] == ["no-new-privileges:true"]
        assert found["RestartPolicy"]["Name"] == "unless-stopped"
    assert oms.run("docker compose exec app id -u").strip() == "10001"
    oms.run("docker compose exec app touch /app/x", fails=True)
