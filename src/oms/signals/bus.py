"""Redis (7) or Valkey (9) as `ports.Bus`: signals in from channel and stream, order events out to a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from oms.domain.errors import Unavailable
from oms.ports import BusMessage

SIGNALS = "trade_signals"  # channel and stream
GROUP = "oms"
CONSUMER = "engine"  # always the same, so that the next engine finds what the last one did not acknowledge
EVENTS = "order_events"
RELAYED = "oms:order_events:relayed"  # a hash: account → the last sequence in the stream

MESSAGES_MAX = 512
BYTES_MAX = 4_000_000
EVENTS_LENGTH = 100_000
EVENTS_AT_ONCE = 1_000
BLOCK_MS = 1_000
WRONG_TYPE_PAUSE_S = 2.0
CLAIM_EVERY_S = 15.0
PING_S = 5.0
_log = structlog.get_logger(__name__)

# A script rather than MULTI/EXEC, which goes on after a command that failed (somebody SET the stream's name) and would
# remember sequences that were never added. It also passes over what is there already: a repeated call adds nothing.
_APPEND = """
local last = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '-1')
local newest = nil
for i = 3, #ARGV, 2 do
  if tonumber(ARGV[i]) > last then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'account', ARGV[1], 'seq', ARGV[i], 'event', ARGV[i + 1])
    newest = ARGV[i]
    last = tonumber(newest)
  end
end
if newest then redis.call('HSET', KEYS[2], ARGV[1], newest) end
"""


class RedisBus:
    """Signals and events through Redis; every call ends within about `timeout_s`, or raises Unavailable.

    Connects when first used. Entries that another consumer of the group, or we ourselves, have left unacknowledged
    for `claim_idle_s` are delivered again.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0, claim_idle_s: float = 60.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._claim_idle_ms = int(claim_idle_s * 1000)
        # One retry at once: after a restart of the server every connection in the pool is dead.
        self._redis = self._client(retries=1)
        self._append = self._redis.register_script(_APPEND)

    async def publish_signals(self, messages: Sequence[bytes]) -> None:
        """Publish on the channel `trade_signals`. Raises Unavailable; some may have been published then."""
        with _unavailable("published"):
            for start in range(0, len(messages), MESSAGES_MAX):
                async with self._redis.pipeline(transaction=False) as pipe:
                    for message in messages[start : start + MESSAGES_MAX]:
                        pipe.publish(SIGNALS, message)
                    await pipe.execute()

    @asynccontextmanager
    async def signals(self) -> AsyncGenerator[AsyncIterator[Sequence[BusMessage]]]:
        """What comes on channel and stream, in batches of at most 512, until the connection is lost (Unavailable).

        Once entered, the channel is subscribed to. Nothing is read ahead of the batch that is being worked on, one of
        each kind: a flood waits in the server, which ends a connection that falls too far behind.
        """
        # The block must end before the socket's timeout does. No retry: who reads must know that messages were lost.
        client = self._client(retries=0, timeout_s=max(self._timeout_s, BLOCK_MS / 1000 + 2))
        channel = _Channel(client.pubsub())
        batches = _merged(channel, _Stream(client, self._claim_idle_ms))
        try:
            with _unavailable("read"):
                await channel.subscribe(self._timeout_s)
            yield batches
        finally:
            await batches.aclose()
            await channel.close()
            await client.aclose()

    async def acknowledge(self, entry_ids: Sequence[str]) -> None:
        """The entries have been dealt with and will not be delivered again. Raises Unavailable."""
        if entry_ids:
            with _unavailable("acknowledged"):
                await self._redis.xack(SIGNALS, GROUP, *entry_ids)

    async def append_events(self, account_id: UUID, events: Sequence[tuple[int, bytes]]) -> None:
        """Add (sequence, JSON) to the stream `order_events` in rising order, remembering the last in the same step.

        What has been added already is passed over. Raises Unavailable: then ask `events_relayed` and go on there.
        """
        with _unavailable("added"):
            for start in range(0, len(events), EVENTS_AT_ONCE):
                part = events[start : start + EVENTS_AT_ONCE]
                arguments = [value for seq, event in part for value in (seq, event)]
                await self._append(keys=[EVENTS, RELAYED], args=[str(account_id), EVENTS_LENGTH, *arguments])

    async def events_relayed(self, account_id: UUID) -> int | None:
        """The last sequence added, None where the stream knows nothing. Raises Unavailable."""
        with _unavailable("read"):
            last: Any = await self._redis.hget(RELAYED, str(account_id))
        return None if last is None else int(last)

    async def ping(self) -> None:
        """Raises Unavailable when Redis does not answer."""
        with _unavailable("reached"):
            await self._redis.ping()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _client(self, *, retries: int, timeout_s: float | None = None) -> Redis:
        return Redis.from_url(
            self._url,
            protocol=2,  # what Redis 7 and Valkey 9 both answer in
            decode_responses=False,
            socket_timeout=timeout_s or self._timeout_s,
            socket_connect_timeout=self._timeout_s,
            socket_keepalive=True,
            health_check_interval=15 if retries else 0,
            retry=Retry(NoBackoff(), retries),
        )


class _Channel:
    """The channel's messages, gathered into batches."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    async def subscribe(self, timeout_s: float) -> None:
        """Return when the server has confirmed."""
        async with asyncio.timeout(timeout_s):
            await self._pubsub.subscribe(SIGNALS)
            while (message := await self._pubsub.get_message(timeout=timeout_s)) is None:
                pass
            if message["type"] != "subscribe":
                raise Unavailable(f"Redis answered {message} to a subscription.")

    async def read(self) -> Sequence[BusMessage]:
        """The next messages. A server that stays mute for five seconds must answer a ping within five more."""
        pinged = False
        while True:
            message = await self._pubsub.get_message(timeout=PING_S)
            if message is None:
                if pinged:
                    raise Unavailable("Redis does not answer on the channel's connection.")
                await self._pubsub.ping()
                pinged = True
            elif message["type"] == "message":
                return await self._gather(message["data"])
            else:
                pinged = False

    async def close(self) -> None:
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _gather(self, first: bytes) -> Sequence[BusMessage]:
        """With it, what has arrived already."""
        batch, size = [BusMessage("channel", first)], len(first)
        while len(batch) < MESSAGES_MAX and size < BYTES_MAX:
            message = await self._pubsub.get_message(timeout=0)
            if message is None:
                break
            if message["type"] == "message":
                batch.append(BusMessage("channel", message["data"]))
                size += len(message["data"])
        return batch


class _Stream:
    """The stream's entries: first those delivered before and never acknowledged, then new ones."""

    def __init__(self, client: Redis, claim_idle_ms: int) -> None:
        self._client: Any = client  # its types say less than its documentation
        self._claim_idle_ms = claim_idle_ms
        self._has_group = False
        self._pending_after: str | None = "0"
        self._claim_at = 0.0
        self._claim_from = "0-0"
        self._is_wrong_type = False

    async def read(self) -> Sequence[BusMessage]:
        """The next entries; none when nothing came for a second, or while something else has the stream's name."""
        try:
            if not self._has_group:
                await self._make_group()
            batch = await self._pending() or await self._claimed() or await self._new()
        except ResponseError as error:
            await self._mend(error)
            return ()
        self._is_wrong_type = False
        return batch

    async def _make_group(self) -> None:
        """From `0`: what was added before there was a group counts."""
        try:
            await self._client.xgroup_create(SIGNALS, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._has_group = True
        self._pending_after = "0"

    async def _pending(self) -> Sequence[BusMessage]:
        while self._pending_after is not None:
            entries = await self._entries(self._pending_after, None)
            self._pending_after = entries[-1][0].decode() if entries else None
            if batch := await self._messages(entries):
                return batch
        return ()

    async def _claimed(self) -> Sequence[BusMessage]:
        now = asyncio.get_running_loop().time()
        if now < self._claim_at:
            return ()
        answer = await self._client.xautoclaim(
            SIGNALS, GROUP, CONSUMER, min_idle_time=self._claim_idle_ms, start_id=self._claim_from, count=MESSAGES_MAX
        )
        cursor, entries = answer[0], answer[1]
        self._claim_from = cursor.decode() if isinstance(cursor, bytes) else str(cursor)
        if self._claim_from == "0-0":
            self._claim_at = now + min(CLAIM_EVERY_S, self._claim_idle_ms / 1000)
        return await self._messages(entries)

    async def _new(self) -> Sequence[BusMessage]:
        return await self._messages(await self._entries(">", BLOCK_MS))

    async def _entries(self, after: str, block_ms: int | None) -> Sequence[tuple[bytes, Mapping[bytes, bytes] | None]]:
        answer = await self._client.xreadgroup(GROUP, CONSUMER, {SIGNALS: after}, count=MESSAGES_MAX, block=block_ms)
        return answer[0][1] if answer else ()

    async def _messages(self, entries: Sequence[tuple[bytes, Mapping[bytes, bytes] | None]]) -> Sequence[BusMessage]:
        gone = [entry_id for entry_id, fields in entries if not fields]
        if gone:  # deleted or trimmed since they were delivered
            await self._client.xack(SIGNALS, GROUP, *gone)
        return [BusMessage("stream", payload_of(fields), entry_id.decode()) for entry_id, fields in entries if fields]

    async def _mend(self, error: ResponseError) -> None:
        """Begin anew after FLUSHALL or DEL; bear with a key of another type; raise anything else."""
        self._has_group = False
        text = str(error)
        if text.startswith(("NOGROUP", "UNBLOCKED")):
            _log.warning("stream or group was deleted: made anew", stream=SIGNALS, group=GROUP)
        elif text.startswith("WRONGTYPE") or "wrong kind of value" in text:
            if not self._is_wrong_type:
                _log.error("the key is no stream: delete it; the channel goes on", key=SIGNALS)
            self._is_wrong_type = True
            await asyncio.sleep(WRONG_TYPE_PAUSE_S)
        else:
            raise error


def payload_of(fields: Mapping[bytes, bytes]) -> bytes:
    """An entry's JSON: the field `signal`, `data` or `json`; of flat fields, an object with texts as values."""
    if b"symbol" not in fields:
        for name in (b"signal", b"data", b"json"):
            if name in fields:
                return fields[name]
    return msgspec.json.encode(
        {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
    )


async def _merged(channel: _Channel, stream: _Stream) -> AsyncGenerator[Sequence[BusMessage]]:
    """Batches of both, as they come."""
    reading: dict[asyncio.Task[Sequence[BusMessage]], _Channel | _Stream] = {}
    try:
        with _unavailable("read"):
            for source in (channel, stream):
                reading[asyncio.create_task(source.read(), name="read signals")] = source
            while True:
                done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    source = reading.pop(task)
                    batch = task.result()
                    if batch:
                        yield batch
                    reading[asyncio.create_task(source.read(), name="read signals")] = source
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


@contextmanager
def _unavailable(what: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        raise Unavailable(f"Redis does not answer, nothing was {what}: {error or type(error).__name__}") from error
