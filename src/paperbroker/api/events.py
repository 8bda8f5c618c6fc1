"""`GET /v2/events/trades`: the events of the account's orders as server-sent events, also those that have been."""

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from paperbroker.api.endpoint import Call, Routes
from paperbroker.api.parameters import instant
from paperbroker.clock import Clock
from paperbroker.errors import invalid, unprocessable
from paperbroker.timestamps import SECOND
from paperbroker.trade_events import TradeEvents, event_json, seq_of

HEARTBEAT_SECONDS = 10.0
COMMITTED_NS = SECOND  # so long after an instant all that happened until then is committed
_AT_ONCE = 200
_FOREVER = 2**62


class Events:
    """The handler of server-sent events."""

    def __init__(self, events: TradeEvents, clock: Clock) -> None:
        self._events = events
        self._clock = clock

    def routes(self) -> Routes:
        return [("/v2/events/trades", "GET", self.trades)]

    def trades(self, call: Call) -> StreamingResponse:
        """From now on, or from `since` (an instant) or `since_id` on (both included), until `until` or `until_id`."""
        query = call.query
        if query.get("since") and query.get("since_id"):
            raise invalid("only one of since and since_id is accepted")
        if query.get("until") and query.get("until_id"):
            raise invalid("only one of until and until_id is accepted")
        if (query.get("until") or query.get("until_id")) and not (query.get("since") or query.get("since_id")):
            raise invalid("until requires since, and until_id requires since_id")
        since, until_ns = instant(query, "since"), instant(query, "until")
        if since is not None:
            after = self._events.seq_before(call.account.id, since)
        elif since_id := query.get("since_id"):
            after = _seq("since_id", since_id) - 1
        else:
            after = self._events.last_seq()
        until_seq = _seq("until_id", given) if (given := query.get("until_id")) else _FOREVER
        frames = self._frames(call.account.id, after, until_seq, _FOREVER if until_ns is None else until_ns)
        return StreamingResponse(frames, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def _frames(self, account_id: str, after: int, until_seq: int, until_ns: int) -> AsyncIterator[bytes]:
        """What is committed is the one source; a commit only wakes up. It ends when `until` is over, event or not."""
        something = asyncio.Event()
        over_ns = until_ns + COMMITTED_NS
        leave = self._events.follow(account_id, something.set)
        try:
            yield b":connected\n\n"
            while after < until_seq:
                something.clear()
                over = self._clock.peek() >= over_ns
                events = self._events.after(account_id, after, _AT_ONCE)
                for seq, ns, body in events:
                    if seq > until_seq or ns > until_ns:
                        return
                    after = seq
                    yield b"data: " + event_json(seq, ns, body) + b"\n\n"
                if len(events) == _AT_ONCE:
                    continue
                if over:
                    return
                wait = min(HEARTBEAT_SECONDS, self._clock.seconds_until(over_ns))
                if not await _set_within(something, wait):
                    yield b":heartbeat\n\n"
        finally:
            leave()


async def _set_within(something: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(something.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _seq(name: str, event_id: str) -> int:
    try:
        return seq_of(event_id)
    except ValueError:
        raise unprocessable(f"{name} must be the id of an event (a ULID)") from None
