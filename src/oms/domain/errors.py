"""The errors of the OMS.

OmsError
├── ConfigurationError      a setting is missing or wrong: says which, and what to do
├── InvalidInput            a caller's value is wrong: field, code, reason (HTTP 4xx)
├── SignalConflict          the identity of a signal is taken by one with other content (HTTP 409)
├── CommandRefused          a person's command cannot be carried out: says why
├── NotFound                no such order
├── NotWritten              a file cannot be written: says which, and why
├── Unavailable             a dependency is away; nothing was stored; try again (HTTP 503)
│   ├── StoreUnavailable    PostgreSQL
│   └── AccountUnknown      the broker was never reached, so that no account is known yet
├── Fenced                  another engine owns the account now
├── StoreConflict           a compare-and-set found another version: memory is not what is stored
└── BrokerError             the broker's answer, or none
    ├── BrokerRefused       a definite no: status, code, message, extras
    │   ├── BrokerUnauthorized   401 or 403 for the keys themselves
    │   └── BrokerDuplicateId    this client_order_id is taken: look the order up
    ├── BrokerNotFound      a definite 404
    ├── BrokerBusy          429: not executed; when to come back
    └── BrokerUnknown       timeout, cut connection, 5xx: it may or may not have been executed
        └── BrokerUnreadable     an answer came, and cannot be understood
"""

from __future__ import annotations

from collections.abc import Mapping


class OmsError(Exception):
    """Whatever the OMS raises on purpose."""


class ConfigurationError(OmsError):
    """A setting is missing or wrong; the text says what to change."""


class InvalidInput(OmsError):
    """A caller's value is wrong. `code` is stable, `field` is the name as the caller wrote it (or None)."""

    def __init__(self, code: str, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.field = field


class SignalConflict(OmsError):
    """The signal's identity is taken by an order with other content."""

    def __init__(self, signal_id: str, order_id: str) -> None:
        super().__init__(f"signal_id {signal_id!r} already belongs to order {order_id}, which has other content")
        self.signal_id = signal_id
        self.order_id = order_id


class CommandRefused(OmsError):
    """A command cannot be carried out as things are; the text says why and what to do."""


class NotFound(OmsError):
    """There is no such order."""


class NotWritten(OmsError):
    """A file cannot be written; the text says which, and why."""


class Unavailable(OmsError):
    """A dependency is away and nothing was stored: the caller may try again."""


class StoreUnavailable(Unavailable):
    """PostgreSQL does not answer."""


class AccountUnknown(Unavailable):
    """The broker was never reached with these keys, so that no account is known yet."""


class Fenced(OmsError):
    """Another engine owns the account: stop writing."""


class StoreConflict(OmsError):
    """A compare-and-set found another version than memory holds: load again."""


class BrokerError(OmsError):
    """The broker refused, or did not answer."""


class BrokerRefused(BrokerError):
    """A definite refusal (4xx that says so): nothing was executed.

    `code` is the broker's own number, or None where the body had none; `extras` are the other fields of the body.
    """

    def __init__(self, status: int, code: int | None, message: str, extras: Mapping[str, object] | None = None) -> None:
        super().__init__(
            f"{message} (HTTP {status}, code {code})" if code is not None else f"{message} (HTTP {status})"
        )
        self.status = status
        self.code = code
        self.message = message
        self.extras = dict(extras or {})


class BrokerUnauthorized(BrokerRefused):
    """The keys themselves are refused."""


class BrokerDuplicateId(BrokerRefused):
    """The client_order_id is taken: an order with it exists, look it up."""


class BrokerNotFound(BrokerError):
    """The broker answered that there is no such thing."""


class BrokerBusy(BrokerError):
    """Too many requests: not executed. `retry_after_s` is when the broker asks to come back, if it said."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BrokerUnknown(BrokerError):
    """Timeout, lost connection or 5xx: the request may or may not have been executed."""


class BrokerUnreadable(BrokerUnknown):
    """The broker answered with something that is not what its protocol promises."""
