"""What is the matter now, by name: from the engine's last words, nothing remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HEARTBEAT_S_MAX = 5.0
ENGINE = "engine"
_WELL = frozenset({"running", "standby"})
_MEANS = {
    "stopped": "no engine runs; signals are accepted and wait",
    "starting": "it catches up with the broker; signals wait",
    "unauthorized": "the broker refuses the keys; signals are answered 503",
    "not_configured": "it lacks a setting; signals are answered 503",
    "cancel_only": "nothing new is sent; cancels pass, signals wait",
    "reconnecting": "the broker or the database does not answer; signals wait until they are stale",
    "halted": "a person stopped trading; signals are rejected",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that lasts. `value` decides whether it is still the same; `text` is for a person.

    It is worth an alert once it has been so for `lasts_s`.
    """

    value: str
    text: str
    lasts_s: float = 3.0


def conditions_of(status: str | None, age_s: float | None, detail: Mapping[str, object]) -> Mapping[str, Condition]:
    """Everything that is not as it should be. An engine that never was is none that is missing."""
    if status is None or age_s is None:
        return {}
    if age_s > HEARTBEAT_S_MAX:
        status, detail = "stopped", {}
    found: dict[str, Condition] = {}
    if status not in _WELL:
        halt = _part(detail, "halt")
        halted = f"By {halt.get('by')}: {halt.get('reason')}" if halt else ""
        parts = (_part(detail, name).get("error") for name in ("broker", "sending", "stream"))
        reason = halted or str(detail.get("error") or next(filter(None, parts), ""))
        text = f"the engine is {status}: {_MEANS.get(status, 'see /api/health/detailed')}"
        found[ENGINE] = Condition(status, f"{text}. {reason}" if reason else text)
    if status == "stopped":
        return found
    for name, stream in _part(_part(detail, "feed"), "streams").items():
        error = stream.get("last_error") if isinstance(stream, Mapping) else None
        if error and not (isinstance(stream, Mapping) and stream.get("connected")):
            found[f"{name} price stream"] = Condition("down", f"the {name} price stream is down: {error}", 10.0)
    unknown = _part(detail, "backlog").get("outcome_unknown")
    if isinstance(unknown, int) and unknown:
        text = "orders were sent and the broker's answer was lost: it is being asked what became of them"
        found["outcome of orders"] = Condition("unknown", text, 30.0)
    blocked = _part(detail, "account").get("error")
    if blocked:
        found["account"] = Condition("blocked", str(blocked))
    for drift_id, values in _part(detail, "drift").items():
        one = values if isinstance(values, Mapping) else {}
        text = f"{one.get('kind')} {one.get('symbol')}: {one.get('ours')} here, {one.get('broker')} at the broker"
        if one.get("blocks"):
            blocked = f"{one.get('symbol')} is blocked for orders that increase risk. {text}"
            found[f"drift {drift_id}"] = Condition("blocks", f"{blocked}; oms drift adopt|ignore {drift_id}")
        else:  # fills that are on their way settle by themselves
            found[f"drift {drift_id}"] = Condition(str(one.get("cause")), f"{text} ({one.get('cause')})", 10.0)
    return found


def _part(detail: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = detail.get(name)
    return found if isinstance(found, Mapping) else {}
