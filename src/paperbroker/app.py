"""The one function that wires everything, and the application that comes out of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

from starlette.applications import Starlette
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp

from paperbroker.api.activities import Activities
from paperbroker.api.closing import Closing
from paperbroker.api.control import Control
from paperbroker.api.data_stream import DataStream
from paperbroker.api.endpoint import EXCEPTION_HANDLERS, FrontDoor, Gate
from paperbroker.api.events import Events
from paperbroker.api.history import HistoryPages
from paperbroker.api.limits import Limits
from paperbroker.api.markets import Markets
from paperbroker.api.orders import Orders
from paperbroker.api.portfolio import Portfolio
from paperbroker.api.quotes import COIN_PATHS, Quotes
from paperbroker.api.recorder import Recorder
from paperbroker.api.snapshots import Snapshots
from paperbroker.api.trade_stream import TradeStream
from paperbroker.api.trading import Trading
from paperbroker.api.watchlists import WatchlistPages
from paperbroker.assets import Assets
from paperbroker.calendar import FIRST_YEAR, LAST_YEAR
from paperbroker.clock import Clock
from paperbroker.core import Core, build_core
from paperbroker.equity import EquityPoints
from paperbroker.prices.feed import Feed, PushedFeed, TapeFeed, WalkFeed
from paperbroker.prices.hand_history import HandHistory
from paperbroker.prices.history import History, NoHistory
from paperbroker.prices.market import Prices
from paperbroker.prices.minutes import end_minutes
from paperbroker.prices.shift import Shift
from paperbroker.prices.tape import Tape
from paperbroker.prices.tape_history import TapeHistory
from paperbroker.prices.walk_history import WalkHistory
from paperbroker.settings import BadSettings, Settings
from paperbroker.store import Store
from paperbroker.timestamps import new_york_date
from paperbroker.trade_events import TradeEvents
from paperbroker.watchlists import Watchlists

STOCK_STREAMS = ("iex", "sip", "delayed_sip", "boats", "overnight", "otc", "test")

_log = logging.getLogger(__name__)


def build(settings: Settings, on_failure: Callable[[], None]) -> ASGIApp:
    """Open the store and the tape and put the parts together; `on_failure` is called when the broker cannot go on.

    Call it inside the event loop that will serve. Raises BadSettings, sqlite3.Error, OSError, TapeError.
    """
    assets, prices = Assets(), Prices()
    clock, feed, history = _time_and_prices(settings, assets, prices)
    core = build_core(
        settings.data,
        clock=clock,
        timers=asyncio.get_running_loop(),
        assets=assets,
        prices=prices,
        hours=settings.hours,
        seed=settings.seed,
        fills=settings.fills,
        opening=_opening(settings, assets),
    )
    store, ledger, desk = core.store, core.ledger, core.desk
    store.on_failure = lambda _: on_failure()
    equity = EquityPoints(clock, prices, ledger, store)
    trade_events = TradeEvents(ledger, store)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        feed.start()
        core.start()
        task = asyncio.create_task(feed.run())
        task.add_done_callback(lambda ended: _feed_ended(ended, on_failure))
        measuring = asyncio.create_task(equity.run())
        minutes = asyncio.create_task(end_minutes(clock, prices))
        yield
        minutes.cancel()
        measuring.cancel()
        task.cancel()
        await store.close()

    gate = Gate(ledger, store, core.faults)
    limits = Limits(settings.requests_per_minute)
    more = (
        Closing(desk, assets),
        Events(trade_events, clock),
        Markets(clock),
        Portfolio(equity, clock, settings.hours, prices),
        WatchlistPages(Watchlists(store, clock), assets),
    )
    past = HistoryPages(assets, clock, prices, HandHistory(history, prices))
    days = None if settings.tape else past  # a tape would have to be read as a whole
    routes = [
        *_trading_routes(
            gate,
            limits,
            Trading(assets, prices, clock, settings.hours, store),
            Orders(desk, core.replacing, assets, store),
            store,
        ),
        *(route for pages in more for route in gate.routes(pages.routes(), limits)),
        *_data_routes(
            gate,
            settings,
            Quotes(assets, prices),
            past,
            Snapshots(assets, prices, days),
        ),
        *_streams(core, gate, settings, days),
    ]
    app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS, lifespan=lifespan)
    app.router.redirect_slashes = False
    door = FrontDoor(app)
    return door if settings.record is None else Recorder(door, settings.record)


def _time_and_prices(settings: Settings, assets: Assets, prices: Prices) -> tuple[Clock, Feed, History]:
    """With a tape the clock is the tape's, unless its events are given the wall's time."""
    if settings.tape is None:
        clock = Clock(settings.start_ns)
        _check_calendar(settings, clock.peek())
        if settings.prices == "pushed":
            return clock, PushedFeed(), NoHistory()
        return clock, WalkFeed(settings.seed, prices, clock), WalkHistory(settings.seed)
    tape = Tape(settings.tape)
    start_ns = tape.first_ns if settings.start_ns is None else settings.start_ns
    _check_calendar(settings, start_ns)
    tape.seek(start_ns)
    clock = Clock(start_ns, settings.speed)
    if not settings.rebase:
        return clock, TapeFeed(tape, clock, prices, assets, None), TapeHistory(settings.tape)
    wall = Clock()
    shift = Shift(start_ns, wall.peek(), settings.speed)
    return wall, TapeFeed(tape, clock, prices, assets, shift), TapeHistory(settings.tape, shift)


def _opening(settings: Settings, assets: Assets) -> dict[str, Decimal]:
    """What a fresh account holds, by the symbol under which it is kept."""
    opening: dict[str, Decimal] = {}
    for symbol, qty in settings.positions.items():
        asset = assets.find(symbol)
        if asset is None:
            raise BadSettings(f"--positions: there is no asset {symbol[:40]!r}")
        if asset.crypto and qty < 0:
            raise BadSettings(f"--positions: coins cannot be held short, as {symbol} is")
        opening[asset.holding] = qty
    return opening


def _check_calendar(settings: Settings, ns: int) -> None:
    year = new_york_date(ns).year
    if settings.hours == "nyse" and not FIRST_YEAR <= year < LAST_YEAR:
        raise BadSettings(f"--hours nyse knows the years {FIRST_YEAR} to {LAST_YEAR - 1}, not {year}: use --hours all")


def _feed_ended(task: asyncio.Task[None], on_failure: Callable[[], None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.critical("the prices stopped; stopping, because orders would wait for ever", exc_info=error)
        on_failure()


def _trading_routes(gate: Gate, limits: Limits, trading: Trading, orders: Orders, store: Store) -> list[BaseRoute]:
    activities = Activities(store)
    return [
        gate.route(path, method, handler, limits)
        for path, method, handler in (
            # the first ones are found fastest
            ("/v2/orders", "POST", orders.submit),
            ("/v2/orders", "GET", orders.listed),
            ("/v2/orders", "DELETE", orders.cancel_all),
            ("/v2/orders:by_client_order_id", "GET", orders.by_client_order_id),
            ("/v2/orders/{id}", "GET", orders.get),
            ("/v2/orders/{id}", "PATCH", orders.replace),
            ("/v2/orders/{id}", "DELETE", orders.cancel),
            ("/v2/account", "GET", trading.account),
            ("/v2/account/configurations", "GET", trading.configurations),
            ("/v2/account/configurations", "PATCH", trading.change_configurations),
            ("/v2/account/activities", "GET", activities.listed),
            ("/v2/account/activities/{type}", "GET", activities.listed_of_type),
            ("/v2/clock", "GET", trading.clock),
            ("/v2/calendar", "GET", trading.calendar),
            ("/v2/assets", "GET", trading.assets),
            ("/v2/assets/{symbol:path}", "GET", trading.asset),
            ("/v2/positions", "GET", trading.positions),
            ("/v2/positions/{symbol:path}", "GET", trading.position),
        )
    ]


def _data_routes(gate: Gate, settings: Settings, *pages: Quotes | HistoryPages | Snapshots) -> list[BaseRoute]:
    limits = Limits(settings.requests_per_minute)
    return [route for some in pages for route in gate.routes(some.routes(), limits)]


def _streams(core: Core, gate: Gate, settings: Settings, days: HistoryPages | None) -> list[BaseRoute]:
    """The streams, and the control API, which can cut them."""
    trade_stream = TradeStream(core.ledger, core.faults)
    data = {
        path: DataStream(
            core.prices,
            core.faults,
            None if days is None else days.last_days,
            coins=coins,
            most_symbols=settings.stream_symbols,
        )
        for path, coins in (*((f"/v2/{feed}", False) for feed in STOCK_STREAMS), *((p, True) for p in COIN_PATHS))
    }
    return [
        WebSocketRoute("/stream", trade_stream.serve),
        WebSocketRoute("/stream/", trade_stream.serve),
        *(WebSocketRoute(path, stream.serve) for path, stream in data.items()),
        *Control(core, gate, trade_stream, list(data.values())).routes(),
    ]
