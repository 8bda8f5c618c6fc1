"""Faults on request: what a real broker does to its clients now and then, at the time that a test chooses.

A fault is added by the control API and waits for what it fits: a request, an update of the stream, a cancel. It is used
up after `count` hits (None: never) and hits with a `probability`, decided by its own `seed`, so that a failure replays.
"""

import itertools
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Kind = Literal[
    # requests
    "reject", "rate_limit", "deny", "error", "timeout", "drop", "delay", "hide",
    # updates of the trade stream
    "drop_updates", "delay_updates", "double_updates", "reorder_updates", "mute_updates",
    # orders
    "reject_accepted", "reject_cancel", "fill_before_cancel", "fill_before_replace",
    # connections of the streams
    "refuse_stream", "deny_stream", "data_error", "mute_data",
]  # fmt: skip

REQUEST_KINDS: tuple[Kind, ...] = ("deny", "rate_limit", "reject", "error", "timeout", "drop", "delay", "hide")
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+\Z")]
HeaderValue = Annotated[str, Meta(pattern=r"^[ -~]*\Z")]
ORDER_KINDS = frozenset({"reject", "hide"})  # unless told otherwise, these wait for POST /v2/orders


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What it does (`kind`), what it waits for (`key` to `event`), how often, and how it does it.

    `path` is the beginning of a path. `when`: "before" or "after" the request was executed (timeout, drop, error).
    `seconds`: how long a timeout hangs, a delay lasts, an order stays hidden, a late update is late.
    """

    kind: Kind
    key: str | None = None
    method: str | None = None
    path: str | None = None
    symbol: str | None = None
    client_order_id: str | None = None
    event: str | None = None
    count: Annotated[int, Meta(ge=1)] | None = 1
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    seed: int = 1
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    code: int | None = None
    message: str | None = None
    extras: dict[str, str] = {}
    headers: dict[HeaderName, HeaderValue] = {}
    html: bool = False
    when: Literal["before", "after"] = "before"
    seconds: Annotated[float, Meta(ge=0, le=86_400)] = 1.0
    id: str = ""
    hits: int = 0

    @property
    def used_up(self) -> bool:
        return self.count is not None and self.hits >= self.count

    def fits(self, facts: "Facts") -> bool:
        """Whether everything that it names is so."""
        if self.path is not None and not (facts.path or "").startswith(self.path):
            return False
        return all(
            wanted is None or wanted == found
            for wanted, found in (
                (self.key, facts.key),
                (self.method, facts.method),
                (self.symbol, facts.symbol),
                (self.client_order_id, facts.client_order_id),
                (self.event, facts.event),
            )
        )


class Facts(msgspec.Struct, frozen=True):
    """What a fault is compared with."""

    key: str | None = None
    method: str | None = None
    path: str | None = None
    symbol: str | None = None
    client_order_id: str | None = None
    event: str | None = None


class Faults:
    """Those that wait."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._dice: dict[str, random.Random] = {}
        self._numbers = itertools.count(1)

    def __bool__(self) -> bool:
        return bool(self._faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(list(self._faults.values()))

    def add(self, body: object) -> Fault:
        """Raises msgspec.ValidationError."""
        fault = msgspec.convert(body, Fault, strict=False)
        fault.id = f"fault-{next(self._numbers)}"
        if fault.kind in ORDER_KINDS and fault.path is None and fault.method is None:
            fault.method, fault.path = "POST", "/v2/orders"
        self._faults[fault.id] = fault
        self._dice[fault.id] = random.Random(fault.seed)
        return fault

    def remove(self, fault_id: str) -> bool:
        return self._faults.pop(fault_id, None) is not None

    def clear(self, key: str | None = None) -> None:
        """Remove those of one account, or all."""
        self._faults = {} if key is None else {one.id: one for one in self if one.key != key}

    def take(self, facts: Facts, *kinds: Kind) -> Fault | None:
        """The first waiting fault of the kinds that fits and hits; it is used once by that."""
        if not self._faults:
            return None
        for fault in list(self._faults.values()):
            if fault.kind not in kinds or not fault.fits(facts):
                continue
            if self._dice[fault.id].random() >= fault.probability:
                continue
            fault.hits += 1
            if fault.used_up:
                del self._faults[fault.id]
            return fault
        return None


def plain(value: object) -> object:
    """Decimals of a body as text, for logs."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value
