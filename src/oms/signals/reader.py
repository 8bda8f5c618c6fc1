"""Reads a signal from JSON, strictly: every problem of a body is named, and numbers never pass through a float."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from oms.domain.errors import InvalidInput
from oms.domain.instruments import Instrument, Symbols
from oms.domain.signals import Signal
from oms.domain.values import (
    CRYPTO_TIMES_IN_FORCE,
    STOCK_TIMES_IN_FORCE,
    AssetClass,
    OrderType,
    Side,
    TimeInForce,
    read_decimal,
)

BODY_BYTES_MAX = 64 * 1024
REASON_MAX = 500
STRATEGY_MAX = 100
SIGNAL_ID_MAX = 100
VALID_FOR_S_MAX = Decimal(31 * 86_400)
FIELDS = (
    "symbol",
    "side",
    "qty",
    "reason",
    "type",
    "limit_price",
    "time_in_force",
    "strategy",
    "signal_id",
    "valid_for_s",
)
ALL = "all"

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
Word = TypeVar("Word", bound=StrEnum)
Value = TypeVar("Value")


class Number(str):
    """The exact text of a JSON number; also of the `NaN` and `Infinity` that some programs write."""

    __slots__ = ()


class InvalidSignal(InvalidInput):
    """A signal with one or more problems; `problems` has all of them, the first also makes code, reason and field."""

    def __init__(self, problems: tuple[InvalidInput, ...]) -> None:
        first = problems[0]
        super().__init__(first.code, first.reason, first.field)
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a signal came from: `source` (rest, channel, stream), the identity when it brings none, and the one that
    was given beside the body (the header `Idempotency-Key`)."""

    source: str
    fallback_id: str
    given_id: str | None = None


def read_signal(body: bytes, symbols: Symbols, origin: Origin) -> Signal:
    """The signal in a JSON body. Raises InvalidSignal with every problem found."""
    return signal_of(read_object(body), symbols, origin)


def read_object(body: bytes) -> dict[str, object]:
    """The fields of a JSON object (UTF-8, at most 64 KiB), numbers as `Number`.

    Raises InvalidSignal: `too_large`, `not_json`, `duplicate_field`. A field given twice is refused, because which of
    two quantities is meant is not ours to guess.
    """
    if len(body) > BODY_BYTES_MAX:
        raise _invalid("body_too_large", f"a signal must not be longer than {BODY_BYTES_MAX} bytes")
    if not body.strip():
        raise _invalid("not_json", "the body is empty; send a JSON object such as " + EXAMPLE)
    try:
        pairs = _decoder.decode(body.decode())
    except UnicodeDecodeError as error:
        raise _invalid("not_json", f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise _invalid("not_json", "the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _invalid("not_json", f"the body is not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(pairs, _Pairs):
        raise _invalid("not_an_object", f"the body must be a JSON object, not {_kind(pairs)}; such as {EXAMPLE}")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidSignal(
            tuple(InvalidInput("duplicate_field", f"{_shown(name)} is given twice", _field(name)) for name in twice)
        )
    return fields


def signal_of(fields: Mapping[str, object], symbols: Symbols, origin: Origin) -> Signal:
    """The signal in the fields of an object. Raises InvalidSignal with every problem found."""
    reading = _Reading(fields)
    reading.refuse_unknown()
    instrument = reading.required("symbol", lambda: symbols.find(_text(fields["symbol"], "symbol")))
    side = reading.required("side", lambda: _word(fields["side"], "side", Side))
    qty = reading.required("qty", lambda: _qty(fields["qty"]))
    reason = reading.optional("reason", lambda: _free_text(fields["reason"], "reason", REASON_MAX))
    kind = reading.optional("type", lambda: _word(fields["type"], "type", OrderType))
    if "type" not in fields:
        kind = OrderType.MARKET
    limit_price = reading.optional("limit_price", lambda: _number(fields["limit_price"], "limit_price"))
    strategy = reading.optional("strategy", lambda: _free_text(fields["strategy"], "strategy", STRATEGY_MAX))
    valid_for_s = reading.optional("valid_for_s", lambda: _valid_for(fields["valid_for_s"]))
    signal_id = reading.checked(lambda: _identity(fields, origin))
    if kind is not None:
        reading.checked(lambda: _price_agrees(kind, "limit_price" in fields))
    time_in_force = reading.checked(lambda: _time_in_force(fields, instrument))
    if reading.problems or not (instrument and side and qty and kind and time_in_force and signal_id):
        raise InvalidSignal(tuple(reading.problems))
    return Signal(
        signal_id=signal_id,
        source=origin.source,
        symbol=instrument.symbol,
        asset_class=instrument.asset_class,
        side=side,
        qty=qty.value,
        type=kind,
        time_in_force=time_in_force,
        limit_price=limit_price,
        reason=reason,
        strategy=strategy,
        valid_for_s=valid_for_s,
    )


EXAMPLE = '{"symbol": "AAPL", "side": "buy", "qty": 10}'


@dataclass(frozen=True, slots=True)
class _Qty:
    """A quantity that was read; None is the whole position."""

    value: Decimal | None


class _Reading:
    """Collects the problems of one body, so that they are reported together."""

    __slots__ = ("fields", "problems")

    def __init__(self, fields: Mapping[str, object]) -> None:
        self.fields = fields
        self.problems: list[InvalidInput] = []

    def refuse_unknown(self) -> None:
        for name in self.fields:
            if name not in FIELDS:
                reason = f"{_shown(name)} is not a field of a signal; there are {', '.join(FIELDS)}"
                self.problems.append(InvalidInput("unknown_field", reason, _field(name)))
                if len(self.problems) >= 20:
                    return

    def required(self, name: str, read: Callable[[], Value]) -> Value | None:
        if name not in self.fields:
            self.problems.append(InvalidInput("missing_field", f"{name} is missing", name))
            return None
        return self.checked(read)

    def optional(self, name: str, read: Callable[[], Value]) -> Value | None:
        return self.checked(read) if name in self.fields else None

    def checked(self, read: Callable[[], Value]) -> Value | None:
        try:
            return read()
        except InvalidInput as problem:
            self.problems.append(problem)
            return None


class _Pairs(list[tuple[str, object]]):
    """The fields of a JSON object in their order, twice where they are given twice."""


# Python's own decoder rather than msgspec's: it shows fields that are given twice, for a microsecond more.
_decoder = json.JSONDecoder(
    object_pairs_hook=_Pairs, parse_float=Number, parse_int=Number, parse_constant=Number, strict=True
)


def _invalid(code: str, reason: str, field: str | None = None) -> InvalidSignal:
    return InvalidSignal((InvalidInput(code, reason, field),))


def _kind(value: object) -> str:
    """What JSON calls a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, Number):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, _Pairs) else "an array"


def _shown(name: str) -> str:
    """A caller's word as it may stand in an answer: short, printable."""
    return ascii(name[:40])


def _field(name: str) -> str:
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", name[:40])


def _text(value: object, field: str) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        leave_out = "; leave it out where it does not apply" if value is None else ""
        raise InvalidInput("wrong_type", f"{field} must be a string, not {_kind(value)}{leave_out}", field)
    return value


def _free_text(value: object, field: str, longest: int) -> str:
    text = _text(value, field)
    if len(text) > longest:
        raise InvalidInput("too_long", f"{field} must have at most {longest} characters, not {len(text)}", field)
    found = _UNPRINTABLE.search(text)
    if found:
        what = f"U+{ord(found.group()):04X} at character {found.start()}"
        raise InvalidInput("invalid_characters", f"{field} must not contain control characters: {what}", field)
    return text


def _word(value: object, field: str, words: type[Word]) -> Word:
    text = _text(value, field)
    try:
        return words(text.lower())
    except ValueError:
        known = ", ".join(words)
        raise InvalidInput(f"invalid_{field}", f"{field} must be one of {known}, not {_shown(text)}", field) from None


def _number(value: object, field: str) -> Decimal:
    if not isinstance(value, str):
        raise InvalidInput("wrong_type", f"{field} must be a number, not {_kind(value)}", field)
    return read_decimal(value, field)


def _qty(value: object) -> _Qty:
    if value == ALL and not isinstance(value, Number):
        return _Qty(None)
    if not isinstance(value, str):
        raise InvalidInput("wrong_type", f'qty must be a number or "all", not {_kind(value)}', "qty")
    return _Qty(read_decimal(value, "qty"))


def _valid_for(value: object) -> Decimal:
    seconds = _number(value, "valid_for_s")
    if seconds > VALID_FOR_S_MAX:
        reason = f"valid_for_s must be at most {VALID_FOR_S_MAX} (31 days), not {seconds}"
        raise InvalidInput("too_large", reason, "valid_for_s")
    return seconds


def _identity(fields: Mapping[str, object], origin: Origin) -> str:
    """The signal's identity: from the body, from beside it, or the one made for it."""
    in_body = _signal_id(fields["signal_id"], "signal_id") if "signal_id" in fields else None
    beside = None if origin.given_id is None else _signal_id(origin.given_id, "Idempotency-Key")
    if in_body and beside and in_body != beside:
        reason = f"signal_id {_shown(in_body)} and the header Idempotency-Key {_shown(beside)} differ; give one of them"
        raise InvalidInput("identities_differ", reason, "signal_id")
    return in_body or beside or origin.fallback_id


def _signal_id(value: object, field: str) -> str:
    text = _text(value, field)
    if not 1 <= len(text) <= SIGNAL_ID_MAX:
        raise InvalidInput("too_long" if text else "empty", f"{field} must have 1 to {SIGNAL_ID_MAX} characters", field)
    if not text.isprintable() or text != text.strip():
        reason = f"{field} must consist of printable characters, without spaces around them"
        raise InvalidInput("invalid_characters", reason, field)
    return text


def _price_agrees(kind: OrderType, has_price: bool) -> None:
    if kind is OrderType.LIMIT and not has_price:
        raise InvalidInput("missing_field", "limit_price is missing; a limit order needs it", "limit_price")
    if kind is OrderType.MARKET and has_price:
        reason = 'a market order takes no limit_price; give "type": "limit" or leave the price out'
        raise InvalidInput("unexpected_field", reason, "limit_price")


def _time_in_force(fields: Mapping[str, object], instrument: Instrument | None) -> TimeInForce | None:
    """What was given, or the default of the asset class; a combination that cannot be is refused, never rewritten."""
    is_crypto = instrument is not None and instrument.asset_class is AssetClass.CRYPTO
    if "time_in_force" not in fields:
        return TimeInForce.GTC if is_crypto else TimeInForce.DAY
    given = _word(fields["time_in_force"], "time_in_force", TimeInForce)
    allowed = CRYPTO_TIMES_IN_FORCE if is_crypto else STOCK_TIMES_IN_FORCE
    if instrument is not None and given not in allowed:
        reason = f"crypto is traded with time_in_force {' or '.join(sorted(allowed))}, not {given}"
        raise InvalidInput("invalid_time_in_force", reason, "time_in_force")
    return given
