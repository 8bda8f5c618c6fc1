"""What the way to Alpaca hides: the few milliseconds in which an order is between two states.

Here a request can come before its predecessor has been worked on. Where that would make a difference it waits, for as
long as it would have been on its way to Alpaca; then it is answered with what is.
"""

import asyncio
from collections.abc import Callable

from paperbroker.accounts import Account
from paperbroker.orders import OrderType, Side
from paperbroker.statuses import Status

ROUND_TRIP_SECONDS = 0.05
_POLL_SECONDS = 0.002
_WAITING_FOR_THE_SESSION = Status.ACCEPTED


async def wait_while(condition: Callable[[], bool], seconds: float = ROUND_TRIP_SECONDS) -> None:
    """Come back when a condition has ceased to hold, or when so much time has passed."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while condition() and loop.time() < until:  # noqa: ASYNC110 (an account tells nobody of its changes)
        await asyncio.sleep(_POLL_SECONDS)


def is_in(account: Account, order_id: str, status: Status) -> bool:
    """Whether an order is open and in that status."""
    order = account.open_orders.get(order_id)
    return order is not None and order.status is status


def leaving(account: Account, symbol: str, side: Side) -> bool:
    """Whether an order of a symbol and a side is about to end: filled at the market, or canceled."""
    return any(
        order.status is Status.PENDING_CANCEL
        or (order.type is OrderType.MARKET and order.status is not _WAITING_FOR_THE_SESSION)
        for order in account.open_on(symbol, side)
    )
