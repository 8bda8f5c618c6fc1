"""Settings: what wins, and where a key may go."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("key", "value"), [("OMS_PORT", "80 00"), ("OMS_PORT", "70000"), ("OMS_TRUST_NETWORK", "maybe")]
)
def test_a_wrong_value_is_refused_by_name_or_value(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=value):
        load_settings({key: value}, Path("/nonexistent"))


def test_the_secret_is_not_shown() -> None:
    environ = {"ALPACA_API_KEY": "PK1", "ALPACA_API_SECRET": "very-secret", "OMS_API_TOKEN": "also-secret"}
    assert "secret" not in repr(load_settings(environ, Path("/nonexistent"))).replace("alpaca_api_secret", "")
