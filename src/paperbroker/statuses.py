"""The statuses of an order, the events that the stream tells, and the one table of what may happen when."""

from enum import StrEnum


class Status(StrEnum):
    PENDING_NEW = "pending_new"
    ACCEPTED = "accepted"
    HELD = "held"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    CANCELED = "canceled"
    REPLACED = "replaced"
    EXPIRED = "expired"
    REJECTED = "rejected"


class Event(StrEnum):
    """What the stream calls the changes."""

    PENDING_NEW = "pending_new"
    ACCEPTED = "accepted"
    HELD = "held"
    NEW = "new"
    PARTIAL_FILL = "partial_fill"
    FILL = "fill"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    ORDER_CANCEL_REJECTED = "order_cancel_rejected"
    ORDER_REPLACE_REJECTED = "order_replace_rejected"
    CANCELED = "canceled"
    REPLACED = "replaced"
    EXPIRED = "expired"
    REJECTED = "rejected"
    RESTATED = "restated"  # a fill was busted; it is not in the table, because it happens to orders that have ended


TERMINAL = frozenset({Status.FILLED, Status.CANCELED, Status.REPLACED, Status.EXPIRED, Status.REJECTED})

# The two that give the order its former status back: it is not in the table, the order remembers it.
TURNED_DOWN = {
    Event.ORDER_CANCEL_REJECTED: Status.PENDING_CANCEL,
    Event.ORDER_REPLACE_REJECTED: Status.PENDING_REPLACE,
}

_ENDINGS = {Event.CANCELED: Status.CANCELED, Event.EXPIRED: Status.EXPIRED, Event.REJECTED: Status.REJECTED}
_WORKED_ON = {
    Event.PARTIAL_FILL: Status.PARTIALLY_FILLED,
    Event.FILL: Status.FILLED,
    Event.PENDING_CANCEL: Status.PENDING_CANCEL,
    Event.PENDING_REPLACE: Status.PENDING_REPLACE,
    **_ENDINGS,  # canceled also by its time in force (ioc, fok) or by its group; rejected when the money is gone
}

# What may happen in which status, and the status after it. Nothing happens in a terminal one.
TRANSITIONS: dict[Status, dict[Event, Status]] = {
    Status.PENDING_NEW: {
        Event.PENDING_NEW: Status.PENDING_NEW,
        Event.ACCEPTED: Status.ACCEPTED,  # the session ended meanwhile
        Event.NEW: Status.NEW,
        Event.HELD: Status.HELD,  # what replaces a held leg
        Event.PENDING_CANCEL: Status.PENDING_CANCEL,
        **_ENDINGS,
    },
    Status.ACCEPTED: {  # outside the session: waits for the open
        Event.ACCEPTED: Status.ACCEPTED,
        Event.NEW: Status.NEW,
        Event.PENDING_CANCEL: Status.PENDING_CANCEL,
        **_ENDINGS,
    },
    Status.HELD: {  # a leg that waits for its entry, or a stop for its take-profit
        Event.HELD: Status.HELD,
        Event.NEW: Status.NEW,
        Event.PENDING_CANCEL: Status.PENDING_CANCEL,
        Event.PENDING_REPLACE: Status.PENDING_REPLACE,
        **_ENDINGS,
    },
    Status.NEW: _WORKED_ON,
    Status.PARTIALLY_FILLED: _WORKED_ON,
    Status.PENDING_CANCEL: {
        Event.PARTIAL_FILL: Status.PENDING_CANCEL,  # a fill can win the race against a cancel
        Event.FILL: Status.FILLED,
        **_ENDINGS,
    },
    Status.PENDING_REPLACE: {
        Event.PARTIAL_FILL: Status.PENDING_REPLACE,  # and against a replacement
        Event.FILL: Status.FILLED,
        Event.REPLACED: Status.REPLACED,
        Event.PENDING_CANCEL: Status.PENDING_CANCEL,
        **_ENDINGS,
    },
}
