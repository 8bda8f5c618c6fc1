"""Historical quotes, trades and bars of stocks and coins, page by page, and the latest bars.

A page has at most `limit` entries of all symbols together, sorted by symbol and then by time, and less where finding
them takes long; `next_page_token` tells where it goes on.
"""

import asyncio
import base64
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from starlette.datastructures import QueryParams

from paperbroker.api.endpoint import Call, Reply, Routes
from paperbroker.api.parameters import instant, one_of, whole_number, words
from paperbroker.api.quotes import COIN_PATHS, asked_asset, asked_assets, check_feed, no_data
from paperbroker.api.quotes_json import bar_fields, quote_fields, trade_fields
from paperbroker.assets import Assets
from paperbroker.clock import Clock
from paperbroker.errors import Refusal
from paperbroker.prices.history import Found, History, Kind
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Bar, Quote, Trade
from paperbroker.prices.timeframes import MINUTE, Timeframe, parse_timeframe

DEFAULT_LIMIT, MOST = 1000, 10_000
ADJUSTMENTS = frozenset({"raw", "split", "dividend", "spin-off", "all"})
_OFFSET = re.compile(r"([Zz]|[+ -]\d\d:?\d\d)$", re.ASCII)
PAGE_SECONDS = 2.0  # of searching; then a page ends
What = Kind | Literal["bars"]
_LATEST_NS = 60 * MINUTE


@dataclass(frozen=True, slots=True)
class Token:
    """Where a page goes on: at this symbol and instant, after so many entries of the same instant."""

    symbol: str
    ns: int
    skip: int

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.symbol}|{self.ns}|{self.skip}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Question:
    """A range of the past. Raises nothing: it has been checked."""

    what: What
    symbols: list[str]
    start_ns: int
    end_ns: int
    limit: int
    descending: bool
    timeframe: Timeframe | None
    token: Token | None
    present_ns: int


class HistoryPages:
    """The handlers of the past. What they search for they search for in a thread of its own."""

    def __init__(self, assets: Assets, clock: Clock, prices: Prices, history: History) -> None:
        self._assets = assets
        self._clock = clock
        self._prices = prices
        self._history = history
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")

    def routes(self) -> Routes:
        routes: Routes = [
            ("/v2/stocks/bars/latest", "GET", self._latest_bars(crypto=False)),
            ("/v2/stocks/{symbol}/bars/latest", "GET", self.latest_bar),
            *((f"{coins}/latest/bars", "GET", self._latest_bars(crypto=True)) for coins in COIN_PATHS),
        ]
        kinds: tuple[What, ...] = ("bars", "quotes", "trades")
        for what in kinds:
            routes.append((f"/v2/stocks/{what}", "GET", self._many(what, crypto=False)))
            routes.append((f"/v2/stocks/{{symbol}}/{what}", "GET", self._single(what)))
            routes += [(f"{coins}/{what}", "GET", self._many(what, crypto=True)) for coins in COIN_PATHS]
        return routes

    def _many(self, what: What, *, crypto: bool) -> Callable[[Call], Awaitable[Reply]]:
        async def handler(call: Call) -> Reply:
            symbols = sorted({asset.symbol for asset in asked_assets(self._assets, call, crypto=crypto)})
            found, token = await self._ask(_question(call, what, symbols, self._clock.peek()))
            return Reply({what: found, "next_page_token": token})

        return handler

    def _single(self, what: What) -> Callable[[Call], Awaitable[Reply]]:
        async def handler(call: Call) -> Reply:
            symbol = self._stock(call)
            found, token = await self._ask(_question(call, what, [symbol], self._clock.peek()))
            return Reply({what: found.get(symbol, []), "symbol": symbol, "next_page_token": token})

        return handler

    def _latest_bars(self, *, crypto: bool) -> Callable[[Call], Awaitable[Reply]]:
        async def handler(call: Call) -> Reply:
            symbols = [asset.symbol for asset in asked_assets(self._assets, call, crypto=crypto)]
            bars = await self.last_minutes(symbols)
            return Reply({"bars": {symbol: bar_fields(bar) for symbol, bar in bars.items()}})

        return handler

    async def latest_bar(self, call: Call) -> Reply:
        symbol = self._stock(call)
        bar = (await self.last_minutes([symbol])).get(symbol)
        if bar is None:
            raise no_data(symbol)
        return Reply({"symbol": symbol, "bar": bar_fields(bar)})

    async def last_days(self, symbols: list[str]) -> dict[str, list[Bar]]:
        """The bar of the day that is running and of the one before, of each symbol."""
        now = self._clock.peek()
        days = {symbol: Timeframe(1, "Day").of(symbol) for symbol in symbols}

        def search() -> dict[str, list[Bar]]:
            found = {
                symbol: self._history.bars(symbol, day, day.before(now), now, present_ns=now, descending=True)
                for symbol, day in days.items()
            }
            return {symbol: [bar for _, bar in bars if isinstance(bar, Bar)] for symbol, bars in found.items()}

        return await asyncio.get_running_loop().run_in_executor(self._thread, search)

    async def last_minutes(self, symbols: list[str]) -> dict[str, Bar]:
        """The last minute bar that is complete; else the one that is running."""
        now = self._clock.peek()

        def search() -> dict[str, Bar]:
            minute = Timeframe(1, "Min")
            bars: dict[str, Bar] = {}
            for symbol in symbols:
                found = self._history.bars(symbol, minute, now - _LATEST_NS, now, present_ns=now, descending=True)
                bar = next((bar for _, bar in found if isinstance(bar, Bar)), None) or self._prices.minute_bars.get(
                    symbol
                )
                if bar is not None:
                    bars[symbol] = bar
            return bars

        return await asyncio.get_running_loop().run_in_executor(self._thread, search)

    async def _ask(self, question: Question) -> tuple[dict[str, list[dict[str, object]]], str | None]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._page, question)

    def _page(self, question: Question) -> tuple[dict[str, list[dict[str, object]]], str | None]:
        deadline = time.monotonic() + PAGE_SECONDS
        found: dict[str, list[dict[str, object]]] = {}
        left = question.limit
        token = question.token
        for symbol in question.symbols:
            if question.token and symbol < question.token.symbol:
                continue
            if token is None or token.symbol != symbol:
                token = Token(symbol, question.end_ns if question.descending else question.start_ns, 0)
            to_skip, asked = token.skip, time.monotonic()
            for number, (ns, thing) in enumerate(self._search(question, token)):
                now = time.monotonic()
                if number == 0:
                    deadline += now - asked  # a tape may have been read for it
                if thing is not None and to_skip and ns == token.ns:
                    to_skip -= 1
                    continue
                if left == 0:
                    return found, str(token)
                if thing is None:
                    token = _moved(token, ns, question)
                    if now > deadline and number:  # never where the page began
                        return found, str(token)
                    continue
                if now > deadline and found:
                    return found, str(token)
                found.setdefault(symbol, []).append(_fields(thing))
                token = Token(symbol, ns, token.skip + 1 if token.ns == ns else 1)
                to_skip = 0
                left -= 1
        return found, None

    def _search(self, question: Question, token: Token) -> Iterator[Found]:
        descending = question.descending
        start = question.start_ns if descending else token.ns
        end = token.ns if descending else question.end_ns
        if question.timeframe is not None:
            return self._history.bars(
                token.symbol,
                question.timeframe.of(token.symbol),
                start,
                end,
                present_ns=question.present_ns,
                descending=descending,
            )
        kind: Kind = "quotes" if question.what == "quotes" else "trades"
        return self._history.events(token.symbol, kind, start, end, descending=descending)

    def _stock(self, call: Call) -> str:
        """The symbol in the path, known or not. Raises 400 for what cannot be one."""
        check_feed(call)
        given = call.path["symbol"]
        asset = asked_asset(self._assets, given, crypto=False)
        return asset.symbol if asset else given


def _question(call: Call, what: What, symbols: list[str], now: int) -> Question:
    """Read the parameters. Raises 400."""
    query = call.query
    try:
        start, end = _time(query, "start"), _time(query, "end")
        limit = _limit(query)
        descending = one_of(query, "sort", ("asc", "desc"), "asc") == "desc"
    except Refusal as refusal:
        raise Refusal(400, None, refusal.message) from None
    if end is not None and len(query["end"].strip()) == 10:
        end += 24 * 60 * MINUTE - 1  # a day is meant as a whole
    if start is None:
        start = Timeframe(1, "Day", utc="/" in symbols[0] if symbols else False).start_of(now)
    if end is not None and end < start:
        raise Refusal(400, None, "end should not be before start")
    timeframe = _timeframe(call) if what == "bars" else None
    if unknown := set(words(query, "adjustment")) - ADJUSTMENTS:  # nothing is ever split, so all look the same
        raise Refusal(400, None, f"invalid adjustment: {min(unknown)[:64]}")
    token = _token(query.get("page_token", ""), symbols)
    end = now if end is None else min(end, now)
    return Question(what, symbols, start, end, limit, descending, timeframe, token, now)


def _limit(query: QueryParams) -> int:
    if (given := query.get("limit", "")).isdecimal() and int(given[:9]) > MOST:
        raise Refusal(400, None, f"invalid limit: larger than the allowed maximum of {MOST}")
    return whole_number(query, "limit", DEFAULT_LIMIT, MOST)


def _time(query: QueryParams, name: str) -> int | None:
    """A date, or a time with its offset, without which the prices' side of Alpaca refuses it."""
    given, reason = query.get(name, "").strip(), "a time needs its offset"
    try:
        if len(given) <= len("2026-11-23") or _OFFSET.search(given):
            return instant(query, name)
    except Refusal as refusal:
        reason = refusal.message
    text = f"Invalid format for parameter {name}: error parsing '{given[:64]}' as RFC3339 or 2006-01-02 time"
    raise Refusal(400, None, f"{text}: {reason}")


def _timeframe(call: Call) -> Timeframe:
    given = call.query.get("timeframe", "")
    if not given:
        raise Refusal(400, None, "Invalid format for parameter timeframe: query parameter 'timeframe' is required")
    try:
        return parse_timeframe(given)
    except ValueError as error:
        raise Refusal(400, None, str(error)) from None


def _token(given: str, symbols: list[str]) -> Token | None:
    if not given:
        return None
    try:
        symbol, ns, skip = base64.urlsafe_b64decode(given.encode()).decode().split("|")
        token = Token(symbol, int(ns), int(skip))
    except ValueError:
        raise Refusal(400, None, "invalid page_token") from None
    if symbol not in symbols:
        raise Refusal(400, None, "invalid page_token")
    return token


def _moved(token: Token, ns: int, question: Question) -> Token:
    """The token after a search without a find. It never goes back behind an entry that has been told."""
    ahead = ns < token.ns if question.descending else ns > token.ns
    return Token(token.symbol, ns, 0) if ahead else token


def _fields(thing: Quote | Trade | Bar) -> dict[str, object]:
    if isinstance(thing, Quote):
        return quote_fields(thing)
    return trade_fields(thing) if isinstance(thing, Trade) else bar_fields(thing)
