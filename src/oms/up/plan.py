"""What the settings ask `oms up` for: pure decisions, taken before anything starts."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

from oms.domain.errors import ConfigurationError
from oms.embedded.ports import any_free, choose, is_free
from oms.embedded.servers import Addresses
from oms.settings import Settings, env_file_values
from oms.up.child import ChildSpec

MOCK_KEY = "mock"
_BROKER_PORT = 8100
_OPENING = "BTC/USD=0.5"  # so that the guide's second order, which sells bitcoin, fills too
_SECRETS = frozenset(
    {
        "ALPACA_API_KEY", "ALPACA_API_SECRET", "APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "OMS_API_TOKEN",
        "ALERT_URLS", "DATABASE_URL", "REDIS_URL",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """`settings` in effect, the embedded servers to start, whether to bring a paper broker, and what to say."""

    settings: Settings
    servers: tuple[str, ...]
    with_broker: bool
    notes: tuple[str, ...] = ()


def make_plan(settings: Settings) -> Plan:
    """Decide what to start. Raises ConfigurationError for an open address."""
    check_address(settings)
    settings = replace(settings, port=settings.port or any_free(), data=settings.data.absolute())
    notes: list[str] = []
    no_key = settings.alpaca_api_key is None
    if no_key and settings.paperbroker_url is None:
        settings = replace(settings, alpaca_api_key=MOCK_KEY)
        notes.append("No ALPACA_API_KEY: trading against the built-in paper broker (mock account)")
    elif no_key:
        notes.append("No ALPACA_API_KEY: not configured, so no order is taken. Set one, or `mock` for the paper broker")
    elif not settings.is_configured:
        notes.append("No ALPACA_API_SECRET for this ALPACA_API_KEY: not configured, so no order is taken")
    return Plan(
        settings=settings,
        servers=_unnamed(settings),
        with_broker=settings.is_mock and settings.paperbroker_url is None,
        notes=tuple(notes),
    )


def check_address(settings: Settings) -> None:
    """Raise ConfigurationError for an address that others can reach, unless it is guarded or said to be meant."""
    if is_loopback(settings.host) or settings.api_token or settings.trust_network:
        return
    raise ConfigurationError(
        f"The address {settings.host} can be reached from other machines, and whoever reaches the API can trade. "
        "Set OMS_API_TOKEN (it is then asked for), or give --trust-network where the network itself is closed."
    )


def check_port(settings: Settings) -> None:
    """Raise ConfigurationError when the API's port is taken."""
    if not is_free(settings.port, "127.0.0.1" if settings.host == "localhost" else settings.host):
        raise ConfigurationError(
            f"Port {settings.port} on {settings.host} is taken by another program. The API's address is part of the "
            "guide, so it does not move by itself: stop that program, or choose another port: "
            f"oms up --port {settings.port + 1}, or OMS_PORT={settings.port + 1} make up"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def with_addresses(settings: Settings, embedded: Addresses, paperbroker_url: str | None) -> Settings:
    """The settings with the addresses of what was started, where no others were named."""
    return replace(
        settings,
        database_url=settings.database_url or embedded.database_url,
        redis_url=settings.redis_url or embedded.redis_url,
        questdb_url=settings.questdb_url or embedded.questdb_url,
        questdb_pg_url=settings.questdb_pg_url or embedded.questdb_pg_url,
        paperbroker_url=settings.paperbroker_url or paperbroker_url,
    )


def environment(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of our children: ours, and what was decided since. Empty hides what `.env` says."""
    decided = {
        "OMS_HOST": settings.host,
        "OMS_PORT": str(settings.port),
        "OMS_DATA": str(settings.data),
        "OMS_TRUST_NETWORK": "yes" if settings.trust_network else "no",
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "QUESTDB_URL": settings.questdb_url,
        "QUESTDB_PG_URL": settings.questdb_pg_url,
        "PAPERBROKER_URL": settings.paperbroker_url,
        "ALPACA_API_KEY": settings.alpaca_api_key,
    }
    ours = dict(os.environ if environ is None else environ)
    return {**ours, **{key: value or "" for key, value in decided.items()}, "PYTHONUNBUFFERED": "1"}


def oms_command(*arguments: str) -> tuple[str, ...]:
    """This program again, as another part of itself; never from modules that lie in the current folder (-P)."""
    return (sys.executable, "-P", "-m", "oms.cli", *arguments)


def oms_children(settings: Settings) -> tuple[ChildSpec, ...]:
    """The API and the engine."""
    env = environment(settings)
    return (
        ChildSpec("api", oms_command("serve"), env),
        ChildSpec("engine", oms_command("engine"), env, stops_first=True),
    )


def broker_child(settings: Settings, port: int) -> ChildSpec:
    """The paper broker: PAPERBROKER_* from the environment and `.env` reach it, secrets do not."""
    env = {"PAPERBROKER_POSITIONS": _OPENING, **_of_the_broker(), **os.environ, "PYTHONUNBUFFERED": "1"}
    where = ("--host", "127.0.0.1", "--port", str(port), "--data", str(settings.data / "paperbroker"))
    return ChildSpec(
        "broker",
        (sys.executable, "-P", "-m", "paperbroker.cli", *where),
        {key: value for key, value in env.items() if key not in _SECRETS},
    )


def broker_port() -> int:
    """8100 or PAPERBROKER_PORT, or another where that is taken. Raises ConfigurationError."""
    wanted = {**_of_the_broker(), **os.environ}.get("PAPERBROKER_PORT", "").strip() or str(_BROKER_PORT)
    if not wanted.isdecimal() or int(wanted) > 65535:
        raise ConfigurationError(f"PAPERBROKER_PORT must be a whole number from 0 to 65535, not {wanted!r}.")
    return choose(int(wanted) or None)


def _of_the_broker() -> dict[str, str]:
    """What `.env` says for the paper broker."""
    return {
        key: value for key, value in env_file_values(os.environ).items() if key.startswith("PAPERBROKER_") and value
    }


def _unnamed(settings: Settings) -> tuple[str, ...]:
    named = {
        "postgres": settings.database_url,
        "valkey": settings.redis_url,
        "questdb": settings.questdb_url or settings.questdb_pg_url,
    }
    return tuple(name for name, url in named.items() if url is None)
