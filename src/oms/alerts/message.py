"""One message of however many alerts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from oms.domain.alerts import Alert, AlertKind

LINES_MAX = 10
LINE_LENGTH_MAX = 300
OLD = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Message:
    """What a receiver gets."""

    title: str
    body: str


def message_of(alerts: Sequence[Alert], now: datetime) -> Message:
    """The newest first where there are too many: the last lines, and "and 41 more"; what is old is only counted."""
    recent = [alert for alert in alerts if now - alert.at <= OLD]
    shown = recent[-LINES_MAX:]
    left = sum(alert.count for alert in recent[: len(recent) - len(shown)])
    lines = [_line(alert) for alert in shown]
    if left:
        lines.append(f"and {left} more")
    if old := [alert for alert in alerts if now - alert.at > OLD]:
        lines.append(_old(old))
    return Message(_title(alerts), "\n".join(lines))


def _title(alerts: Sequence[Alert]) -> str:
    count = sum(alert.count for alert in alerts)
    if count != 1:
        return f"Trademk1: {count} alerts"
    only = alerts[0]
    return "Trademk1" if only.kind is AlertKind.CONDITION else f"Trademk1: {only.kind}"


def _line(alert: Alert) -> str:
    kind = "" if alert.kind is AlertKind.CONDITION else f"{alert.kind}: "
    text = " ".join(f"{alert.at:%H:%M:%S} UTC {kind}{alert.text}".split())
    return text if len(text) <= LINE_LENGTH_MAX else f"{text[: LINE_LENGTH_MAX - 1]}…"


def _old(alerts: Sequence[Alert]) -> str:
    counts: Counter[AlertKind] = Counter()
    for alert in alerts:
        counts[alert.kind] += alert.count
    kinds = ", ".join(f"{count} × {kind}" for kind, count in counts.items())
    return f"and {counts.total()} from {alerts[0].at:%Y-%m-%d %H:%M} UTC to {alerts[-1].at:%H:%M}: {kinds}"
