"""Settings: what wins, and where a key may go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oms.domain.errors import ConfigurationError
from oms.settings import PAPER_URL, load_settings


def env_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / ".env"
    file.write_text(text)
    return file


def test_a_key_in_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = env_file(tmp_path, "ALPACA_API_KEY=PKREAL\nALPACA_API_SECRET=secret\n")
    assert load_settings({}, file).alpaca_api_key == "PKREAL"
    assert load_settings({"ALPACA_API_KEY": "mock"}, file).alpaca_api_key == "mock"


def test_a_flag_wins_over_both(tmp_path: Path) -> None:
    file = env_file(tmp_path, "OMS_PORT=8001\n")
    assert load_settings({}, file).port == 8001
    assert load_settings({"OMS_PORT": "8002"}, file).port == 8002
    assert load_settings({"OMS_PORT": "8002"}, file, port=8003).port == 8003
    assert load_settings({"OMS_PORT": "8002"}, file, port=None).port == 8002


@pytest.mark.parametrize("key", ["mock", "mock2", "mock-anything"])
def test_a_mock_key_only_ever_goes_to_the_paper_broker(key: str) -> None:
    environ = {
        "ALPACA_API_KEY": key,
        "ALPACA_BASE_URL": "https://api.alpaca.markets",
        "ALPACA_DATA_URL": "https://data.alpaca.markets",
        "APCA_API_BASE_URL": "https://api.alpaca.markets",
        "PAPERBROKER_URL": "http://127.0.0.1:8100/",
    }
    settings = load_settings(environ, Path("/nonexistent"))
    assert settings.is_configured
    assert settings.trading_url == settings.market_data_url == "http://127.0.0.1:8100"


def test_a_mock_key_without_a_paper_broker_goes_nowhere() -> None:
    settings = load_settings({"ALPACA_API_KEY": "mock"}, Path("/nonexistent"))
    with pytest.raises(ConfigurationError, match="PAPERBROKER_URL"):
        _ = settings.trading_url


def test_a_real_key_goes_to_the_paper_address_unless_told_otherwise() -> None:
    environ = {"ALPACA_API_KEY": "PK1", "ALPACA_API_SECRET": "s", "PAPERBROKER_URL": "http://127.0.0.1:8100"}
    assert load_settings(environ, Path("/nonexistent")).trading_url == PAPER_URL


@pytest.mark.parametrize(
    "url", ["https://api.alpaca.markets", "https://API.alpaca.markets/", "https://api.alpaca.markets.:443"]
)
def test_real_money_is_refused_unless_it_is_meant(url: str) -> None:
    environ = {"ALPACA_API_KEY": "AK1", "ALPACA_API_SECRET": "s", "ALPACA_BASE_URL": url}
    with pytest.raises(ConfigurationError, match="ALPACA_ALLOW_LIVE"):
        load_settings(environ, Path("/nonexistent"))
    assert load_settings({**environ, "ALPACA_ALLOW_LIVE": "yes"}, Path("/nonexistent")).alpaca_allow_live


APCA = {"APCA_API_KEY_ID": "PKAPCA", "APCA_API_SECRET_KEY": "apca-secret"}


def test_the_names_of_alpacas_own_tools_are_understood_where_ours_say_nothing() -> None:
    given = {**APCA, "APCA_API_BASE_URL": "http://127.0.0.1:1/v2/", "APCA_API_DATA_URL": "http://127.0.0.1:2"}
    settings = load_settings(given, Path("/nonexistent"))
    assert (settings.alpaca_api_key, settings.alpaca_api_secret) == ("PKAPCA", "apca-secret")
    assert (settings.trading_url, settings.market_data_url) == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    ours = {
        "ALPACA_API_KEY": "PKOURS", "ALPACA_API_SECRET": "ours", "ALPACA_BASE_URL": "http://127.0.0.1:3",
        "ALPACA_DATA_URL": "http://127.0.0.1:4",
    }  # fmt: skip
    settings = load_settings({**given, **ours}, Path("/nonexistent"))
    assert (settings.alpaca_api_key, settings.alpaca_api_secret) == ("PKOURS", "ours")
    assert (settings.trading_url, settings.market_data_url) == ("http://127.0.0.1:3", "http://127.0.0.1:4")


def test_our_names_win_wherever_they_are_written(tmp_path: Path) -> None:
    """The rule is about names first: APCA_* of the environment do not beat ALPACA_* of `.env`."""
    file = env_file(tmp_path, "ALPACA_API_KEY=PKFILE\nALPACA_API_SECRET=of-file\n")
    settings = load_settings(APCA, file)
    assert (settings.alpaca_api_key, settings.alpaca_api_secret) == ("PKFILE", "of-file")
    assert load_settings({**APCA, "ALPACA_API_KEY": "mock"}, Path("/nonexistent")).is_mock


def test_a_secret_goes_with_its_own_key_only() -> None:
    settings = load_settings({**APCA, "ALPACA_API_KEY": "PKOURS"}, Path("/nonexistent"))
    assert settings.alpaca_api_secret is None
    assert not settings.is_configured
    same = load_settings({**APCA, "ALPACA_API_KEY": "PKAPCA"}, Path("/nonexistent"))  # as `oms up` tells its children
    assert same.alpaca_api_secret == "apca-secret"


@pytest.mark.parametrize("url", ["https://paper-api.alpaca.markets/v2", "https://paper-api.alpaca.markets/v2/"])
def test_the_version_behind_an_address_is_no_part_of_it(url: str) -> None:
    assert load_settings({"ALPACA_BASE_URL": url}, Path("/nonexistent")).alpaca_base_url == PAPER_URL


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"APCA_API_BASE_URL": "https://api.alpaca.markets"}, "ALPACA_ALLOW_LIVE"),
        ({"APCA_API_BASE_URL": "https://api.alpaca.markets/v2"}, "ALPACA_ALLOW_LIVE"),
        ({"ALPACA_DATA_URL": "https://api.alpaca.markets"}, "for orders, not for prices"),
        ({"APCA_API_DATA_URL": "https://paper-api.alpaca.markets"}, "for orders, not for prices"),
        ({"ALPACA_BASE_URL": "http://paper-api.alpaca.markets"}, "https://"),
        ({"ALPACA_BASE_URL": "paper-api.alpaca.markets"}, "must look like"),
    ],
)
def test_keys_go_to_no_address_that_they_are_not_for(given: dict[str, str], says: str) -> None:
    keys = {"ALPACA_API_KEY": "AK1", "ALPACA_API_SECRET": "s"}
    with pytest.raises(ConfigurationError, match=says):
        load_settings({**keys, **given}, Path("/nonexistent"))
    assert load_settings({"ALPACA_API_KEY": "mock", **given}, Path("/nonexistent")).is_mock  # never goes there


def test_keys_for_development_and_production_live_in_files_of_their_own(tmp_path: Path) -> None:
    for name in ("dev", "prod"):
        (tmp_path / name).write_text(f"ALPACA_API_KEY=PK{name}\nALPACA_API_SECRET=s\nOMS_DATA=data-{name}\n")
    dev, prod = (load_settings({"OMS_ENV_FILE": str(tmp_path / name)}) for name in ("dev", "prod"))
    assert (dev.alpaca_api_key, prod.alpaca_api_key) == ("PKdev", "PKprod")
    assert (str(dev.data), str(prod.data)) == ("data-dev", "data-prod")


def test_a_file_that_is_named_and_not_there_is_no_reason_to_trade_another_account(tmp_path: Path) -> None:
    """A misspelt production.env would trade the paper broker, or with Docker the account of `.env`."""
    for name in ("productoin.env", str(tmp_path)):
        with pytest.raises(ConfigurationError, match=f"OMS_ENV_FILE names {name}, .*--env-file {name}"):
            load_settings({"OMS_ENV_FILE": name, "ALPACA_API_KEY": "mock"})
    assert load_settings({"OMS_ENV_FILE": os.devnull}).alpaca_api_key is None


def test_a_name_that_says_nothing_means_the_usual_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file(tmp_path, "ALPACA_API_KEY=PKUSUAL\n")
    monkeypatch.chdir(tmp_path)
    for named in ({}, {"OMS_ENV_FILE": ""}, {"OMS_ENV_FILE": " "}, {"OMS_ENV_FILE": ".env"}):
        assert load_settings(named).alpaca_api_key == "PKUSUAL"
    (tmp_path / ".env").unlink()
    assert load_settings({"OMS_ENV_FILE": ".env"}).alpaca_api_key is None


def test_a_file_in_another_encoding_is_said_to_be_so(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    for encoding in ("utf-16", "latin-1"):
        file.write_text("ALPACA_API_KEY=PK1 # clé\n", encoding=encoding)
        with pytest.raises(ConfigurationError, match=r"\.env is not UTF-8 text"):
            load_settings({}, file)
    file.write_text("ALPACA_API_KEY=PK1 # clé\n", encoding="utf-8-sig")
    assert load_settings({}, file).alpaca_api_key == "PK1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "localhost"),
        ("DATABASE_URL", "mysql://oms:pa55w0rd@localhost/oms"),
        ("DATABASE_URL", "postgresql://oms:pa55w0rd@localhost:port/oms"),
        ("DATABASE_URL", "postgresql://"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://:pa55w0rd@localhost:port"),
        ("QUESTDB_URL", "localhost:9000"),
        ("QUESTDB_PG_URL", "http://localhost:8812"),
        ("PAPERBROKER_URL", "127.0.0.1:8100"),
    ],
)
def test_an_address_that_is_none_is_refused_by_name_without_a_password(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must look like \\w+://") as told:
        load_settings({name: value}, Path("/nonexistent"))
    assert "pa55w0rd" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql:///oms?host=/var/run/postgresql"),
        ("DATABASE_URL", "postgresql://oms@one:5432,two:5433/oms"),
        ("REDIS_URL", "unix:///run/redis.sock"),
        ("REDIS_URL", "rediss://:secret@[::1]:6380/1"),
        ("QUESTDB_URL", "https://questdb.example/base/"),
    ],
)
def test_addresses_as_their_servers_know_them_are_taken(name: str, value: str) -> None:
    assert getattr(load_settings({name: value}, Path("/nonexistent")), name.lower()) == value.rstrip("/")


def test_alert_urls_are_split_at_blanks_and_commas_but_not_within_one() -> None:
    text = " json://a/x?to=1,2 , tgram://token/1\nmailto://me:pw@example.com?to=a@b.c,d@e.f,"
    assert load_settings({"ALERT_URLS": text}, Path("/nonexistent")).alert_urls == (
        "json://a/x?to=1,2", "tgram://token/1", "mailto://me:pw@example.com?to=a@b.c,d@e.f",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [("OMS_PORT", "80 00"), ("OMS_PORT", "70000"), ("OMS_TRUST_NETWORK", "maybe"), ("ALPACA_ALLOW_LIVE", "perhaps")],
)
def test_a_wrong_value_is_refused_by_name_and_value(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{key} .*{value}"):
        load_settings({key: value}, Path("/nonexistent"))


def test_the_secret_is_not_shown() -> None:
    environ = {"ALPACA_API_KEY": "PK1", "ALPACA_API_SECRET": "very-secret", "OMS_API_TOKEN": "also-secret"}
    environ["ALERT_URLS"] = "json://secret/"
    assert "secret" not in repr(load_settings(environ, Path("/nonexistent"))).replace("alpaca_api_secret", "")
