"""A thousand signals at once: each becomes one order, nothing is lost, doubled or miscounted; also when the engine is
killed in the middle."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from tests.acceptance.replay.paper import Broker
from tests.stack import Stack

KEY = "mock-load"
SIGNALS = 1000
CONNECTIONS = 50
# One side for each symbol, so that no order of ours can meet another.
BUYS = ("AAPL", "AIG", "AMD", "BAC", "DIS", "F", "INTC", "KO", "NVDA", "PFE")
SELLS = ("GE", "IWM", "JNJ", "JPM", "MSFT", "PEP", "PLTR", "WMT", "XOM")
COIN = "BTC/USD"
TOO_MANY = 15  # above the largest quantity of an order: refused
NOT_HELD = 15  # coins that nobody has: refused
ENDS = {"filled", "rejected", "cancelled", "expired"}
KILL_SOON = 150  # early enough that nothing is stale yet, on a busy machine too
LIMITS = {"max_order_qty_stock": "1000", "max_position_size_usd": "1000000"}

Row = dict[str, Any]


def thousand_signals() -> list[Row]:
    """The bodies, the refusable ones spread among the others."""
    sides = [*((symbol, "buy") for symbol in (*BUYS, COIN)), *((symbol, "sell") for symbol in SELLS)]
    signals: list[Row] = []
    for number in range(SIGNALS - TOO_MANY - NOT_HELD):
        symbol, side = sides[number % len(sides)]
        signals.append({"symbol": symbol, "side": side, "qty": 0.001 if symbol == COIN else 1})
    for number in range(TOO_MANY):
        signals.insert(number * 60, {"symbol": "AAPL", "side": "buy", "qty": 1001})
    for number in range(NOT_HELD):
        signals.insert(number * 60 + 30, {"symbol": "ETH/USD", "side": "sell", "qty": 1})
    return [{**body, "reason": "load", "signal_id": f"load-{number}"} for number, body in enumerate(signals)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Everything, without request budgets, with the limits raised as the guide does it."""
    with Stack(
        tmp_path / "data",
        ALPACA_API_KEY=KEY,
        ALPACA_REQUESTS_PER_MINUTE="0",
        PAPERBROKER_REQUESTS_PER_MINUTE="0",
    ) as stack:
        for key, value in LIMITS.items():
            set_limit(stack, key, value)
        yield stack


def set_limit(stack: Stack, key: str, value: str) -> None:
    stack.sql(f"UPDATE configs SET value = '{value}' WHERE key = '{key}'")


async def send_all(stack: Stack, signals: list[Row]) -> list[Row]:
    """POST all of them over 50 connections; the answers, each 202."""
    answers: list[Row] = []
    left = iter(signals)

    async def connection(session: aiohttp.ClientSession) -> None:
        for body in left:
            async with session.post(f"{stack.url}/api/v1/trading/signal", json=body) as answer:
                assert answer.status == 202, await answer.text()
                answers.append(await answer.json())

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        await asyncio.gather(*(connection(session) for _ in range(CONNECTIONS)))
    return answers


async def how_many(database: asyncpg.Connection, condition: str) -> int:
    count: int = await database.fetchval(f"select count(*) from orders where {condition}")
    return count


async def until(
    count: Callable[[], Awaitable[int]], wanted: int, within_s: float, *, at_least: bool = False, every_s: float = 0.01
) -> None:
    """Ask until the count is there. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            found = await count()
            if found == wanted or (at_least and found > wanted):
                return
            await asyncio.sleep(every_s)


async def until_all_ended(database: asyncpg.Connection, within_s: float) -> None:
    """Fails with what is still open."""
    ended = f"status in ({', '.join(repr(end) for end in ENDS)})"
    try:
        await until(lambda: how_many(database, f"not {ended}"), 0, within_s, every_s=0.2)
    except TimeoutError:
        rows = await database.fetch(
            "select status, outcome_unknown, attempted_at is not null as attempted, alpaca_id is not null as bound, "
            "count(*) from orders group by 1, 2, 3, 4"
        )
        pytest.fail(f"not every order ended within {within_s} s: {[dict(row) for row in rows]}")


class Outcome:
    """What the database and the broker say, read when everything is over."""

    def __init__(self, orders: list[Row], fills: list[Row], positions: list[Row], adjustments: list[Row]) -> None:
        self.orders = orders
        self.fills = fills
        self.positions = positions
        self.adjustments = adjustments
        self.statuses = Counter(order["status"] for order in orders)
        self.codes = Counter(order["error_code"] for order in orders if order["status"] != "filled")

    @classmethod
    async def read(cls, database: asyncpg.Connection) -> Outcome:
        tables = ("orders", "fills", "positions", "adjustments")
        return cls(*[[dict(row) for row in await database.fetch(f"select * from {table}")] for table in tables])


def nothing_is_lost_or_doubled(outcome: Outcome, broker: Broker, answers: list[Row]) -> None:
    """One order for each signal here, and one at the broker for each that was not refused, the same on both sides."""
    assert len(answers) == len(outcome.orders) == SIGNALS
    assert {answer["id"] for answer in answers} == {str(order["id"]) for order in outcome.orders}
    assert {order["signal_id"] for order in outcome.orders} == {f"load-{number}" for number in range(SIGNALS)}
    assert len({order["client_order_id"] for order in outcome.orders}) == SIGNALS
    theirs = broker.orders()
    by_name = {order["client_order_id"]: order for order in theirs}
    assert len(by_name) == len(theirs), "the broker has two orders with one client_order_id"
    at_broker = {order["client_order_id"]: order for order in outcome.orders if order["alpaca_id"] is not None}
    assert set(at_broker) == set(by_name)
    spelled = {"filled": "filled", "cancelled": "canceled", "expired": "expired", "rejected": "rejected"}
    for name, order in at_broker.items():
        other = by_name[name]
        assert (order["alpaca_id"], spelled[order["status"]]) == (other["id"], other["status"])
        assert order["filled_qty"] == Decimal(other["filled_qty"])
        assert (order["symbol"], order["side"], order["qty"]) == (
            other["symbol"],
            other["side"],
            Decimal(other["qty"]),
        )


def orders_are_the_sum_of_their_fills(outcome: Outcome, broker: Broker) -> None:
    """Each order's quantity and value from its fills; each fill is one of the broker's log."""
    # What was caught up comes from the activities, which have other ids: the cumulative quantity tells fills apart.
    log = {(line["order_id"], Decimal(line["cum_qty"])): line for line in broker.fills()}
    assert {(fill["broker_order_id"], fill["cum_qty"]) for fill in outcome.fills} == set(log)
    assert len(outcome.fills) == len(log)
    for fill in outcome.fills:
        line = log[fill["broker_order_id"], fill["cum_qty"]]
        assert (fill["qty"], fill["price"]) == (Decimal(line["qty"]), Decimal(line["price"]))
        assert fill["execution_id"] in {line["execution_id"], None}
    for order in outcome.orders:
        fills = [fill for fill in outcome.fills if fill["order_id"] == order["id"]]
        assert order["filled_qty"] == sum(fill["qty"] for fill in fills), order
        assert order["filled_value"] == sum(fill["qty"] * fill["price"] for fill in fills), order
        if order["status"] == "filled":
            assert order["filled_qty"] == order["qty"], order
        if order["status"] == "rejected":
            assert order["filled_qty"] == 0, order


def positions_are_fills_and_adjustments_and_the_brokers(outcome: Outcome, broker: Broker) -> None:
    """Quantities by three counts."""
    counted: dict[str, Decimal] = {}
    for fill in outcome.fills:
        signed = fill["qty"] if fill["side"] == "buy" else -fill["qty"]
        counted[fill["symbol"]] = counted.get(fill["symbol"], Decimal(0)) + signed
    for adjustment in outcome.adjustments:
        counted[adjustment["symbol"]] = counted.get(adjustment["symbol"], Decimal(0)) + adjustment["qty"]
    ours = {position["symbol"]: position["qty"] for position in outcome.positions}
    assert ours == counted
    theirs = {row["symbol"]: Decimal(row["qty"]) for row in broker.get("/v2/positions")}
    assert {symbol.replace("/", ""): qty for symbol, qty in ours.items() if qty} == theirs
    fees = [one for one in outcome.adjustments if one["kind"] == "fee"]
    assert len(fees) == sum(fill["symbol"] == COIN for fill in outcome.fills), "a fee for each fill of a coin"


def check_everything(outcome: Outcome, broker: Broker, answers: list[Row]) -> None:
    """Each of the above, and a reason for whatever was not filled."""
    nothing_is_lost_or_doubled(outcome, broker, answers)
    orders_are_the_sum_of_their_fills(outcome, broker)
    positions_are_fills_and_adjustments_and_the_brokers(outcome, broker)
    for order in outcome.orders:
        if order["status"] != "filled":
            assert order["error_code"], order
            assert order["error_message"], order


def refused_by_the_limits(outcome: Outcome) -> None:
    assert outcome.codes["MAX_ORDER_QTY"] == TOO_MANY, outcome.codes
    assert outcome.codes["INSUFFICIENT_HOLDING"] == NOT_HELD, outcome.codes


async def test_a_thousand_signals_at_once(stack: Stack) -> None:
    database = await asyncpg.connect(stack.addresses["database_url"])
    broker = Broker(stack.addresses["paperbroker_url"], KEY)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    answers = await send_all(stack, thousand_signals())
    accepted_s = loop.time() - begun
    await until_all_ended(database, 240)
    print(f"\n{SIGNALS} accepted after {accepted_s:.2f} s, ended after {loop.time() - begun:.2f} s")
    outcome = await Outcome.read(database)
    await database.close()
    print(dict(outcome.statuses), dict(outcome.codes))
    check_everything(outcome, broker, answers)
    refused_by_the_limits(outcome)
    assert outcome.statuses["filled"] >= 900
    assert set(outcome.codes) <= {"MAX_ORDER_QTY", "INSUFFICIENT_HOLDING"}


async def killed_in_the_middle(
    stack: Stack, signals: list[Row], within_s: float, *, kill_after: int
) -> tuple[Outcome, list[Row]]:
    """Send all, kill -9 the engine once so many are filled, wait until every order has ended."""
    database = await asyncpg.connect(stack.addresses["database_url"])
    sending = asyncio.create_task(send_all(stack, signals))
    await until(lambda: how_many(database, "status = 'filled'"), kill_after, 120, at_least=True)
    stack.kill_child("oms.cli", "engine")
    killed_at = asyncio.get_running_loop().time()
    filled = await how_many(database, "status = 'filled'")
    open_then = await how_many(database, "status not in ('filled', 'rejected')")
    in_flight = await how_many(database, "status = 'pending' and attempted_at is not null")
    print(f"\nkilled with {filled} filled, {open_then} not ended, {in_flight} of them sent and not answered")
    assert open_then > 0, "the engine was killed too late to test anything"
    answers = await sending
    await until_all_ended(database, within_s)
    print(f"all ended {asyncio.get_running_loop().time() - killed_at:.1f} s after the kill")
    outcome = await Outcome.read(database)
    await database.close()
    print(dict(outcome.statuses), dict(outcome.codes))
    return outcome, answers


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_killed_engine_loses_and_doubles_nothing(stack: Stack) -> None:
    set_limit(stack, "max_signal_age_s", "300")
    broker = Broker(stack.addresses["paperbroker_url"], KEY)
    outcome, answers = await killed_in_the_middle(stack, thousand_signals(), 240, kill_after=300)
    check_everything(outcome, broker, answers)
    refused_by_the_limits(outcome)
    assert outcome.statuses["filled"] >= 900
    assert set(outcome.codes) <= {"MAX_ORDER_QTY", "INSUFFICIENT_HOLDING"}


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_signals_that_grew_stale_while_the_engine_was_dead_are_refused_and_never_sent(stack: Stack) -> None:
    """Their `valid_for_s` is shorter than the engine's absence. One whose sending had begun when the engine died, and
    that the broker does not have, is proven absent (after a minute) rather than sent late."""
    broker = Broker(stack.addresses["paperbroker_url"], KEY)
    signals = [{**body, "valid_for_s": 3} for body in thousand_signals()]
    outcome, answers = await killed_in_the_middle(stack, signals, 240, kill_after=KILL_SOON)
    check_everything(outcome, broker, answers)
    assert set(outcome.codes) <= {"MAX_ORDER_QTY", "INSUFFICIENT_HOLDING", "SIGNAL_STALE", "PROVEN_ABSENT"}
    assert outcome.codes["SIGNAL_STALE"] > 0
    assert outcome.statuses["filled"] >= KILL_SOON
    for order in outcome.orders:
        if order["error_code"] in {"SIGNAL_STALE", "PROVEN_ABSENT"}:
            assert order["alpaca_id"] is None, order
