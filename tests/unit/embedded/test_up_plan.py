"""What `oms up` decides before it starts anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from oms.domain.errors import ConfigurationError
from oms.embedded.ports import any_free, choose, is_free
from oms.embedded.servers import Addresses
from oms.settings import Settings
from oms.up.plan import broker_child, broker_port, check_port, environment, is_loopback, make_plan, with_addresses


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_without_a_key_it_trades_against_the_paper_broker_and_says_so() -> None:
    plan = make_plan(Settings(port=0))
    assert plan.settings.alpaca_api_key == "mock"
    assert plan.with_broker
    assert plan.notes == ("No ALPACA_API_KEY: trading against the built-in paper broker (mock account)",)


def test_a_mock_key_brings_the_paper_broker_without_a_word() -> None:
    plan = make_plan(Settings(port=0, alpaca_api_key="mock2"))
    assert plan.with_broker
    assert plan.notes == ()


def test_a_real_key_brings_none() -> None:
    plan = make_plan(Settings(port=0, alpaca_api_key="PK1", alpaca_api_secret="s"))
    assert not plan.with_broker
    assert plan.notes == ()


def test_with_a_paper_broker_elsewhere_an_unset_key_means_not_configured() -> None:
    plan = make_plan(Settings(port=0, paperbroker_url="http://broker:8100"))
    assert plan.settings.alpaca_api_key is None
    assert not plan.with_broker
    assert "not configured" in plan.notes[0]


def test_a_key_without_its_secret_is_said() -> None:
    assert "ALPACA_API_SECRET" in make_plan(Settings(port=0, alpaca_api_key="PK1")).notes[0]


def test_only_what_no_address_names_is_started() -> None:
    assert make_plan(Settings(port=0)).servers == ("postgres", "valkey", "questdb")
    named = Settings(port=0, database_url="postgresql://db/oms", questdb_url="http://quest:9000")
    assert make_plan(named).servers == ("valkey",)


def test_a_taken_api_port_is_refused_with_what_to_do(taken_port: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"{taken_port}.*--port"):
        check_port(Settings(port=taken_port))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.com"])
def test_an_open_address_is_refused_unless_guarded_or_meant(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"OMS_API_TOKEN.*--trust-network"):
        make_plan(Settings(host=host, port=0))


def test_an_open_address_is_taken_when_guarded_or_meant() -> None:
    assert make_plan(Settings(host="0.0.0.0", port=0, api_token="t")).settings.host == "0.0.0.0"
    assert make_plan(Settings(host="0.0.0.0", port=0, trust_network=True)).settings.host == "0.0.0.0"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_these_are_this_machine_only(host: str) -> None:
    assert is_loopback(host)


def test_children_get_the_addresses_and_no_stale_ones() -> None:
    settings = with_addresses(
        Settings(data=Path("/d"), alpaca_api_key="mock"), Addresses("postgresql://pg", "redis://r"), "http://b"
    )
    found = environment(settings, {"QUESTDB_URL": "http://gone", "HOME": "/h", "ALPACA_API_KEY": ""})
    assert found["DATABASE_URL"] == "postgresql://pg"
    assert found["PAPERBROKER_URL"] == "http://b"
    assert found["QUESTDB_URL"] == ""
    assert found["ALPACA_API_KEY"] == "mock"
    assert found["HOME"] == "/h"


def test_named_addresses_win_over_the_embedded_ones() -> None:
    settings = with_addresses(Settings(redis_url="redis://mine"), Addresses(redis_url="redis://ours"), None)
    assert settings.redis_url == "redis://mine"


def test_the_paper_broker_gets_its_options_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PAPERBROKER_HOURS=nyse\nPAPERBROKER_SEED=1\nALPACA_API_SECRET=s1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAPERBROKER_SEED", "2")
    monkeypatch.setenv("ALPACA_API_SECRET", "s2")
    child = broker_child(Settings(data=Path("/d")), 8100)
    assert child.env["PAPERBROKER_HOURS"] == "nyse"
    assert child.env["PAPERBROKER_SEED"] == "2"
    assert "ALPACA_API_SECRET" not in child.env
    assert child.argv[-6:] == ("--host", "127.0.0.1", "--port", "8100", "--data", "/d/paperbroker")


def test_the_paper_broker_moves_where_its_port_is_taken(monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    monkeypatch.setenv("PAPERBROKER_PORT", str(taken_port))
    assert broker_port() != taken_port
    monkeypatch.setenv("PAPERBROKER_PORT", "many")
    with pytest.raises(ConfigurationError, match="PAPERBROKER_PORT"):
        broker_port()


def test_the_paper_brokers_port_can_stand_in_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAPERBROKER_PORT", raising=False)
    (tmp_path / ".env").write_text("PAPERBROKER_PORT=many\n")
    with pytest.raises(ConfigurationError, match=r"PAPERBROKER_PORT must be .* not 'many'"):
        broker_port()
    free = any_free()
    (tmp_path / ".env").write_text(f"PAPERBROKER_PORT={free}\n")
    assert broker_port() == free
    monkeypatch.setenv("PAPERBROKER_PORT", "0")
    assert broker_port() != free


def test_a_port_is_the_usual_one_unless_taken(taken_port: int) -> None:
    assert not is_free(taken_port)
    other = choose(taken_port)
    assert other != taken_port
    assert choose(other) == other
    assert choose(other, frozenset({other})) != other
