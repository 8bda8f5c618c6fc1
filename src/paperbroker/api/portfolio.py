"""`GET /v2/account/portfolio/history`: the only answer that has its money as numbers."""

import re
from decimal import ROUND_HALF_EVEN, Decimal

from paperbroker.api.endpoint import Call, Reply, Routes
from paperbroker.api.parameters import instant_or_epoch, one_of
from paperbroker.clock import Clock, Hours
from paperbroker.equity import MINUTE, EquityPoints, Point
from paperbroker.errors import unprocessable
from paperbroker.money import ZERO
from paperbroker.portfolio import TIMEFRAMES, Entry, Reporting, instants, minus_period, plus_period, series, window_of
from paperbroker.prices.market import Prices
from paperbroker.timestamps import SECOND, new_york_date

_HOUR = 3600 * SECOND
_DAY = 24 * _HOUR
_PERIOD = re.compile(r"(\d{1,4})\s*([DWMAY])", re.IGNORECASE | re.ASCII)
_TIMEFRAME_NAMES = {name.lower(): name for name in TIMEFRAMES} | {"1hour": "1H", "60min": "1H", "1day": "1D"}
_CENT, _RATIO = Decimal("0.01"), Decimal("1e-10")
_LONGEST = 40 * 366 * _DAY


class Portfolio:
    """The handler of portfolio history."""

    def __init__(self, points: EquityPoints, clock: Clock, hours: Hours, prices: Prices) -> None:
        self._points = points
        self._clock = clock
        self._hours = hours
        self._prices = prices

    def routes(self) -> Routes:
        return [("/v2/account/portfolio/history", "GET", self.history)]

    def history(self, call: Call) -> Reply:
        """`period`, or two of `start`, `end` and `period`; `timeframe`; `intraday_reporting`; `pnl_reset`."""
        now = self._clock.peek()
        start, end = _range(call, now)
        timeframe, reporting = _timeframe(call, end - start), _reporting(call)
        points = self._points.between(call.account.id, start, end)
        labels = instants(start, end, timeframe, reporting)
        if end >= now - MINUTE:
            if self._hours == "all" and not (labels and labels[-1] + window_of(timeframe) >= now):
                labels.append(now)  # it is open now, though the exchange is not
            points.append(Point(now, call.account.figures(self._prices).equity))
        before = self._points.last_before(call.account.id, start)
        entries = series(labels, timeframe, points, before)
        known = [before.equity] if before else [point.equity for point in points]
        base = known[0] if known else ZERO
        resets = one_of(call.query, "pnl_reset", ("per_day", "no_reset"), "per_day") == "per_day"
        body = _columns(entries, base, resets=resets and timeframe != "1D")
        body |= {"base_value": _money(base), "timeframe": timeframe}
        if before is not None:
            body["base_value_asof"] = new_york_date(before.ns).isoformat()
        if call.query.get("cashflow_types", "NONE").upper() != "NONE":
            body["cashflow"] = {}
        return Reply(body)


def _range(call: Call, now: int) -> tuple[int, int]:
    start, end = instant_or_epoch(call.query, "start"), instant_or_epoch(call.query, "end")
    if end is None and call.query.get("date_end"):  # as the legacy SDKs say it
        end = instant_or_epoch(call.query, "date_end")
    given = call.query.get("period", "")
    if start is not None and end is not None and given:
        raise unprocessable("only two of start, end and period are accepted")
    number, unit = _period(given)
    if start is None:
        end = min(end if end is not None else now, now)
        start = minus_period(end, number, unit)
    elif end is None:
        end = plus_period(start, number, unit)
    end = min(end, now)
    if end < start and call.query.get("end"):
        raise unprocessable("end must not be before start")
    return max(start, end - _LONGEST), max(start, end)


def _period(given: str) -> tuple[int, str]:
    if not given:
        return 1, "M"
    if given.lower() == "all":
        return 20, "A"
    match = _PERIOD.fullmatch(given.strip())
    if match is None or not 0 < int(match[1]) * {"D": 1, "W": 7, "M": 31}.get(match[2].upper(), 366) <= 36_600:
        raise unprocessable("period must be a number and one of D, W, M and A, as in 1M")
    return int(match[1]), match[2].upper()


def _timeframe(call: Call, length: int) -> str:
    given = call.query.get("timeframe", "")
    if not given:
        return "1Min" if length < 7 * _DAY else "15Min" if length < 30 * _DAY else "1D"
    timeframe = _TIMEFRAME_NAMES.get(given.lower())
    if timeframe is None:
        raise unprocessable(f"timeframe must be one of {', '.join(TIMEFRAMES)}")
    days = 32 if call.query.get("period", "").upper() in {"", "1M"} else 30  # a month may have 31, and an hour more
    if timeframe != "1D" and length > days * _DAY + _HOUR:
        raise unprocessable("only the timeframe 1D is accepted for periods of more than 30 days")
    return timeframe


def _reporting(call: Call) -> Reporting:
    if call.query.get("extended_hours", "").lower() == "true" and not call.query.get("intraday_reporting"):
        return "extended_hours"
    choices = ("market_hours", "extended_hours", "continuous")
    chosen = one_of(call.query, "intraday_reporting", choices, "market_hours")
    return "extended_hours" if chosen == choices[1] else "continuous" if chosen == choices[2] else "market_hours"


def _columns(entries: list[Entry], base: Decimal, *, resets: bool) -> dict[str, object]:
    """Profit is reckoned from `base`, or with `resets` from the last value of the day before.

    Before the account was opened everything is 0, as Alpaca's is.
    """
    equities, profits, ratios = [], [], []
    baseline, last, day = base, base, None
    for entry in entries:
        equity = entry.equity
        today = new_york_date(entry.ns)
        if resets and today != day:
            baseline, day = last, today
        profit = equity - baseline if equity is not None else ZERO
        equities.append(_money(equity or ZERO))
        profits.append(_money(profit))
        ratios.append((profit / baseline).quantize(_RATIO) if baseline else ZERO)
        last = equity if equity is not None else last
    labels = [entry.ns // SECOND for entry in entries]
    return {"timestamp": labels, "equity": equities, "profit_loss": profits, "profit_loss_pct": ratios}


def _money(value: Decimal) -> Decimal:
    return value.quantize(_CENT, ROUND_HALF_EVEN)
