"""What the environment, `.env` and flags say, read once at an entry point and passed on as one frozen value."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from oms.domain.errors import ConfigurationError

PAPER_URL = "https://paper-api.alpaca.markets"
DATA_URL = "https://data.alpaca.markets"
MOCK_PREFIX = "mock"
_POSTGRES = "postgresql://user@host:5432/database"
_QUESTDB_SQL = "postgresql://admin:quest@host:8812/qdb"
_DURATION = re.compile(r"(\d{1,6})([smhd])")


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting. Fields are named as their environment variables in lower case, without the prefix `OMS_`.

    `alpaca_base_url` and `alpaca_data_url` are the addresses in effect: a key that begins with `mock` (or no key at all
    where the paper broker is our own) only ever goes to `paperbroker_url`, whatever the variables say.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    data: Path = Path("data")
    database_url: str | None = None
    redis_url: str | None = None
    questdb_url: str | None = None
    questdb_pg_url: str | None = None
    paperbroker_url: str | None = None
    alpaca_api_key: str | None = None
    alpaca_api_secret: str | None = field(default=None, repr=False)
    alpaca_base_url: str = PAPER_URL
    alpaca_data_url: str = DATA_URL
    alpaca_allow_live: bool = False
    alpaca_feed: str = "iex"
    alpaca_requests_per_minute: int = 200
    api_token: str | None = field(default=None, repr=False)
    trust_network: bool = False
    allowed_hosts: tuple[str, ...] = ()
    backup_every_s: int = 86_400
    backup_keep: int = 14
    snapshot_every_s: int = 3_600
    snapshot_keep: int = 168
    alert_urls: tuple[str, ...] = field(default=(), repr=False)  # they hold tokens

    @property
    def is_mock(self) -> bool:
        """Whether the key belongs to the paper broker, which needs no secret."""
        return (self.alpaca_api_key or "").startswith(MOCK_PREFIX)

    @property
    def is_configured(self) -> bool:
        """Whether there are credentials to trade with."""
        return self.is_mock or bool(self.alpaca_api_key and self.alpaca_api_secret)

    @property
    def trading_url(self) -> str:
        """Where orders go: the paper broker for a mock key, else Alpaca's address."""
        return self._paperbroker() if self.is_mock else self.alpaca_base_url

    @property
    def market_data_url(self) -> str:
        """Where prices come from."""
        return self._paperbroker() if self.is_mock else self.alpaca_data_url

    def _paperbroker(self) -> str:
        if self.paperbroker_url is None:
            raise ConfigurationError(
                f"The key {self.alpaca_api_key!r} belongs to the paper broker; no PAPERBROKER_URL says where it is. "
                "Start `oms up`, which brings its own, or `paperbroker` and set PAPERBROKER_URL=http://127.0.0.1:8100."
            )
        return self.paperbroker_url


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path | None = None, **flags: object) -> Settings:
    """Read the settings: flags win over the environment, the environment wins over the `.env` file.

    `flags` carry the fields' names; None means not given. Raises ConfigurationError with what to change.
    """
    real = dict(os.environ if environ is None else environ)
    text = {**env_file_values(real, env_file), **real}
    _understand_apca(text)
    given = {name: value for name, value in flags.items() if value is not None}
    merged = {name: reader(text[key]) for name, (key, reader) in _READERS.items() if text.get(key, "").strip()}
    settings = Settings(**{**merged, **given})  # type: ignore[arg-type]
    if settings.alpaca_feed not in {"iex", "sip"}:
        raise ConfigurationError(f"ALPACA_FEED must be iex or sip, not {settings.alpaca_feed!r}.")
    if not settings.is_mock:
        _check_addresses(settings)
    return settings


def env_file_of(environ: Mapping[str, str]) -> Path:
    """The file with settings: `.env`, or the one that OMS_ENV_FILE names."""
    return Path(environ.get("OMS_ENV_FILE", "").strip() or ".env")


def env_file_values(environ: Mapping[str, str], env_file: Path | None = None) -> dict[str, str]:
    """What the file with settings says. `.env` may be missing; a file that OMS_ENV_FILE names may not.

    Else a misspelt name would trade another account than the one that is meant. Raises ConfigurationError.
    """
    path = env_file or env_file_of(environ)
    if not os.path.isfile(path):  # noqa: PTH113 — Path's raises where it may not look
        if env_file is None and path not in {Path(".env"), Path(os.devnull)}:
            raise ConfigurationError(
                f"OMS_ENV_FILE names {path}, and there is no such file here. Write its path from this folder or in "
                f"full. With Docker leave OMS_ENV_FILE out: docker compose --env-file {path}"
            )
        return {}
    try:
        return {key: value for key, value in dotenv_values(path).items() if value is not None}
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text: save it in that encoding, or write it anew.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}. Let this user own it.") from error


def _understand_apca(text: dict[str, str]) -> None:
    """Fill what `ALPACA_*` leaves open from the names that Alpaca's own tools use.

    The secret belongs to its key: APCA_API_SECRET_KEY is only taken with the key of APCA_API_KEY_ID.
    """
    for ours, theirs in _APCA.items():
        if not text.get(ours, "").strip() and text.get(theirs, "").strip():
            text[ours] = text[theirs]
    key, secret = text.get("ALPACA_API_KEY", "").strip(), text.get("ALPACA_API_SECRET", "").strip()
    if not secret and key and key == text.get("APCA_API_KEY_ID", "").strip():
        text["ALPACA_API_SECRET"] = text.get("APCA_API_SECRET_KEY", "")


def _check_addresses(settings: Settings) -> None:
    """Raise ConfigurationError for an address that keys must not go to."""
    base, data = settings.alpaca_base_url, settings.alpaca_data_url
    for name, url in (("ALPACA_BASE_URL", base), ("ALPACA_DATA_URL", data)):
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(f"{name} must look like {PAPER_URL}, not {url!r}.")
        if is_alpaca(url) and parts.scheme != "https":
            raise ConfigurationError(f"{name} {url} would send the keys readable for all: write https://.")
    if is_live(base) and not settings.alpaca_allow_live:
        raise ConfigurationError(
            f"ALPACA_BASE_URL {base} trades real money. If you mean it, set ALPACA_ALLOW_LIVE=yes; "
            f"else leave ALPACA_BASE_URL (and APCA_API_BASE_URL) out: the paper address {PAPER_URL} is the default."
        )
    if is_alpaca(data) and not _host(data).startswith("data."):
        raise ConfigurationError(
            f"ALPACA_DATA_URL {data} is an address for orders, not for prices. Leave it (and APCA_API_DATA_URL) out: "
            f"{DATA_URL} is the default, for paper and live accounts alike."
        )


def is_alpaca(url: str) -> bool:
    """Whether the address is one of Alpaca's own."""
    host = _host(url)
    return host == "alpaca.markets" or host.endswith(".alpaca.markets")


def is_live(url: str) -> bool:
    """Whether the address is Alpaca's for real money: any of theirs but the paper one."""
    return is_alpaca(url) and not _host(url).startswith("paper-api.")


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".")


def _text(value: str) -> str:
    return value.strip()


def _url(value: str) -> str:
    return value.strip().rstrip("/")


def _alpaca_url(value: str) -> str:
    """An address of Alpaca's as people write it, without the version that every path begins with."""
    return _url(value).removesuffix("/v2").rstrip("/")


def _urls(value: str) -> tuple[str, ...]:
    """Several, between commas or blanks; a comma within one stays, where no new address begins behind it."""
    parts = (part.strip(", \t\r\n") for part in re.split(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)", value))
    return tuple(part for part in parts if part)


def _whole_number(name: str, lowest: int = 0, highest: int = 1_000_000) -> Callable[[str], object]:
    def read(value: str) -> int:
        text = value.strip()
        if not text.isdecimal() or not lowest <= int(text) <= highest:
            raise ConfigurationError(f"{name} must be a whole number from {lowest} to {highest}, not {value!r}.")
        return int(text)

    return read


def _switch(name: str) -> Callable[[str], object]:
    def read(value: str) -> bool:
        text = value.strip().lower()
        if text not in {"1", "yes", "true", "on", "0", "no", "false", "off"}:
            raise ConfigurationError(f"{name} must be yes or no, not {value!r}.")
        return text in {"1", "yes", "true", "on"}

    return read


def _server(name: str, example: str, *schemes: str) -> Callable[[str], object]:
    """The address of a server. An error does not repeat it: there may be a password in it."""

    def read(value: str) -> str:
        text = value.strip().rstrip("/")
        try:
            parts = urlsplit(text)
            is_one = parts.scheme in schemes and bool(parts.netloc or parts.path.startswith("/"))
            if "," not in parts.netloc:  # PostgreSQL's way to name several
                _ = parts.port  # a ValueError for what is no number
        except ValueError:
            is_one = False
        if not is_one:
            raise ConfigurationError(f"{name} must look like {example}.")
        return text

    return read


def _duration(name: str) -> Callable[[str], object]:
    def read(value: str) -> int:
        found = _DURATION.fullmatch(value.strip().lower())
        if value.strip().lower() in {"0", "off", "no"}:
            return 0
        if not found or not int(found[1]):
            raise ConfigurationError(f"{name} must be a time such as 24h, 30m or 90s, or off; not {value!r}.")
        return int(found[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[found[2]]

    return read


def _names(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


_READERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "host": ("OMS_HOST", _text),
    "port": ("OMS_PORT", _whole_number("OMS_PORT", 0, 65535)),
    "data": ("OMS_DATA", Path),
    "database_url": ("DATABASE_URL", _server("DATABASE_URL", _POSTGRES, "postgresql", "postgres")),
    "redis_url": ("REDIS_URL", _server("REDIS_URL", "redis://host:6379/0", "redis", "rediss", "unix")),
    "questdb_url": ("QUESTDB_URL", _server("QUESTDB_URL", "http://host:9000", "http", "https")),
    "questdb_pg_url": ("QUESTDB_PG_URL", _server("QUESTDB_PG_URL", _QUESTDB_SQL, "postgresql", "postgres")),
    "paperbroker_url": ("PAPERBROKER_URL", _server("PAPERBROKER_URL", "http://host:8100", "http", "https")),
    "alpaca_api_key": ("ALPACA_API_KEY", _text),
    "alpaca_api_secret": ("ALPACA_API_SECRET", _text),
    "alpaca_base_url": ("ALPACA_BASE_URL", _alpaca_url),
    "alpaca_data_url": ("ALPACA_DATA_URL", _alpaca_url),
    "alpaca_allow_live": ("ALPACA_ALLOW_LIVE", _switch("ALPACA_ALLOW_LIVE")),
    "alpaca_feed": ("ALPACA_FEED", _text),
    "alpaca_requests_per_minute": ("ALPACA_REQUESTS_PER_MINUTE", _whole_number("ALPACA_REQUESTS_PER_MINUTE")),
    "api_token": ("OMS_API_TOKEN", _text),
    "trust_network": ("OMS_TRUST_NETWORK", _switch("OMS_TRUST_NETWORK")),
    "allowed_hosts": ("OMS_ALLOWED_HOSTS", _names),
    "backup_every_s": ("OMS_BACKUP_EVERY", _duration("OMS_BACKUP_EVERY")),
    "backup_keep": ("OMS_BACKUP_KEEP", _whole_number("OMS_BACKUP_KEEP", 1)),
    "snapshot_every_s": ("OMS_SNAPSHOT_EVERY", _duration("OMS_SNAPSHOT_EVERY")),
    "snapshot_keep": ("OMS_SNAPSHOT_KEEP", _whole_number("OMS_SNAPSHOT_KEEP", 1)),
    "alert_urls": ("ALERT_URLS", _urls),
}

NAMES = frozenset(name for name, _ in _READERS.values())  # every variable that is read here, but for APCA_*

# The names of Alpaca's own tools, understood where ours says nothing. The secret is looked at apart.
_APCA = {
    "ALPACA_API_KEY": "APCA_API_KEY_ID",
    "ALPACA_BASE_URL": "APCA_API_BASE_URL",
    "ALPACA_DATA_URL": "APCA_API_DATA_URL",
}


def key_hash(key_id: str) -> str:
    """What the database keeps of a key: the SHA-256 of its id, in hexadecimal."""
    return hashlib.sha256(key_id.encode()).hexdigest()
