"""Which conditions are worth an alert: those that last, those that change, and the end of those that were told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from oms.alerts.conditions import ENGINE, Condition
from oms.domain.alerts import Alert, AlertKind

OVER_S = 3.0
GRACE_S = 10.0  # after our own start the engine is being started too
_OK = ""


class ConditionWatch:
    """Remembers since when each condition has been as it is; `told` is what was last told, and survives a restart.

    A condition that does not last is not told, and neither is its end.
    """

    def __init__(self, told: Mapping[str, str], now_s: float, grace_s: float = GRACE_S) -> None:
        self.told = dict(told)
        self._quiet_until = now_s + grace_s
        self._since: dict[str, tuple[str, float]] = {}

    def look(self, found: Mapping[str, Condition], at: datetime, now_s: float) -> list[Alert]:
        """The alerts that are due now; `told` changes with them. `now_s` is monotonic."""
        due: list[Alert] = []
        for name in [*found, *(name for name in self.told if name not in found)]:
            condition = found.get(name)
            value = condition.value if condition else _OK
            before, since = self._since.get(name, (None, now_s))
            if value != before:
                self._since[name] = (value, since := now_s)
            if value == self.told.get(name, _OK) or now_s - since < (condition.lasts_s if condition else OVER_S):
                continue
            if name == ENGINE and value in {"stopped", "starting"} and now_s < self._quiet_until:
                continue
            due.append(Alert(AlertKind.CONDITION, at, condition.text if condition else _over(name)))
            self._note(name, value)
        self._since = {name: state for name, state in self._since.items() if name in found or name in self.told}
        return due

    def _note(self, name: str, value: str) -> None:
        if value == _OK:
            del self.told[name]
        else:
            self.told[name] = value


def _over(name: str) -> str:
    return "the engine is running again" if name == ENGINE else f"{name}: in order again"
