"""From events of orders to alerts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oms.domain.alerts import Alert, AlertKind, OrderNews

ONE_BY_ONE_MAX = 20
# What is read of the trail; anything else happens all day long.
EVENTS = ("rejected", "expired", "adopted")


def alerts_of(news: Iterable[OrderNews]) -> Sequence[Alert]:
    """One alert for each event that is worth it; of a burst the first ones, and the rest of each kind as a count."""
    told: list[Alert] = []
    more: dict[AlertKind, list[Alert]] = {}
    for one in news:
        alert = _alert(one)
        if alert is None:
            continue
        if len(told) < ONE_BY_ONE_MAX:
            told.append(alert)
        else:
            more.setdefault(alert.kind, []).append(alert)
    return [*told, *(_counted(kind, alerts) for kind, alerts in more.items())]


def _alert(one: OrderNews) -> Alert | None:
    terms = f"{one.side} {'all' if one.qty is None else format(one.qty.normalize(), 'f')} {one.symbol}"
    if one.event == "adopted":
        if one.origin != "external":
            return None
        return Alert(AlertKind.EXTERNAL, one.at, f"{terms}: an order in the account that is not ours ({one.order_id})")
    if one.origin == "external":
        return None  # what becomes of others' orders is theirs to know
    if one.event == "expired" and one.error_code is None:
        return None  # the end of its day, as its time in force says
    kind = AlertKind.REJECTED if one.event == "rejected" else AlertKind.FAILED
    reason = one.error_message or one.error_code or "no reason given"
    code = f"{one.error_code}: " if one.error_code and one.error_message else ""
    return Alert(kind, one.at, f"{terms}: {code}{reason} ({one.order_id})")


def _counted(kind: AlertKind, alerts: Sequence[Alert]) -> Alert:
    count = sum(alert.count for alert in alerts)
    return Alert(kind, alerts[-1].at, f"{count} more, the last one: {alerts[-1].text}", count)
