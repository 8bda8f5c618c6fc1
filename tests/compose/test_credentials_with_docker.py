"""With and without keys: what health, log and signals say. Uses the image that the guide's commands have built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.compose.docker import Clone
from tests.stack import eventually

NewClone = Callable[..., Clone]
# To an account that is not the paper broker's: as Alpaca answers keys that it does not know.
REFUSED = """\
ALPACA_API_KEY=PKTESTTESTTESTTEST
ALPACA_API_SECRET=not-a-secret
ALPACA_BASE_URL=http://paperbroker:8100
ALPACA_DATA_URL=http://paperbroker:8100
"""
SECRETS = """\
services:
  app:
    build:
      secrets: [pip_conf, ca]
secrets:
  pip_conf: {file: ./pip.conf}
  ca: {file: /etc/ssl/certs/ca-certificates.crt}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[NewClone]:
    """A fresh clone, with this `.env`."""
    clones: list[Clone] = []

    def new(env_file: str | None) -> Clone:
        clones.append(Clone(tmp_path / "clone", "credentials", env_file))
        return clones[-1]

    yield new
    for one in clones:
        one.remove()


@pytest.mark.parametrize("env_file", [None, "cp .env.example .env"], ids=["no .env", ".env.example as it is"])
def test_without_credentials_signals_are_refused_with_what_to_set(clone: NewClone, env_file: str | None) -> None:
    """*The OMS starts automatically if Alpaca credentials are configured*: without, it says so, and stays up."""
    oms = clone(None)
    if env_file is not None:
        oms.run(env_file)
    oms.run("docker compose up --build -d --wait", timeout=1500)
    oms.await_status("not_configured")
    answer = oms.signal(symbol="AAPL", side="buy", qty=1)
    assert answer.status == 503
    assert "ALPACA_API_KEY" in answer.json["detail"]
    assert "ALPACA_API_SECRET" in answer.json["detail"]
    assert "OMS is not configured: set ALPACA_API_KEY" in oms.run("docker compose logs app | grep -i oms")


def test_the_command_line_wins_over_the_file(clone: NewClone) -> None:
    """Testing: *`ALPACA_API_KEY=mock docker compose up`* never reaches the account of the keys in `.env`."""
    oms = clone(REFUSED)
    oms.attach("ALPACA_API_KEY=mock docker compose up", until="OMS execution engine started")
    oms.await_status("running")
    assert oms.trades()["status"] == "filled"
    health = oms.get("/api/health/detailed")
    assert health["other"]["address"] == "http://paperbroker:8100"
    assert oms.run("docker compose exec app printenv ALPACA_API_KEY").strip() == "mock"


def test_mock_mode_is_the_first_thing_that_a_newcomer_tries(clone: NewClone) -> None:
    """The same where nothing was built before, and there is no `.env`: it builds, and starts."""
    oms = clone(None)
    oms.env["OMS_IMAGE"] = "trademk1:newcomer"
    oms.attach("ALPACA_API_KEY=mock docker compose up", until="OMS execution engine started")
    oms.await_status("running")
    assert oms.trades()["status"] == "filled"
    oms.interrupt()
    oms.run("docker compose down")
    oms.run("docker image rm trademk1:newcomer")


def test_refused_credentials(clone: NewClone) -> None:
    """Troubleshooting: *Check Alpaca credentials in `.env`.*"""
    oms = clone(REFUSED)
    oms.run("docker compose up -d --wait")
    oms.await_status("unauthorized")
    answer = oms.signal(symbol="AAPL", side="buy", qty=1)
    assert answer.status == 503
    assert "ALPACA_API_KEY" in answer.json["detail"]
    assert "The broker refuses the keys" in oms.run("docker compose logs app | grep -i oms")
    assert "not-a-secret" not in oms.run("docker compose logs")


def test_corrected_credentials_are_taken_by_up(clone: NewClone) -> None:
    """What to do then: correct `.env`, and `docker compose up -d` again."""
    oms = clone(REFUSED)
    oms.run("docker compose up -d --wait")
    oms.await_status("unauthorized")
    (oms.folder / ".env").write_text("ALPACA_API_KEY=mock-corrected\n")
    oms.run("docker compose up -d --wait")
    oms.await_status("running")
    assert oms.trades()["status"] == "filled"


def test_a_broker_that_was_never_reached(clone: NewClone) -> None:
    """Before the first contact the account is not known: 503. It stays up, and takes over when the broker is there."""
    oms = clone("ALPACA_API_KEY=mock\n")
    oms.run("docker compose up -d --scale paperbroker=0")
    oms.await_status("reconnecting")
    assert oms.signal(symbol="AAPL", side="buy", qty=1).status == 503
    assert "OMS waits for the broker" in oms.run("docker compose logs app | grep -i oms")
    oms.run("docker compose up -d --wait")
    oms.await_status("running")
    assert oms.trades()["status"] == "filled"


def test_a_broker_that_goes_away_and_comes_back(clone: NewClone) -> None:
    """Signals are accepted and wait; when the broker is back they are executed."""
    oms = clone("ALPACA_API_KEY=mock\n")
    oms.run("docker compose up -d --wait")
    oms.await_status("running")
    oms.trades()
    oms.run("docker compose stop paperbroker")
    oms.await_status("reconnecting")
    answer = oms.signal(symbol="KO", side="buy", qty=3)
    assert answer.status == 202
    assert oms.get(f"/api/v1/trading/orders/{answer.json['id']}")["status"] == "pending"
    oms.run("docker compose start paperbroker")
    assert oms.ended(answer.json["id"])["status"] == "filled"
    oms.await_status("running")


def test_the_live_address_is_refused(clone: NewClone) -> None:
    """Real money only where it is meant; the log says what to do."""
    oms = clone("ALPACA_API_KEY=AKTEST\nALPACA_API_SECRET=x\nALPACA_BASE_URL=https://api.alpaca.markets\n")
    oms.attach("docker compose up", until="trades real money", within_s=120)
    assert "set ALPACA_ALLOW_LIVE=yes" in oms.run("docker compose logs app | grep -i oms")


def test_alpacas_own_names_are_understood(clone: NewClone) -> None:
    """`APCA_API_KEY_ID` and `APCA_API_SECRET_KEY`, where the guide's names are not set."""
    keys = "APCA_API_KEY_ID=PKONE\nAPCA_API_SECRET_KEY=two\n"
    oms = clone(f"{keys}APCA_API_BASE_URL=http://paperbroker:8100\nAPCA_API_DATA_URL=http://paperbroker:8100\n")
    oms.run("docker compose up -d --wait")
    oms.await_status("unauthorized")
    oms.run("ALPACA_API_KEY=mock docker compose up -d --wait")
    oms.await_status("running")


def test_separate_keys_by_a_file_for_each(clone: NewClone) -> None:
    """Production Considerations 1: `--env-file` and a project name keep development and production apart."""
    oms = clone("ALPACA_API_KEY=mock-development\n")
    (oms.folder / "production.env").write_text("ALPACA_API_KEY=mock-production\n")
    command = "docker compose -p trademk1-production --env-file production.env up -d"
    oms.run(command.replace("trademk1-production", oms.project))  # a real one may run on this machine
    oms.await_status("running")
    assert oms.run("docker compose exec app printenv ALPACA_API_KEY").strip() == "mock-production"
    assert "name: trademk1-production" in oms.run(command.replace("up -d", "config"))


def test_a_file_named_as_without_docker_is_refused(clone: NewClone) -> None:
    """compose would read `.env` in its place: another account than the one that is meant."""
    oms = clone("ALPACA_API_KEY=mock-development\n")
    oms.attach("OMS_ENV_FILE=production.env docker compose up", until="OMS_ENV_FILE names production.env", within_s=120)
    assert "docker compose --env-file production.env" in oms.run("docker compose logs app | grep -i oms")


def test_a_database_that_is_away_at_the_start_is_waited_for(clone: NewClone) -> None:
    """The log says what is awaited, in a line; once it is there, trading begins."""
    oms = clone("ALPACA_API_KEY=mock\n")
    oms.run("docker compose up -d --wait")
    oms.run("docker compose stop db")
    oms.run("docker compose restart app")
    awaited = "oms: PostgreSQL at db:5432 takes no connection"
    eventually(lambda: awaited in oms.run("docker compose logs app | grep -i oms"), 30, 0.5)
    assert "Traceback" not in oms.run("docker compose logs app")
    oms.run("docker compose start db")
    oms.await_status("running")
    assert oms.trades()["status"] == "filled"


def test_a_build_takes_pip_conf_and_certificates_as_secrets(clone: NewClone) -> None:
    """Behind a proxy, with a mirror: docs/docker.md has the override. The secrets are in no layer of the image."""
    oms = clone(None)
    (oms.folder / "compose.override.yaml").write_text(SECRETS.replace("/etc/ssl/certs/ca-certificates.crt", "./ca.pem"))
    (oms.folder / "pip.conf").write_text("[global]\nindex-url = https://user:not-a-secret@mirror.invalid/simple\n")
    (oms.folder / "ca.pem").write_text("not a certificate\n")
    oms.env["OMS_IMAGE"] = "trademk1:test-secrets"
    # Another lock file makes pip run anew: it has to ask the mirror of the secret, which is not there.
    with (oms.folder / "requirements" / "build.txt").open("a") as file:
        file.write("# changed\n")
    printed = oms.run("docker compose build", timeout=600, fails=True)
    assert "mirror.invalid" in printed or "ca" in printed
    assert "not-a-secret" not in printed
