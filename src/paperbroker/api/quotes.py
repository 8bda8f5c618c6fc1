"""Market data by REST: latest quotes and trades, order books."""

import re
from collections.abc import Callable
from typing import TypeVar

from paperbroker.api.endpoint import Call, Reply, Routes
from paperbroker.api.parameters import words
from paperbroker.api.quotes_json import book_fields, quote_fields, trade_fields
from paperbroker.assets import Asset, Assets
from paperbroker.errors import Refusal, not_found
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Quote, Trade

Known = TypeVar("Known", Quote, Trade)
# Alpaca has markets for coins in several places; this one shows the same market in all of them.
COIN_PATHS = tuple(f"/v1beta3/crypto/{location}" for location in ("us", "us-1", "us-2", "eu-1", "bs-1"))
# What can be a symbol: Alpaca refuses the rest and leaves out what there is not (alpaca-docs#59; ccxt; apca's tests).
_STOCK = re.compile(r"[A-Z]+([.-][A-Z]+)*")
_PAIR = re.compile(r"[A-Z]+/[A-Z]+")
FEEDS = frozenset({"iex", "sip", "delayed_sip", "otc", "boats", "overnight"})


class Quotes:
    """The handlers of market data.

    A symbol without a price is left out of a list, and is a 404 when asked for alone.
    """

    def __init__(self, assets: Assets, prices: Prices) -> None:
        self._assets = assets
        self._prices = prices

    def routes(self) -> Routes:
        stocks = "/v2/stocks"
        routes: Routes = [
            (f"{stocks}/quotes/latest", "GET", self.stock_quotes),
            (f"{stocks}/trades/latest", "GET", self.stock_trades),
            (f"{stocks}/{{symbol}}/quotes/latest", "GET", self.stock_quote),
            (f"{stocks}/{{symbol}}/trades/latest", "GET", self.stock_trade),
        ]
        for coins in COIN_PATHS:
            routes += [
                (f"{coins}/latest/quotes", "GET", self.coin_quotes),
                (f"{coins}/latest/trades", "GET", self.coin_trades),
                (f"{coins}/latest/orderbooks", "GET", self.coin_books),
            ]
        return routes

    def stock_quotes(self, call: Call) -> Reply:
        return Reply({"quotes": self._latest(call, self._prices.quotes, quote_fields, crypto=False)})

    def stock_trades(self, call: Call) -> Reply:
        return Reply({"trades": self._latest(call, self._prices.trades, trade_fields, crypto=False)})

    def stock_quote(self, call: Call) -> Reply:
        symbol, quote = self._one(call, self._prices.quotes)
        return Reply({"symbol": symbol, "quote": quote_fields(quote)})

    def stock_trade(self, call: Call) -> Reply:
        symbol, trade = self._one(call, self._prices.trades)
        return Reply({"symbol": symbol, "trade": trade_fields(trade)})

    def coin_quotes(self, call: Call) -> Reply:
        return Reply({"quotes": self._latest(call, self._prices.quotes, quote_fields, crypto=True)})

    def coin_trades(self, call: Call) -> Reply:
        return Reply({"trades": self._latest(call, self._prices.trades, trade_fields, crypto=True)})

    def coin_books(self, call: Call) -> Reply:
        """One level: the quote."""
        return Reply({"orderbooks": self._latest(call, self._prices.quotes, book_fields, crypto=True)})

    def _latest(
        self, call: Call, known: dict[str, Known], fields: Callable[[Known], dict[str, object]], *, crypto: bool
    ) -> dict[str, object]:
        asked = asked_assets(self._assets, call, crypto=crypto)
        return {asset.symbol: fields(known[asset.symbol]) for asset in asked if asset.symbol in known}

    def _one(self, call: Call, known: dict[str, Known]) -> tuple[str, Known]:
        check_feed(call)
        asset = self._assets.find(call.path["symbol"])
        if asset is None or asset.crypto or asset.symbol not in known:
            raise no_data(call.path["symbol"])
        return asset.symbol, known[asset.symbol]


def asked_assets(assets: Assets, call: Call, *, crypto: bool) -> list[Asset]:
    """The assets of the parameter `symbols`, in its order; one that there is not is left out, as Alpaca does.

    Raises 400 for what cannot be a stock's symbol (or a pair of coins).
    """
    symbols = words(call.query, "symbols")
    if not symbols:
        raise Refusal(400, None, "Invalid format for parameter symbols: query parameter 'symbols' is required")
    if not crypto:
        check_feed(call)
    return [asset for symbol in symbols if (asset := asked_asset(assets, symbol, crypto=crypto))]


def asked_asset(assets: Assets, symbol: str, *, crypto: bool) -> Asset | None:
    """The asset, or None when there is none of that name. Raises 400 for what cannot be one."""
    asset = assets.find(symbol)
    if asset is not None and asset.crypto == crypto:
        return asset
    if crypto and not _PAIR.fullmatch(symbol):
        raise Refusal(400, None, f"invalid symbol: {symbol[:64]} does not match ^{_PAIR.pattern}$")
    if not crypto and not _STOCK.fullmatch(symbol):
        raise Refusal(400, None, f"invalid symbol: {symbol[:64]}")
    return None


def check_feed(call: Call) -> None:
    """All feeds show the one market there is, in dollars. Raises 400 for a feed or a currency that is none."""
    feed, currency = call.query.get("feed") or "sip", call.query.get("currency") or "USD"
    if feed not in FEEDS:
        raise Refusal(400, None, f"invalid feed: {feed[:64]}")
    if currency != "USD":
        raise Refusal(400, None, f"invalid currency: {currency[:64]} (the paper broker has prices in USD only)")


def no_data(symbol: str) -> Refusal:
    return not_found(f"no data for symbol {symbol[:64]}")
