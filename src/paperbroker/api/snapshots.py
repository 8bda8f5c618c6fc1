"""Snapshots: the last trade, quote and bars of a symbol in one answer."""

from paperbroker.api.endpoint import Call, Reply, Routes
from paperbroker.api.history import HistoryPages
from paperbroker.api.quotes import COIN_PATHS, asked_assets, check_feed, no_data
from paperbroker.api.quotes_json import bar_fields, quote_fields, trade_fields
from paperbroker.assets import Asset, Assets
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Bar


class Snapshots:
    """The handlers of snapshots. `past` tells the bars of days; without it they are what the broker saw itself."""

    def __init__(self, assets: Assets, prices: Prices, past: HistoryPages | None) -> None:
        self._assets = assets
        self._prices = prices
        self._past = past

    def routes(self) -> Routes:
        return [
            ("/v2/stocks/snapshots", "GET", self.stocks),
            ("/v2/stocks/{symbol}/snapshot", "GET", self.stock),
            *((f"{coins}/snapshots", "GET", self.coins) for coins in COIN_PATHS),
        ]

    async def stocks(self, call: Call) -> Reply:
        return Reply(await self._of(asked_assets(self._assets, call, crypto=False)))

    async def stock(self, call: Call) -> Reply:
        check_feed(call)
        asset = self._assets.find(call.path["symbol"])
        if asset is None or asset.crypto:
            raise no_data(call.path["symbol"])
        return Reply({"symbol": asset.symbol, **(await self._of([asset]))[asset.symbol]})

    async def coins(self, call: Call) -> Reply:
        return Reply({"snapshots": await self._of(asked_assets(self._assets, call, crypto=True))})

    async def _of(self, assets: list[Asset]) -> dict[str, dict[str, object]]:
        symbols = [asset.symbol for asset in assets]
        if self._past is None:
            return {symbol: self._one(symbol, [], None) for symbol in symbols}
        days = await self._past.last_days(symbols)
        quiet = [symbol for symbol in symbols if symbol not in self._prices.minute_bars]
        minutes = await self._past.last_minutes(quiet)
        return {symbol: self._one(symbol, days.get(symbol, []), minutes.get(symbol)) for symbol in symbols}

    def _one(self, symbol: str, days: list[Bar], minute: Bar | None) -> dict[str, object]:
        """What there is not is left out. `days`: today's bar and yesterday's; `minute`: what was before the broker."""
        prices = self._prices
        parts: dict[str, object] = {}
        if trade := prices.trades.get(symbol):
            parts["latestTrade"] = trade_fields(trade)
        if quote := prices.quotes.get(symbol):
            parts["latestQuote"] = quote_fields(quote)
        today, yesterday = days if len(days) == 2 else (prices.day_bars.get(symbol), None)
        for name, bar in (
            ("minuteBar", prices.minute_bars.get(symbol, minute)),
            ("dailyBar", today),
            ("prevDailyBar", yesterday or prices.previous_day_bars.get(symbol)),
        ):
            if bar is not None:
                parts[name] = bar_fields(bar)
        return parts
