"""Account, configurations, clock, calendar, assets and positions."""

from datetime import date, timedelta

import msgspec

from paperbroker import calendar
from paperbroker.account_json import account_json, position_json
from paperbroker.api.endpoint import Call, Reply
from paperbroker.api.parameters import ASSET_CLASSES, instant, one_of, words
from paperbroker.assets import Asset, Assets
from paperbroker.clock import Clock, Hours, market_at
from paperbroker.errors import Refusal, invalid, malformed, not_found, unprocessable
from paperbroker.positions import Position
from paperbroker.prices.market import Prices
from paperbroker.store import Store
from paperbroker.timestamps import eastern, new_york

_BOOLEANS = (
    "fractional_trading",
    "no_shorting",
    "ptp_no_exception_entry",
    "suspend_trade",
    "disable_overnight_trading",
)
_CHOICES = {
    "max_margin_multiplier": ("1", "2", "4"),
    "trade_confirm_email": ("all", "none"),
    "dtbp_check": ("entry", "exit", "both"),
    "pdt_check": ("entry", "exit", "both"),
}
_LONGEST_SETTLEMENT = timedelta(days=14)
_OPTIONS, _OPTION_LEVELS = "max_options_trading_level", (0, 1, 2, 3)


class Trading:
    """The handlers of what is not an order."""

    def __init__(self, assets: Assets, prices: Prices, clock: Clock, hours: Hours, store: Store) -> None:
        self._assets = assets
        self._prices = prices
        self._clock = clock
        self._hours = hours
        self._store = store

    def account(self, call: Call) -> Reply:
        return Reply(account_json(call.account, call.account.figures(self._prices)))

    def configurations(self, call: Call) -> Reply:
        return Reply(msgspec.to_builtins(call.account.state.configuration))

    def change_configurations(self, call: Call) -> Reply:
        """PATCH: the given fields are changed; unknown ones are ignored, as SDKs send what they once read."""
        if not isinstance(call.body, dict):
            raise malformed()
        changes = {name: value for name, value in call.body.items() if value is not None}
        if isinstance(multiplier := changes.get("max_margin_multiplier"), int) and not isinstance(multiplier, bool):
            changes["max_margin_multiplier"] = str(multiplier)
        for name, value in changes.items():
            if name in _BOOLEANS and not isinstance(value, bool):
                raise invalid(f"{name} must be true or false")
            if name in _CHOICES and value not in _CHOICES[name]:
                raise unprocessable(f"{name} must be one of {', '.join(_CHOICES[name])}")
            if name == _OPTIONS and (type(value) is not int or value not in _OPTION_LEVELS):
                raise unprocessable(f"{name} must be one of 0, 1, 2, 3")
        known = {name: value for name, value in changes.items() if name in {*_BOOLEANS, *_CHOICES, _OPTIONS}}
        state = call.account.state
        state.configuration = msgspec.structs.replace(state.configuration, **known)
        self._store.put_account(call.account)
        return self.configurations(call)

    def clock(self, call: Call) -> Reply:
        now = self._clock.peek()
        market = market_at(self._hours, now)
        body = {
            "timestamp": eastern(now),
            "is_open": market.is_open,
            "next_open": eastern(market.next_open_ns),
            "next_close": eastern(market.next_close_ns),
        }
        return Reply(body)

    def calendar(self, call: Call) -> Reply:
        """The exchange's sessions, whatever hours the broker keeps; the default range is all that it knows.

        With `date_type=SETTLEMENT` the range is of the days on which they are settled. Raises 400.
        """
        try:
            start = _day(call, "start", date(calendar.FIRST_YEAR, 1, 1))
            end = _day(call, "end", date(calendar.LAST_YEAR - 1, 12, 31))
            settled = one_of(call.query, "date_type", ("trading", "settlement"), "trading") == "settlement"
        except Refusal as refusal:
            raise malformed(refusal.message) from None
        first = start - _LONGEST_SETTLEMENT if settled and start.year > calendar.FIRST_YEAR else start
        days = [_calendar_day(day) for day in calendar.sessions(first, min(end, date(calendar.LAST_YEAR, 12, 1)))]
        if settled:
            days = [day for day in days if start.isoformat() <= day["settlement_date"] <= end.isoformat()]
        return Reply(days)

    def assets(self, call: Call) -> Reply:
        """`asset_class` defaults to us_equity (OpenAPI); with `attributes`, those that have any; symbols are sorted."""
        asset_class = one_of(call.query, "asset_class", ASSET_CLASSES, "us_equity")
        status = one_of(call.query, "status", ("active", "inactive", "all"), "active")
        exchange = call.query.get("exchange")
        chosen = (
            a for a in self._assets if asset_class in {"all", a.asset_class} and exchange in {None, "", a.exchange}
        )
        listed = [asset.json() for asset in chosen if status in {"active", "all"}]
        if attributes := set(words(call.query, "attributes")):
            listed = [asset for asset in listed if attributes & set(asset["attributes"])]
        return Reply(listed)

    def asset(self, call: Call) -> Reply:
        return Reply(self._assets.get(call.path["symbol"]).json())

    def positions(self, call: Call) -> Reply:
        positions = sorted(call.account.state.positions.values(), key=lambda position: position.symbol)
        return Reply([self._position(call, position, self._assets[position.symbol]) for position in positions])

    def position(self, call: Call) -> Reply:
        spelling = call.path["symbol"]
        asset = self._assets.find(spelling)
        if asset is None:
            raise not_found(f"symbol not found: {spelling[:64]}")
        position = call.account.state.positions.get(asset.holding)
        if position is None:
            raise not_found("position does not exist")
        return Reply(self._position(call, position, self._assets[position.symbol]))

    def _position(self, call: Call, position: Position, asset: Asset) -> dict[str, object]:
        return position_json(position, asset, call.account, self._prices, self._clock.peek())


def _day(call: Call, name: str, default: date) -> date:
    given = words(call.query, name)
    if not given:
        return default
    ns = instant(call.query, name)
    if ns is None:
        return default
    return date.fromisoformat(given[0][:10]) if len(given[0]) == 10 else new_york(ns).date()


def _calendar_day(session: calendar.Session) -> dict[str, str]:
    opening, closing = new_york(session.open_ns), new_york(session.close_ns)
    late = new_york(session.late_ns)
    return {
        "date": session.day.isoformat(),
        "open": f"{opening:%H:%M}",
        "close": f"{closing:%H:%M}",
        "session_open": "0400",
        "session_close": f"{late:%H%M}",
        "settlement_date": calendar.settlement_date(session.day).isoformat(),
    }
