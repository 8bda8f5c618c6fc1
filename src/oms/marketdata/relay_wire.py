"""What `oms feed` and an engine say to each other through Redis: names, times, and ticks as compact JSON.

| | | |
|---|---|---|
| `prices:<account id>` | channel | `{"ticks": [tick, …]}` as they come; `{"held": [[age_s, tick], …]}` every second |
| `oms:feed:<account id>` | key, 3 s | a feed is alive: the engine opens no data connection; its value names the feed |
| `oms:follow:<account id>` | key, 30 s | what the engine wants followed, important ones first: a JSON list of symbols |

A tick is `["q", symbol, bid, ask, bid_size, ask_size, at, exchange]` or `["t", symbol, price, size, at, exchange]`,
numbers as strings. What is held is said again every second with its age (0 for what a live stream vouches for), so
that a lost message is made good, an engine that has just come knows all, and prices age when the feed ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from oms.domain.market import Quote, Tick, Trade

FEED_TTL_S = 3
FOLLOW_TTL_S = 30
BEAT_S = 1.0


class _Quote(msgspec.Struct, array_like=True, tag="q"):
    symbol: str
    bid: Decimal | None
    ask: Decimal | None
    bid_size: Decimal | None
    ask_size: Decimal | None
    at: datetime
    exchange: str


class _Trade(msgspec.Struct, array_like=True, tag="t"):
    symbol: str
    price: Decimal
    size: Decimal
    at: datetime
    exchange: str


class _Message(msgspec.Struct, omit_defaults=True):
    ticks: list[_Quote | _Trade] = []
    held: list[tuple[float, _Quote | _Trade]] = []


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Message)
_symbols_decoder = msgspec.json.Decoder(list[str])


def channel_of(account_id: UUID) -> str:
    """Where ticks are published."""
    return f"prices:{account_id}"


def feed_key_of(account_id: UUID) -> str:
    """The key that lives while a feed does."""
    return f"oms:feed:{account_id}"


def follow_key_of(account_id: UUID) -> str:
    """The key that says what to follow."""
    return f"oms:follow:{account_id}"


def connection(url: str, timeout_s: float) -> Redis:
    """A client of which every call ends within `timeout_s`; a broken connection is tried anew once, at once."""
    return Redis.from_url(
        url,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 1),
    )


def encode_ticks(ticks: Iterable[Tick]) -> bytes:
    """Ticks as they came."""
    return _encoder.encode(_Message(ticks=[_wired(tick) for tick in ticks]))


def encode_held(held: Iterable[tuple[float, Tick]]) -> bytes:
    """What is held, with ages in seconds."""
    return _encoder.encode(_Message(held=[(round(age, 3), _wired(tick)) for age, tick in held]))


def decode(payload: bytes) -> tuple[Sequence[Tick], Sequence[tuple[float, Tick]]]:
    """Ticks, and what is held with its age. Raises ValueError for anything else."""
    message = _decoder.decode(payload)
    return [_tick(one) for one in message.ticks], [(age, _tick(one)) for age, one in message.held]


def encode_symbols(symbols: Sequence[str]) -> bytes:
    """What to follow."""
    return _encoder.encode(list(symbols))


def decode_symbols(payload: bytes) -> list[str]:
    """What to follow. Raises ValueError for anything else."""
    return _symbols_decoder.decode(payload)


def _wired(tick: Tick) -> _Quote | _Trade:
    if isinstance(tick, Quote):
        return _Quote(tick.symbol, tick.bid, tick.ask, tick.bid_size, tick.ask_size, tick.at, tick.exchange)
    return _Trade(tick.symbol, tick.price, tick.size, tick.at, tick.exchange)


def _tick(wired: _Quote | _Trade) -> Tick:
    if isinstance(wired, _Quote):
        return Quote(wired.symbol, wired.bid, wired.ask, wired.at, wired.bid_size, wired.ask_size, wired.exchange)
    return Trade(wired.symbol, wired.price, wired.size, wired.at, wired.exchange)
