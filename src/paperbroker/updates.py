"""What is told of an order: an event with the order as it was then. Written once, for all that tell it."""

import msgspec

from paperbroker.activities import Execution
from paperbroker.ids import id_of
from paperbroker.money import text
from paperbroker.statuses import Event
from paperbroker.timestamps import rfc3339

# `pending_new` came with a null execution_id, `new` with a real one (recorded).
_WITHOUT_EXECUTION = frozenset({Event.PENDING_NEW, Event.ACCEPTED})


class Update(msgspec.Struct, frozen=True):
    """One event of an order. `wire` is the order's JSON after it, `body` the whole update's; `execution` of a fill."""

    event: Event
    account_id: str
    order_id: str
    client_order_id: str
    symbol: str
    ns: int
    wire: bytes
    execution: Execution | None
    body: bytes


def update_body(event: Event, order_id: str, wire: bytes, ns: int, execution: Execution | None) -> bytes:
    """JSON as `/stream` has it under `data`. All but the order are words, ids and numbers of ours, without escapes."""
    if execution is not None:
        rest = (
            f'"{execution.id}","price":"{text(execution.price)}","qty":"{text(execution.qty)}"'
            f',"position_qty":"{text(execution.position_qty)}"'
        )
    elif event in _WITHOUT_EXECUTION:
        rest = "null"
    else:  # made of what happened when
        rest = f'"{id_of(order_id, event, ns)}"'
    head = f'{{"event":"{event}","timestamp":"{rfc3339(ns)}","execution_id":{rest},"order":'
    return b"%b%b}" % (head.encode(), wire)
