"""Where the servers are, and whose keys count."""

from __future__ import annotations

from dataclasses import replace

from oms.domain.errors import ConfigurationError
from oms.embedded.lock import running_addresses
from oms.settings import Settings
from oms.up.plan import MOCK_KEY


def in_effect(settings: Settings) -> Settings:
    """The settings, with what the `oms up` that runs on the data folder decided where they say nothing.

    Raises ConfigurationError where neither says which database.
    """
    running = running_addresses(settings.data)
    if settings.database_url is None and not (running or {}).get("database_url"):
        if running is not None:
            raise ConfigurationError(f"oms up on {settings.data} is still starting; try again in a moment.")
        raise ConfigurationError(
            f"Nothing runs on the data folder {settings.data}. Start `oms up` in another terminal, name its folder "
            "(OMS_DATA), or set DATABASE_URL to a server of yours."
        )
    found = running or {}
    has_own_broker = settings.paperbroker_url is None and "paperbroker_url" in found
    key = settings.alpaca_api_key
    return replace(
        settings,
        database_url=settings.database_url or found.get("database_url"),
        paperbroker_url=settings.paperbroker_url or found.get("paperbroker_url"),
        alpaca_api_key=MOCK_KEY if key is None and has_own_broker else key,
    )


def database_url(settings: Settings) -> str:
    """The database of settings in effect."""
    assert settings.database_url is not None  # noqa: S101 — in_effect saw to it
    return settings.database_url
