"""`/paper/v1`: what a real broker does not have. Needs no key.

It is for the tests beside the broker, not for its clients.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paperbroker.api.endpoint import Reply, respond
from paperbroker.api.parameters import whole_number
from paperbroker.api.where import Where
from paperbroker.clock import Clock
from paperbroker.errors import Refusal
from paperbroker.store import Store
from paperbroker.timestamps import rfc3339

MOST = 10_000


class Control:
    """The handlers of the control API."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def routes(self) -> list[Route]:
        return [Route("/paper/v1/health", self.health), Route("/paper/v1/fills", self.fills)]

    async def health(self, request: Request) -> Response:
        return respond(Reply({"status": "ok", "time": rfc3339(self._clock.peek())}))

    async def fills(self, request: Request) -> Response:
        """Every fill with the quote it was made against, oldest first.

        `after` (seq), `limit`, `account_id`, `order_id`.
        """
        query = request.query_params
        try:
            where = Where("seq > ?", whole_number(query, "after", 0, 2**53, least=0))
            limit = whole_number(query, "limit", 1000, MOST)
        except Refusal as refusal:
            return respond(Reply(refusal.body(), refusal.status))
        for name in ("account_id", "order_id"):
            if value := query.get(name):
                where.add(f"{name} = ?", value)
        sql = f"select seq, body from fills where {where} order by seq limit {limit}"  # noqa: S608
        rows = self._store.read(sql, where.values)
        lines = [
            b'{"seq":%d,%b' % (seq, body[1:]) for seq, body in rows if isinstance(seq, int) and isinstance(body, bytes)
        ]
        return respond(Reply(b"[" + b",".join(lines) + b"]"))
