"""The real day is traded: recorded prices, a strategy of the tests' own, everything checked by an independent count.

`test_half_an_hour…` is part of `make test`. The whole session, which needs ../shared/data and about seven minutes:

TRADEMK1_WHOLE_DAY=1 .venv/bin/pytest tests/acceptance/replay -k whole_session
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.acceptance.replay.books import Holding, Recorded, holdings, read_tape
from tests.acceptance.replay.paper import Broker
from tests.acceptance.replay.strategy import Rules
from tests.acceptance.replay.trader import ENDS, Trader, all_events, settled
from tests.stack import ROOT, Stack, eventually

HALF_HOUR = ROOT / "tests" / "data" / "tape-half-hour.parquet"
WHOLE_DAY = ROOT.parent / "shared" / "data" / "tape-2013-10-07.parquet"
KEY = "mock-replay"
OPENING_CASH = Decimal(100_000)
SIZES = {"AIG": 60, "BAC": 200, "IBM": 20}
SMALLEST = Decimal("0.000001")
RAISED = (
    "update configs set value = '1000' where key = 'max_order_qty_stock'; "
    "update configs set value = '60000' where key = 'max_position_size_usd'"
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Replay:
    """What was there when the tape had ended and everything was settled."""

    tape: Recorded
    sent: Counter[str]
    log: list[dict[str, str]]
    orders: list[dict[str, Any]]
    details: dict[str, Any]
    events: list[dict[str, Any]]
    broker_orders: dict[str, dict[str, Any]]
    broker_positions: dict[str, dict[str, Any]]
    broker_account: dict[str, Any]
    positions: dict[str, dict[str, Any]]
    portfolio: dict[str, Any]

    def figures(self) -> str:
        """One paragraph for people."""
        statuses = Counter(order["status"] for order in self.orders)
        counts = {symbol: sum(line["symbol"] == symbol for line in self.log) for symbol in SIZES}
        partial = sum(line["leaves_qty"] != "0" for line in self.log)
        return (
            f"{self.sent.total()} signals {dict(self.sent)}, orders {dict(statuses)}, {len(self.log)} fills {counts} "
            f"({partial} partial), realised {self.portfolio['realized_pnl']}, "
            f"held { ({symbol: str(one['qty']) for symbol, one in self.positions.items()}) }"
        )


def replayed(folder: Path, tape: Path, speed: int, rules: Rules, look_every_s: float, at_most_s: float) -> Replay:
    """Trade a tape through a fresh stack, and read everything there is to know afterwards."""
    with Stack(
        folder / "data",
        ALPACA_API_KEY=KEY,
        ALPACA_REQUESTS_PER_MINUTE="0",
        PAPERBROKER_REQUESTS_PER_MINUTE="0",
        PAPERBROKER_TAPE=str(tape),
        PAPERBROKER_SPEED=str(speed),
        PAPERBROKER_REBASE="yes",
        PAPERBROKER_HOURS="all",
    ) as stack:
        stack.sql(RAISED)
        broker = Broker(stack.addresses["paperbroker_url"], KEY)
        trader = Trader(stack, broker, rules, look_every_s)
        trader.trade(at_most_s)
        trader.finish()
        trader.rest("IBM", Decimal(150))
        recorded = read_tape(tape)
        _valued_at(stack, recorded)
        orders = settled(stack)
        return Replay(
            tape=recorded,
            sent=trader.sent,
            log=broker.fills(),
            orders=orders,
            details={order["id"]: stack.order(order["id"]) for order in orders},
            events=all_events(stack),
            broker_orders={order["client_order_id"]: order for order in broker.orders()},
            broker_positions={position["symbol"]: position for position in broker.get("/v2/positions")},
            broker_account=broker.get("/v2/account"),
            positions={row["symbol"]: row for row in stack.get("/api/v1/trading/positions?include_closed=true")},
            portfolio=_figures_as_at_the_broker(stack, broker),
        )


def _valued_at(stack: Stack, recorded: Recorded) -> None:
    """Wait until every open position is valued at the tape's last price."""

    def valued() -> bool:
        positions = stack.get("/api/v1/trading/positions")
        prices = [(row["last_price"], recorded.valuation(row["symbol"])) for row in positions if row["symbol"] in SIZES]
        return all(priced == expected for priced, expected in prices)

    eventually(valued, 120, 0.5, "positions are not valued at the tape's last trade within bid and ask")


def _figures_as_at_the_broker(stack: Stack, broker: Broker) -> dict[str, Any]:
    """The portfolio, once the broker's account was read after the last fill."""

    def read() -> dict[str, Any] | None:
        account = broker.get("/v2/account")
        portfolio: dict[str, Any] = stack.get("/api/v1/trading/portfolio")
        same = (portfolio["cash"], portfolio["equity"]) == (Decimal(account["cash"]), Decimal(account["equity"]))
        return portfolio if same else None

    portfolio: dict[str, Any] = eventually(read, 120, 0.5, "cash and equity do not become the broker's")
    return portfolio


# --- what must hold ---------------------------------------------------------------------------------------------------


def every_order_has_an_end_or_is_open_at_the_broker(replay: Replay) -> None:
    assert len(replay.orders) == replay.sent.total()
    assert len({order["client_order_id"] for order in replay.orders}) == len(replay.orders)
    ours = {order["client_order_id"]: order for order in replay.orders}
    assert set(replay.broker_orders) <= set(ours), "the broker has orders that the OMS does not know"
    spelled = {"filled": "filled", "cancelled": "canceled", "expired": "expired", "rejected": "rejected"}
    for name, order in ours.items():
        theirs = replay.broker_orders.get(name)
        if order["status"] == "rejected" and theirs is None:
            assert order["error_code"], order
            assert order["error_message"], order
            continue
        assert theirs is not None, f"order {order['id']} is {order['status']} and unknown to the broker"
        if order["status"] in ENDS:
            assert theirs["status"] == spelled[order["status"]], (order, theirs)
        else:
            assert theirs["status"] in {"new", "partially_filled"}, (order, theirs)
        assert Decimal(theirs["filled_qty"]) == order["filled_qty"], (order, theirs)


def every_fill_is_the_bid_or_ask_that_the_log_names(replay: Replay) -> None:
    limits = {order["client_order_id"]: order["limit_price"] for order in replay.orders}
    for line in replay.log:
        bid, ask, price = Decimal(line["bid"]), Decimal(line["ask"]), Decimal(line["price"])
        assert price == (ask if line["side"] == "buy" else bid), line
        assert (bid, ask) in replay.tape.quoted[line["symbol"]], f"the tape has no such quote: {line}"
        limit = limits[line["client_order_id"]]
        if limit is not None:
            assert price <= limit if line["side"] == "buy" else price >= limit, line


def every_fill_of_the_log_is_booked_once_and_exactly(replay: Replay) -> None:
    booked = {
        fill["execution_id"]: {**fill, "order": detail}
        for detail in replay.details.values()
        for fill in detail["fills"]
    }
    assert sum(len(detail["fills"]) for detail in replay.details.values()) == len(replay.log)
    for line in replay.log:
        fill = booked[line["execution_id"]]
        order = fill["order"]
        assert (fill["qty"], fill["price"], fill["cum_qty"]) == tuple(
            Decimal(line[name]) for name in ("qty", "price", "cum_qty")
        ), line
        assert (order["symbol"], order["side"], order["alpaca_id"]) == (line["symbol"], line["side"], line["order_id"])
        assert _instant(fill["transacted_at"]) == _instant(line["time"]), line
        assert order["filled_qty"] == sum(one["qty"] for one in order["fills"])


def positions_equal_the_independent_count(replay: Replay) -> None:
    counted = holdings(replay.log)
    assert set(counted) == set(replay.positions) - {"BTC/USD"} == set(SIZES)
    assert all(holding.qty for holding in counted.values()), "nothing is held of a symbol: its valuation is not tested"
    for symbol, holding in counted.items():
        row = replay.positions[symbol]
        assert row["qty"] == holding.qty, (symbol, row, holding)
        assert row["avg_price"] == holding.avg_price, (symbol, row, holding)
        assert row["realized_pnl"] == holding.realized, (symbol, row, holding)
        assert row["fees"] == 0
        _valuation_equals(row, holding, replay.tape.valuation(symbol))
        theirs = replay.broker_positions.get(symbol)
        assert (Decimal(theirs["qty"]) if theirs else 0) == holding.qty, (symbol, theirs)
    adopted = replay.positions["BTC/USD"]
    assert (adopted["qty"], adopted["avg_price"]) == tuple(
        Decimal(replay.broker_positions["BTCUSD"][name]) for name in ("qty", "avg_entry_price")
    )


def _valuation_equals(row: Row, holding: Holding, price: Decimal) -> None:
    if holding.qty == 0:
        assert row["unrealized_pnl"] in {0, None}
        return
    assert row["last_price"] == price, row
    assert row["market_value"] == holding.qty * price, row
    assert row["unrealized_pnl"] == holding.unrealized(price), (row, holding)
    # The same profit without any average: what is held now less what was paid for all of it.
    assert abs(row["realized_pnl"] + row["unrealized_pnl"] - (holding.qty * price - holding.paid)) < SMALLEST


def totals_equal_the_independent_count(replay: Replay) -> None:
    counted = holdings(replay.log)
    portfolio = replay.portfolio
    assert portfolio["realized_pnl"] == sum(one.realized for one in counted.values())
    cash = OPENING_CASH - sum(one.paid for one in counted.values())
    assert portfolio["cash"] == cash == Decimal(replay.broker_account["cash"])
    coin = replay.broker_positions["BTCUSD"]  # no tape prices it: the broker keeps it at its entry
    stocks = sum(one.qty * replay.tape.valuation(symbol) for symbol, one in counted.items())
    equity = cash + stocks + Decimal(coin["qty"]) * Decimal(coin["avg_entry_price"])
    assert abs(portfolio["equity"] - equity) <= Decimal("0.005")  # the broker says it in cents
    assert portfolio["equity"] == Decimal(replay.broker_account["equity"])
    unrealized = sum(one.unrealized(replay.tape.valuation(symbol)) for symbol, one in counted.items())
    assert portfolio["unrealized_pnl"] == unrealized
    assert portfolio["total_pnl"] == portfolio["realized_pnl"] + unrealized
    assert portfolio["unpriced"] == ["BTC/USD"]


def events_rebuild_the_orders(replay: Replay) -> None:
    assert [event["seq"] for event in replay.events] == list(range(1, len(replay.events) + 1))
    trails: dict[str, list[dict[str, Any]]] = {}
    for event in replay.events:
        trails.setdefault(event["order_id"], []).append(event)
    assert set(trails) == {order["id"] for order in replay.orders}
    for order in replay.orders:
        trail = trails[order["id"]]
        fills = [event["data"] for event in trail if event["kind"] == "filled"]
        assert trail[0]["kind"] == "accepted", trail
        assert trail[-1]["status"] == order["status"], (order, trail)
        assert sum(_number(fill["qty"]) for fill in fills) == order["filled_qty"], (order, trail)
        if fills:
            value = sum(_number(fill["qty"]) * _number(fill["price"]) for fill in fills)
            assert abs(value / order["filled_qty"] - order["filled_price"]) < SMALLEST, (order, trail)
        _ends_once(trail)


def _ends_once(trail: Sequence[Row]) -> None:
    statuses = [event["status"] for event in trail]
    first_end = next((place for place, status in enumerate(statuses) if status in ENDS), len(statuses) - 1)
    assert set(statuses[first_end:]) == {statuses[first_end]}, trail


def check_everything(replay: Replay) -> None:
    """Each of the above."""
    every_order_has_an_end_or_is_open_at_the_broker(replay)
    every_fill_is_the_bid_or_ask_that_the_log_names(replay)
    every_fill_of_the_log_is_booked_once_and_exactly(replay)
    positions_equal_the_independent_count(replay)
    totals_equal_the_independent_count(replay)
    events_rebuild_the_orders(replay)


def _number(value: object) -> Decimal:
    return Decimal(str(value))


def _instant(text: str) -> datetime:
    """To the microsecond, which is what the database keeps; the broker says nanoseconds."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_half_an_hour_of_the_real_day_at_speed_20(tmp_path: Path) -> None:
    rules = Rules(SIZES, fast=3, slow=9, patience=5)
    replay = replayed(tmp_path, HALF_HOUR, 20, rules, look_every_s=0.3, at_most_s=150)
    print(replay.figures())
    check_everything(replay)
    filled = [order for order in replay.orders if order["filled_qty"] > 0]
    assert len(filled) >= 60, replay.figures()
    assert {order["side"] for order in filled} == {"buy", "sell"}
    assert {order["type"] for order in filled} == {"market", "limit"}
    assert {order["source"] for order in filled} == {"rest", "channel", "stream"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.environ.get("TRADEMK1_WHOLE_DAY") is None, reason="takes 7 minutes: set TRADEMK1_WHOLE_DAY=1")
@pytest.mark.skipif(not WHOLE_DAY.exists(), reason=f"{WHOLE_DAY} is not here")
def test_the_whole_session_at_speed_60(tmp_path: Path) -> None:
    tape = tmp_path / "session.parquet"
    _cut_session(tape)
    rules = Rules(SIZES, fast=8, slow=28, step=Decimal("0.05"), patience=10)
    replay = replayed(tmp_path, tape, 60, rules, look_every_s=0.5, at_most_s=480)
    print(replay.figures())
    check_everything(replay)
    assert sum(order["filled_qty"] > 0 for order in replay.orders) >= 250, replay.figures()


def _cut_session(tape: Path) -> None:
    """The regular session of the recorded day, all symbols of it."""
    table = pq.read_table(WHOLE_DAY)
    new_york = ZoneInfo("America/New_York")
    kind = table.schema.field("ts").type
    begin, end = (
        pa.scalar(datetime(2013, 10, 7, hour, minute, tzinfo=new_york), kind) for hour, minute in ((9, 30), (16, 0))
    )
    within = pc.and_(pc.greater_equal(table["ts"], begin), pc.less(table["ts"], end))
    pq.write_table(table.filter(within).unify_dictionaries(), tape)
