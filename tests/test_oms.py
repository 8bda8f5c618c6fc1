"""The user's guide, line by line and in its order, against real processes: `oms up` with the paper broker.

Each section of the guide (docs/guide.md) is a heading here, each command is pasted as it is written there, and each
claim is a test named after what holds. What happens when things are killed is in tests/acceptance/guide.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
import redis

from paperbroker.testing import Control
from tests.acceptance.guide.shell import paste
from tests.stack import Stack, ask, eventually

UNLIMITED = {"ALPACA_REQUESTS_PER_MINUTE": "0", "PAPERBROKER_REQUESTS_PER_MINUTE": "0"}
LIMITS = {"max_position_size_usd": "10000", "max_order_qty_crypto": "1.0", "max_order_qty_stock": "100"}

Rejected = Callable[..., Any]


@pytest.fixture(scope="module")
def oms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`oms up` on the paper broker, for everything that can share it."""
    with Stack(
        tmp_path_factory.mktemp("guide") / "data", ALPACA_API_KEY="mock", PAPERBROKER_SEED="7", **UNLIMITED
    ) as stack:
        yield stack


@pytest.fixture
def limits(oms: Stack) -> Iterator[Callable[..., None]]:
    """Set limits by SQL: `limits(max_order_qty_stock="500")`. The guide's defaults come back after the test."""

    def update(**values: str) -> None:
        oms.sql("; ".join(f"UPDATE configs SET value = '{value}' WHERE key = '{key}'" for key, value in values.items()))

    yield update
    update(**LIMITS)


@pytest.fixture
def bus(oms: Stack) -> Iterator[redis.Redis]:
    """The stack's Redis, as any program reaches it."""
    with redis.Redis.from_url(oms.addresses["redis_url"], decode_responses=True) as client:
        yield client


@pytest.fixture
def rejected(oms: Stack) -> Rejected:
    """Send a signal that must be rejected; its order as the guide's list of rejected orders shows it."""

    def send(**terms: object) -> Any:
        order = oms.traded(**terms)
        assert order["status"] == "rejected", order
        return next(one for one in paste(oms, REJECTED_ORDERS) if one["id"] == order["id"])

    return send


def new_order(stack: Stack, **wanted: object) -> Any:
    """The newest order with these values, once it has ended."""

    def find() -> Any:
        for order in stack.get("/api/v1/trading/orders"):
            if all(order[name] == value for name, value in wanted.items()) and order["ended_at"]:
                return order
        return None

    return eventually(find, why=f"no order with {wanted} ended")


def price(stack: Stack, symbol: str) -> Decimal:
    """About what a share costs now, from the paper broker's own quotes."""
    headers = {"APCA-API-KEY-ID": "mock", "APCA-API-SECRET-KEY": "x"}
    url = f"{stack.addresses['paperbroker_url']}/v2/stocks/{symbol}/quotes/latest"
    found: Decimal = ask("GET", url, headers=headers).json["quote"]["ap"]
    return Decimal(found)


# --- Starting the OMS -------------------------------------------------------------------------------------------------


def test_the_log_confirms_that_the_engine_started(oms: Stack) -> None:
    """Starting the OMS: *Watch logs to confirm OMS startup: `app_1 | OMS execution engine started`.*"""
    eventually(lambda: "OMS execution engine started" in oms.logged())
    eventually(lambda: "OMS execution engine started" in (oms.data / "logs" / "engine.log").read_text())


def test_the_banner_says_who_trades_where_and_what_to_try(oms: Stack) -> None:
    """Starting the OMS: the order that it prints fills as it is, at any time of day and week."""
    text = eventually(lambda: "Ctrl-C stops everything" in oms.logged() and oms.logged())
    for part in ("paper broker at", "mock account", "Equity", oms.url, "(console)", "db shell", " signals"):
        assert part in text
    command = re.search(r"(curl -X POST .*?\}')\n", text, re.DOTALL)
    assert command is not None, text
    assert "'" + oms.url in command.group(1), "the address must be quoted: zsh takes a ? for a pattern"
    order = paste(oms, command.group(1))["order"]
    assert oms.ended(order["id"])["status"] == "filled"


# --- API Endpoints: Submit Trade Signal -------------------------------------------------------------------------------

BUY_APPLE = r"""curl -X POST http://localhost:8000/api/v1/trading/signal \
  -H "Content-Type: application/json" \
  -d '{
    "symbol": "AAPL",
    "side": "buy",
    "qty": 10,
    "reason": "Technical breakout"
  }'"""
SELL_BITCOIN = r"""curl -X POST http://localhost:8000/api/v1/trading/signal \
  -H "Content-Type: application/json" \
  -d '{
    "symbol": "BTCUSDT",
    "side": "sell",
    "qty": 0.1,
    "reason": "Take profit"
  }'"""


def test_the_curl_that_buys_apple_fills(oms: Stack) -> None:
    """Submit Trade Signal: *Buy 10 shares of Apple.*"""
    answer = paste(oms, BUY_APPLE)
    assert answer["status"] == "accepted"
    assert answer["id"] == answer["order"]["id"]
    order = oms.ended(answer["id"])
    assert (order["status"], order["symbol"], order["side"], order["qty"]) == ("filled", "AAPL", "buy", 10)
    assert order["filled_qty"] == 10
    assert order["filled_price"] > 0
    assert order["reason"] == "Technical breakout"


def test_the_curl_that_sells_bitcoin_fills_and_says_what_btcusdt_means(oms: Stack) -> None:
    """Submit Trade Signal: *Sell 0.1 Bitcoin.* BTCUSDT, the guide's spelling, means BTC/USD; the answer shows it."""
    answer = paste(oms, SELL_BITCOIN)
    assert answer["order"]["symbol"] == "BTC/USD"
    order = oms.ended(answer["id"])
    assert (order["status"], order["filled_qty"], order["reason"]) == ("filled", Decimal("0.1"), "Take profit")


def test_the_answer_comes_after_the_commit_and_says_where_the_order_is(oms: Stack) -> None:
    """Submit Trade Signal: 202, with a Location that leads to the order at once."""
    answer = oms.signal(symbol="KO", side="buy", qty=1)
    assert answer.status == 202
    assert oms.get(answer.headers["location"])["id"] == answer.json["id"]


def test_wait_answers_once_the_order_is_decided(oms: Stack) -> None:
    """Submit Trade Signal: `?wait=5` answers when the order has been refused, sent or filled."""
    assert oms.signal(wait=30, symbol="KO", side="buy", qty=1).json["order"]["status"] in {"submitted", "filled"}
    assert oms.signal(wait=30, symbol="KO", side="buy", qty=101).json["order"]["status"] == "rejected"


def test_the_same_signal_twice_is_one_order(oms: Stack) -> None:
    """Submit Trade Signal: `signal_id` identifies a signal; 10 is 10.0; other content is a conflict."""
    first = oms.signal(symbol="KO", side="buy", qty=2, signal_id="morning-1")
    again = oms.signal(symbol="ko", side="buy", qty=Decimal("2.0"), signal_id="morning-1")
    other = oms.signal(symbol="KO", side="buy", qty=3, signal_id="morning-1")
    assert (first.status, again.status, other.status) == (202, 202, 409)
    assert first.json["id"] == again.json["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"symbol": "AAPL", "side": "buy"}', "qty"),
        ('{"symbol": "AAPL", "side": "buy", "qty": 0}', "qty"),
        ('{"symbol": "AAPL", "side": "buy", "qty": NaN}', "qty"),
        ('{"symbol": "AAPL", "side": "hold", "qty": 1}', "side"),
        ('{"symbol": "NOSUCH", "side": "buy", "qty": 1}', "symbol"),
        ('{"symbol": "AAPL", "side": "buy", "qty": 1, "colour": "red"}', "colour"),
        ('{"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit"}', "limit_price"),
    ],
)
def test_what_is_wrong_with_a_signal_is_said_by_field(oms: Stack, body: str, field: str) -> None:
    """Submit Trade Signal: bad input is refused with field and reason, and makes no order."""
    before = oms.get("/api/v1/trading/orders?limit=1")[0]["id"]
    answer = ask("POST", f"{oms.url}/api/v1/trading/signal", body.encode())
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["field"] == field
    assert answer.json["code"]
    assert oms.get("/api/v1/trading/orders?limit=1")[0]["id"] == before


# --- API Endpoints: View Orders ---------------------------------------------------------------------------------------

RECENT_ORDERS = "curl http://localhost:8000/api/v1/trading/orders | jq"
FILLED_ORDERS = "curl http://localhost:8000/api/v1/trading/orders?status=filled | jq"
APPLE_ORDERS = "curl http://localhost:8000/api/v1/trading/orders?symbol=AAPL | jq"
ONE_ORDER = "curl http://localhost:8000/api/v1/trading/orders/{order_id} | jq"


def test_recent_orders_come_newest_first(oms: Stack) -> None:
    """View Orders: *Get recent orders.*"""
    ids = [oms.traded(symbol="KO", side="buy", qty=1)["id"] for _ in range(2)]
    orders = paste(oms, RECENT_ORDERS)
    assert [order["id"] for order in orders[:2]] == ids[::-1]
    times = [order["created_at"] for order in orders]
    assert times == sorted(times, reverse=True)


def test_orders_are_filtered_by_status(oms: Stack) -> None:
    """View Orders: *Filter by status.*"""
    oms.traded(symbol="KO", side="buy", qty=1)
    oms.traded(symbol="KO", side="buy", qty=101)
    assert {order["status"] for order in paste(oms, FILLED_ORDERS)} == {"filled"}
    both = oms.get("/api/v1/trading/orders?status=filled,rejected")
    assert {order["status"] for order in both} == {"filled", "rejected"}
    assert ask("GET", f"{oms.url}/api/v1/trading/orders?status=canceled").status == 200


def test_an_unknown_status_is_refused_with_the_list(oms: Stack) -> None:
    """View Orders: a misspelled filter must not look like an empty list."""
    answer = ask("GET", f"{oms.url}/api/v1/trading/orders?status=filed")
    assert answer.status == 422
    for status in ("pending", "submitted", "filled", "rejected", "cancelled"):
        assert status in answer.json["detail"]


def test_orders_are_filtered_by_symbol(oms: Stack) -> None:
    """View Orders: *Filter by symbol.*"""
    oms.traded(symbol="AAPL", side="buy", qty=1)
    oms.traded(symbol="KO", side="buy", qty=1)
    assert {order["symbol"] for order in paste(oms, APPLE_ORDERS)} == {"AAPL"}


@pytest.mark.parametrize("spelling", ["BTCUSDT", "BTCUSD", "btc/usd", "BTC/USD", "btcusdt"])
def test_any_spelling_of_a_symbol_finds_its_orders(oms: Stack, spelling: str) -> None:
    """View Orders: the spelling of a filter is the user's choice."""
    order = oms.traded(symbol="BTCUSDT", side="sell", qty=Decimal("0.001"))
    found = oms.get(f"/api/v1/trading/orders?symbol={quote(spelling, safe='')}")
    assert order["id"] in {one["id"] for one in found}
    assert {one["symbol"] for one in found} == {"BTC/USD"}


def test_one_order_comes_with_its_trail(oms: Stack) -> None:
    """View Orders: *Get specific order.* With it comes what happened to it, and its fills."""
    order_id = oms.traded(symbol="AAPL", side="buy", qty=1)["id"]
    order = paste(oms, ONE_ORDER.replace("{order_id}", order_id))
    assert order["status"] == "filled"
    assert [event["kind"] for event in order["events"]] == ["accepted", "approved", "submitted", "filled"]
    assert [(fill["qty"], fill["price"]) for fill in order["fills"]] == [(1, order["filled_price"])]


def test_the_literal_order_id_in_braces_is_answered_with_how_to_write_it(oms: Stack) -> None:
    """View Orders: pasted as the guide has it, with `{order_id}` and all."""
    pasted = paste(oms, ONE_ORDER)
    literal = ask("GET", f"{oms.url}/api/v1/trading/orders/%7Border_id%7D")
    assert (pasted["status"], literal.status) == (422, 422)
    for answer in (pasted, literal.json):
        assert "/api/v1/trading/orders/0197a3f0-" in answer["detail"]


def test_an_order_that_is_not_there_is_404(oms: Stack) -> None:
    """View Orders: an id that belongs to no order."""
    answer = ask("GET", f"{oms.url}/api/v1/trading/orders/0197a3f0-5c1e-7d4b-9a77-2f6f0c9b1e55")
    assert (answer.status, answer.json["code"]) == (404, "order_not_found")


def test_pages_follow_one_another_without_gap_or_repetition(oms: Stack) -> None:
    """View Orders: an array, with the next page in the header Link."""
    for _ in range(4):
        oms.traded(symbol="KO", side="buy", qty=1)
    everything = [order["id"] for order in oms.get("/api/v1/trading/orders?limit=500")]
    seen: list[str] = []
    url = f"{oms.url}/api/v1/trading/orders?limit=3"
    while url:
        answer = ask("GET", url)
        seen += [order["id"] for order in answer.json]
        link = re.search('<(.*)>; rel="next"', answer.headers.get("link", ""))
        url = link.group(1) if link else ""
    assert seen == everything


def test_a_resting_order_can_be_cancelled(oms: Stack) -> None:
    """View Orders: statuses include `cancelled`; DELETE asks the broker, and only the broker's word ends the order."""
    answer = oms.signal(wait=5, symbol="IBM", side="buy", qty=1, type="limit", limit_price=1)
    order_id = answer.json["id"]
    assert ask("DELETE", f"{oms.url}/api/v1/trading/orders/{order_id}").status == 202
    assert oms.ended(order_id)["status"] == "cancelled"
    assert order_id in {order["id"] for order in oms.get("/api/v1/trading/orders?status=cancelled")}
    assert ask("DELETE", f"{oms.url}/api/v1/trading/orders/{order_id}").status == 409


# --- API Endpoints: View Positions ------------------------------------------------------------------------------------

OPEN_POSITIONS = "curl http://localhost:8000/api/v1/trading/positions | jq"
ALL_POSITIONS = "curl http://localhost:8000/api/v1/trading/positions?include_closed=true | jq"
PORTFOLIO = "curl http://localhost:8000/api/v1/trading/portfolio | jq"


def test_open_positions_and_closed_ones_where_asked_for(oms: Stack) -> None:
    """View Positions: *Get open positions. Include closed positions.*"""
    oms.traded(symbol="WMT", side="buy", qty=3)
    bought = next(one for one in paste(oms, OPEN_POSITIONS) if one["symbol"] == "WMT")
    assert bought["qty"] == 3
    assert bought["avg_price"] > 0
    order = oms.traded(symbol="WMT", side="sell", qty="all")
    assert (order["status"], order["qty"]) == ("filled", 3)
    assert "WMT" not in {one["symbol"] for one in paste(oms, OPEN_POSITIONS)}
    closed = next(one for one in paste(oms, ALL_POSITIONS) if one["symbol"] == "WMT")
    assert closed["qty"] == 0
    assert near(closed["realized_pnl"], 3 * (order["filled_price"] - bought["avg_price"]))
    assert closed["closed_at"]


def test_the_portfolio_adds_up(oms: Stack) -> None:
    """View Positions: *Get portfolio snapshot with P&L.*"""
    oms.traded(symbol="AAPL", side="buy", qty=1)
    eventually(lambda: not oms.get("/api/v1/trading/portfolio")["unpriced"], why="positions were not priced")
    portfolio = paste(oms, PORTFOLIO)
    assert portfolio["cash"] > 0
    assert portfolio["equity"] > 0
    assert datetime.fromisoformat(portfolio["as_of"]).tzinfo
    positions = portfolio["positions"]
    assert {"AAPL", "BTC/USD"} <= {position["symbol"] for position in positions}
    for total in ("market_value", "unrealized_pnl"):
        assert near(portfolio[total], sum(position[total] for position in positions))
    assert near(portfolio["total_pnl"], portfolio["realized_pnl"] + portfolio["unrealized_pnl"])


def near(one: Decimal, other: Decimal) -> bool:
    """Equal, but for what jq's doubles cannot hold and what the broker rounds of an average price."""
    return abs(Decimal(one) - Decimal(other)) < Decimal("0.001")


def test_ours_and_the_brokers_positions_are_the_same(oms: Stack) -> None:
    """View Positions: what the account really holds, coins after the broker's fee included."""
    oms.traded(symbol="AAPL", side="buy", qty=2)
    headers = {"APCA-API-KEY-ID": "mock", "APCA-API-SECRET-KEY": "x"}

    def theirs() -> dict[str, Decimal]:
        found = ask("GET", oms.addresses["paperbroker_url"] + "/v2/positions", headers=headers).json
        return {one["symbol"].replace("/", ""): Decimal(one["qty"]) for one in found}

    def ours() -> dict[str, Decimal]:
        found = oms.get("/api/v1/trading/positions")
        return {one["symbol"].replace("/", ""): Decimal(one["qty"]) for one in found}

    eventually(lambda: ours() == theirs(), why=f"{ours()} is not {theirs()}")


# --- Risk Management --------------------------------------------------------------------------------------------------

MODIFY_LIMITS = """\
UPDATE configs SET value = '20000' WHERE key = 'max_position_size_usd';
UPDATE configs SET value = '2.0' WHERE key = 'max_order_qty_crypto';
UPDATE configs SET value = '500' WHERE key = 'max_order_qty_stock';
"""


def test_the_default_limits_are_those_of_the_guide(oms: Stack) -> None:
    """Risk Management: *Max position size: $10,000 USD. Max crypto order: 1.0 units. Max stock order: 100 shares.*"""
    rows = oms.sql(f"select key, value from configs where key in ({', '.join(map(repr, LIMITS))})").splitlines()
    assert dict(row.split("|") for row in rows) == LIMITS


def test_each_update_holds_for_the_next_order(
    oms: Stack, limits: Callable[..., None], rejected: Rejected, bus: redis.Redis
) -> None:
    """Risk Management: *Modify via SQL*, the three statements pasted into `oms db shell`."""
    del limits  # puts the defaults back
    share = price(oms, "JPM")
    within_20000 = int(Decimal(15000) / share)
    assert within_20000 < 100, "choose a dearer stock"
    assert "max_position_size_usd 10000" in rejected(symbol="JPM", side="buy", qty=within_20000)["error_message"]
    assert "max_order_qty_stock 100" in rejected(symbol="F", side="buy", qty=101)["error_message"]
    assert "max_order_qty_crypto 1" in rejected(symbol="DOGE/USD", side="buy", qty=Decimal(200))["error_message"]

    command = [sys.executable, "-m", "oms.cli", "db", "shell", "--data", str(oms.data)]
    done = subprocess.run(command, input=MODIFY_LIMITS, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["UPDATE", "1"] * 3), done.stderr

    assert oms.traded(symbol="JPM", side="buy", qty=within_20000)["status"] == "filled"
    assert "max_position_size_usd 20000" in rejected(symbol="JPM", side="buy", qty=within_20000)["error_message"]
    assert oms.traded(symbol="F", side="buy", qty=101)["status"] == "filled"
    assert "max_order_qty_stock 500" in rejected(symbol="F", side="buy", qty=501)["error_message"]
    assert "max_order_qty_crypto 2" in rejected(symbol="BTCUSDT", side="sell", qty=3)["error_message"]


@pytest.mark.parametrize("value", ["20,000", "$20000", "-1", "", "1e5", "NaN"])
def test_a_limit_that_is_no_plain_number_is_refused_in_psql_itself(oms: Stack, value: str) -> None:
    """Risk Management: a limit that the engine cannot read must not get into the table."""
    with pytest.raises(AssertionError, match="value_is_a_plain_number"):
        oms.sql(f"UPDATE configs SET value = '{value}' WHERE key = 'max_position_size_usd'")
    assert oms.sql("select value from configs where key = 'max_position_size_usd'") == "10000"


def test_ten_simultaneous_buys_cannot_slip_under_the_position_limit(oms: Stack) -> None:
    """Risk Management: *Max position size*, with orders that are open or under way counted."""
    share = price(oms, "MSFT")
    qty = int(Decimal(3000) / share)  # three of them fit below 10,000 USD, ten do not
    gate = threading.Barrier(10)

    def buy(_: int) -> Any:
        gate.wait()
        return oms.signal(symbol="MSFT", side="buy", qty=qty).json["id"]

    with ThreadPoolExecutor(10) as threads:
        orders = [oms.ended(order_id) for order_id in list(threads.map(buy, range(10)))]
    filled = [order for order in orders if order["status"] == "filled"]
    refused = [order for order in orders if order["status"] == "rejected"]
    assert len(filled) in {2, 3}
    assert len(filled) + len(refused) == 10
    assert sum(order["filled_qty"] * order["filled_price"] for order in filled) <= 10010
    assert all("max_position_size_usd 10000" in order["error_message"] for order in refused)


def test_orders_that_reduce_a_position_pass_the_position_limit(oms: Stack, limits: Callable[..., None]) -> None:
    """Risk Management: a position above the limit can always be sold, and not be added to."""
    oms.traded(symbol="JNJ", side="buy", qty=6)
    limits(max_position_size_usd="100")
    assert oms.traded(symbol="JNJ", side="buy", qty=1)["error_code"] == "MAX_POSITION_SIZE"
    assert oms.traded(symbol="JNJ", side="sell", qty=2)["status"] == "filled"
    assert oms.traded(symbol="JNJ", side="sell", qty="all")["status"] == "filled"


# --- Order Flow -------------------------------------------------------------------------------------------------------


def listen(bus: redis.Redis) -> redis.client.PubSub:
    """Subscribed to `trade_signals`, for certain."""
    channel = bus.pubsub()
    channel.subscribe("trade_signals")
    assert channel.get_message(timeout=60)["type"] == "subscribe"
    return channel


def heard(channel: redis.client.PubSub, within_s: float = 120) -> Iterator[Any]:
    """The signals that come on the channel."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        message = channel.get_message(timeout=0.2)
        if message and message["type"] == "message":
            yield json.loads(message["data"], parse_float=Decimal)


def test_every_accepted_signal_is_published_on_trade_signals(oms: Stack, bus: redis.Redis) -> None:
    """Order Flow 2: *Signal published to `trade_signals` channel*; a subscriber sees it."""
    with listen(bus) as channel:
        ids = {oms.signal(symbol="KO", side="buy", qty=1, reason="heard").json["id"] for _ in range(5)}
        seen = list(itertools.islice((one for one in heard(channel) if one.get("reason") == "heard"), 5))
    assert {one["order_id"] for one in seen} == ids
    assert {(one["symbol"], one["side"], one["qty"], one["source"]) for one in seen} == {("KO", "buy", 1, "rest")}


def test_a_signal_published_by_another_program_becomes_an_order(oms: Stack, bus: redis.Redis) -> None:
    """Order Flow 2: the channel is an entrance too, as it was in the guide's system."""
    signal = {"symbol": "BTCUSDT", "side": "sell", "qty": 0.002, "reason": "published by another program"}
    assert bus.publish("trade_signals", json.dumps(signal)) >= 1
    order = new_order(oms, reason="published by another program")
    assert (order["status"], order["symbol"], order["source"]) == ("filled", "BTC/USD", "channel")


@pytest.mark.parametrize("flat", [False, True])
def test_a_signal_added_to_the_stream_becomes_one_order(oms: Stack, bus: redis.Redis, flat: bool) -> None:
    """Order Flow 2: `XADD trade_signals * signal '{json}'`, or flat fields; at least once in, exactly one order."""
    signal = {"symbol": "KO", "side": "buy", "qty": "1", "reason": f"streamed, flat: {flat}"}
    entry = bus.xadd("trade_signals", signal if flat else {"signal": json.dumps(signal)})
    order = new_order(oms, reason=signal["reason"])
    assert (order["status"], order["source"], order["signal_id"]) == ("filled", "stream", f"stream:{entry}")
    eventually(lambda: bus.xpending("trade_signals", "oms")["pending"] == 0)


def test_malformed_messages_are_recorded_and_do_not_stop_the_reader(oms: Stack, bus: redis.Redis) -> None:
    """Order Flow 2: what cannot be read is kept with the reason; what comes behind it is traded."""
    malformed = ["not json", "[]", '{"symbol": "KO"}', '{"symbol": "KO", "side": "buy", "qty": -1}', b"\xff\xfe"]
    for message in malformed:
        bus.publish("trade_signals", message)
        bus.xadd("trade_signals", {"signal": message})
    bus.publish("trade_signals", '{"symbol": "KO", "side": "buy", "qty": 1, "reason": "behind the broken ones"}')
    assert new_order(oms, reason="behind the broken ones")["status"] == "filled"
    errors = eventually(lambda: len(found := oms.get("/api/v1/trading/signal-errors")) >= 2 * len(malformed) and found)
    assert {error["source"] for error in errors} == {"channel", "stream"}
    assert {"not_json", "not_an_object", "missing_field"} <= {error["code"] for error in errors}
    assert "not json" in {error["payload"] for error in errors}
    assert int(oms.sql("select count(*) from signal_errors where reason <> ''")) == len(errors)


def test_the_update_stream_moves_the_order_and_the_fill_moves_the_position(oms: Stack) -> None:
    """Order Flow 4 and 5: *Alpaca WebSocket updates order status. Fills trigger position and P&L calculations.*"""
    order = oms.traded(symbol="XOM", side="buy", qty=4)
    assert order["alpaca_id"]
    assert sum(fill["qty"] for fill in order["fills"]) == 4
    assert all(fill["execution_id"] for fill in order["fills"]), "they came from the stream, not by asking"
    position = next(one for one in oms.get("/api/v1/trading/positions") if one["symbol"] == "XOM")
    assert position["qty"] == 4
    assert near(position["avg_price"], order["filled_price"])
    assert oms.get("/api/health/detailed")["components"]["stream"]["connected"]


def test_unrealized_pnl_is_there_after_a_fill_and_follows_the_price(oms: Stack) -> None:
    """Order Flow 6: *QuestDB prices update unrealized P&L every 5 seconds.*"""
    order = oms.traded(symbol="NVDA", side="buy", qty=2)

    def position() -> Any:
        return next(one for one in oms.get("/api/v1/trading/positions") if one["symbol"] == "NVDA")

    valued = eventually(lambda: (found := position())["unrealized_pnl"] is not None and found)
    assert valued["market_value"] == 2 * valued["last_price"]
    assert near(valued["unrealized_pnl"], valued["market_value"] - 2 * order["filled_price"])
    later = eventually(lambda: (found := position())["price_time"] != valued["price_time"] and found)
    assert not later["stale"]


def questdb(oms: Stack, query: str) -> Any:
    """What QuestDB's console at :9000 answers; nothing where the first ticks have not made the table yet."""
    answer = ask("GET", f"{oms.addresses['questdb_url']}/exec?query={quote(query)}").json
    assert "dataset" in answer or "does not exist" in answer["error"], answer
    return answer.get("dataset", [])


def test_prices_are_in_questdbs_market_ticks(oms: Stack) -> None:
    """Order Flow 6, Troubleshooting: *Check QuestDB has recent ticks.*"""
    oms.traded(symbol="NVDA", side="buy", qty=1)
    recent = "from market_ticks where symbol = 'NVDA' and timestamp > dateadd('m', -1, now())"
    rows = eventually(lambda: questdb(oms, f"select bid, ask {recent} and bid is not null"), why="no recent quotes")
    assert all(0 < Decimal(bid) < Decimal(offer) for bid, offer in rows)
    columns = {row[0]: row[1] for row in questdb(oms, "show columns from market_ticks")}
    assert {"symbol", "exchange", "price", "bid", "ask", "volume", "timestamp"} <= columns.keys()
    assert columns["price"].startswith("DECIMAL")


def test_order_events_are_gap_free_by_http_and_in_redis(oms: Stack, bus: redis.Redis) -> None:
    """Order Flow: every change of an order is an event, for programs that want to know."""
    oms.traded(symbol="KO", side="buy", qty=1)
    events: list[Any] = []
    while page := oms.get(f"/api/v1/events?after={events[-1]['seq'] if events else 0}&limit=1000"):
        events += page
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))

    def relayed() -> list[Any]:
        return [json.loads(fields["event"]) for _, fields in bus.xrange("order_events")]

    eventually(lambda: len(relayed()) >= len(events), why="events are missing in the stream order_events")
    assert [event["seq"] for event in relayed()][: len(events)] == [event["seq"] for event in events]


def test_events_can_be_waited_for(oms: Stack) -> None:
    """Order Flow: `/api/v1/events?after=SEQ&wait=S` answers as soon as there is one."""
    last = int(oms.sql("select max(seq) from order_events"))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(oms.get, f"/api/v1/events?after={last}&wait=20")
        time.sleep(0.3)
        began = time.monotonic()
        order_id = oms.signal(symbol="KO", side="buy", qty=1).json["id"]
        assert waiting.result()[0]["order_id"] == order_id
    assert time.monotonic() - began < 19  # it did not wait to its end


# --- Error Handling ---------------------------------------------------------------------------------------------------

REJECTED_ORDERS = "curl http://localhost:8000/api/v1/trading/orders?status=rejected | jq"


def test_a_stock_order_above_the_quantity_limit_is_rejected(rejected: Rejected) -> None:
    """Error Handling: *Exceeds quantity limits.*"""
    order = rejected(symbol="AAPL", side="buy", qty=101)
    assert order["error_code"] == "MAX_ORDER_QTY"
    assert "Quantity 101 exceeds max_order_qty_stock 100" in order["error_message"]


def test_a_crypto_order_above_the_quantity_limit_is_rejected(rejected: Rejected) -> None:
    """Error Handling: *Exceeds quantity limits.*"""
    order = rejected(symbol="BTCUSDT", side="buy", qty=Decimal("1.1"))
    assert "Quantity 1.1 exceeds max_order_qty_crypto 1" in order["error_message"]


def test_an_order_above_the_position_limit_is_rejected_with_what_would_pass(oms: Stack, rejected: Rejected) -> None:
    """Error Handling: *Exceeds position size limit.* The reason names value, limit, and what would have passed."""
    share = price(oms, "META")
    order = rejected(symbol="META", side="buy", qty=int(12000 / share))
    assert order["error_code"] == "MAX_POSITION_SIZE"
    assert "above max_position_size_usd 10000" in order["error_message"]
    passing = re.search(r"up to (\d+) passes", order["error_message"])
    assert passing is not None
    assert oms.traded(symbol="META", side="buy", qty=int(passing.group(1)) - 1)["status"] == "filled"


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        pytest.param("2026-03-08T15:00:00Z", "Mon 2026-03-09 at 09:30 EDT", id="sunday"),
        pytest.param("2026-12-25T16:00:00Z", "Mon 2026-12-28 at 09:30 EST", id="christmas"),
        pytest.param("2026-11-27T18:30:00Z", "Mon 2026-11-30 at 09:30 EST", id="half-day-afternoon"),
        pytest.param("2026-01-05T14:28:00Z", "Mon 2026-01-05 at 09:30 EST", id="before-open-in-winter"),
    ],
)
def test_a_stock_order_outside_market_hours_is_rejected_and_crypto_trades(
    tmp_path: Path,
    migrated_database_url: str,
    redis_clean_url: str,
    questdb_url: str,
    now: str,
    opens: str,
) -> None:
    """Error Handling: *Market closed (stocks outside 9:30 AM - 4:00 PM ET)*; holidays, half days and DST are known."""
    servers = {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_clean_url, "QUESTDB_URL": questdb_url}
    with Stack(
        tmp_path / "data", ALPACA_API_KEY="mock", PAPERBROKER_HOURS="nyse", PAPERBROKER_NOW=now, **servers
    ) as oms:
        stock = oms.traded(symbol="AAPL", side="buy", qty=1)
        assert (stock["status"], stock["error_code"]) == ("rejected", "MARKET_CLOSED")
        assert stock["error_message"].startswith("Market closed")
        assert f"opens next on {opens}" in stock["error_message"]
        assert [order["id"] for order in paste(oms, REJECTED_ORDERS)] == [stock["id"]]
        assert oms.traded(symbol="BTCUSDT", side="sell", qty=Decimal("0.01"))["status"] == "filled"


def test_stocks_trade_from_the_opening_bell_on(
    tmp_path: Path, migrated_database_url: str, redis_clean_url: str, questdb_url: str
) -> None:
    """Error Handling: *9:30 AM ET*, on the first day of daylight saving: closed at 9:29, filled after 9:30."""
    servers = {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_clean_url, "QUESTDB_URL": questdb_url}
    environment = {"PAPERBROKER_HOURS": "nyse", "PAPERBROKER_NOW": "2026-03-09T13:00:00Z", **servers}
    with Stack(tmp_path / "data", ALPACA_API_KEY="mock", **environment) as oms:
        broker = Control(oms.addresses["paperbroker_url"])
        broker.set_clock("2026-03-09T13:29:00Z")
        first = oms.traded(symbol="AAPL", side="buy", qty=1)
        assert first["error_code"] == "MARKET_CLOSED"
        broker.set_clock("2026-03-09T13:30:00Z")
        eventually(lambda: oms.get("/api/health/detailed")["other"]["market_open"], why="the market did not open")
        assert oms.traded(symbol="AAPL", side="buy", qty=1)["status"] == "filled"


def test_what_alpaca_refuses_is_rejected_with_its_code_and_text(rejected: Rejected) -> None:
    """Error Handling: *Alpaca API errors.* A price with too many decimals is the broker's to refuse."""
    order = rejected(symbol="AAPL", side="buy", qty=1, type="limit", limit_price=Decimal("150.12345"))
    assert order["error_code"] == "BROKER_42210000"
    assert "sub-penny increment does not fulfill minimum pricing criteria" in order["error_message"]


def test_too_little_buying_power_is_alpacas_refusal(limits: Callable[..., None], rejected: Rejected) -> None:
    """Error Handling: *Alpaca API errors.* What our limits let pass the account may still not afford."""
    limits(max_position_size_usd="100000000", max_order_qty_stock="100000")
    order = rejected(symbol="AAPL", side="buy", qty=5000)
    assert order["error_code"] == "BROKER_40310000"
    assert "insufficient buying power" in order["error_message"]


def test_crypto_that_is_not_held_cannot_be_sold(rejected: Rejected) -> None:
    """Error Handling: the guide's second curl sells what the mock account holds; more than that is refused."""
    order = rejected(symbol="ETH/USD", side="sell", qty=1)
    assert "You hold 0 ETH; crypto cannot be sold short" in order["error_message"]


# --- Database Schema --------------------------------------------------------------------------------------------------

ORDERS_TABLE = ["id", "symbol", "side", "qty", "type", "status", "alpaca_id", "filled_price", "reason", "error_message"]
POSITIONS_TABLE = ["id", "symbol", "qty", "avg_price", "unrealized_pnl", "realized_pnl", "last_price", "market_value"]
NUMERIC = {"qty", "filled_price", "avg_price", "unrealized_pnl", "realized_pnl", "last_price", "market_value"}


@pytest.mark.parametrize(("table", "columns"), [("orders", ORDERS_TABLE), ("positions", POSITIONS_TABLE)])
def test_the_tables_have_the_columns_of_the_guide(oms: Stack, table: str, columns: list[str]) -> None:
    """Database Schema: at least these columns; `id` a UUID and the primary key; money and quantities exact."""
    query = f"select column_name, data_type from information_schema.columns where table_name = '{table}'"
    types = dict(row.split("|") for row in oms.sql(query).splitlines())
    assert set(columns) <= types.keys()
    assert types["id"] == "uuid"
    assert {types[name] for name in NUMERIC & set(columns)} == {"numeric"}
    key = oms.sql(f"select pg_get_constraintdef(oid) from pg_constraint where conname = '{table}_pkey'")
    assert key == "PRIMARY KEY (id)"


def test_a_symbol_has_one_position(oms: Stack) -> None:
    """Database Schema: positions' *`symbol`: Trading symbol (unique)*, for each account."""
    definitions = oms.sql("select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'positions'::regclass")
    assert "UNIQUE (account_id, symbol)" in definitions.splitlines()


def test_what_the_tables_say_is_what_the_api_says(oms: Stack) -> None:
    """Database Schema: an order as a row, in the guide's words."""
    order = oms.traded(symbol="AAPL", side="buy", qty=1, reason="in the table")
    columns = "id, symbol, side, qty, type, status, alpaca_id, filled_price, reason, error_message"
    row = oms.sql(f"select {columns} from orders where id = '{UUID(order['id'])}'").split("|")
    expected = [order["id"], "AAPL", "buy", "1", "market", "filled", order["alpaca_id"], None, "in the table", ""]
    assert [value for place, value in enumerate(row) if place != 7] == expected[:7] + expected[8:]
    assert Decimal(row[7]) == order["filled_price"]


# --- Testing ----------------------------------------------------------------------------------------------------------


def test_mock_mode_needs_no_account_and_no_secret(oms: Stack) -> None:
    """Testing: *Test signal processing without Alpaca: `ALPACA_API_KEY=mock docker compose up`.*"""
    assert oms.get("/api/v1/trading/portfolio")["account_number"].startswith("PA")
    assert oms.traded(symbol="AAPL", side="buy", qty=1)["status"] == "filled"
    address = oms.get("/api/health/detailed")["other"]["address"]
    assert address == oms.addresses["paperbroker_url"]


# --- Monitoring -------------------------------------------------------------------------------------------------------

ENGINE_STATUS = "curl http://localhost:8000/api/health/detailed | jq '.execution_engine_status'"


def test_the_engine_is_running(oms: Stack) -> None:
    """Monitoring: *Check OMS health. Execution engine runs as background task.*"""
    assert paste(oms, ENGINE_STATUS) == "running"


def test_health_tells_of_every_part(oms: Stack) -> None:
    """Monitoring: the engine's status, and PostgreSQL, Redis, QuestDB, the broker's REST and stream, prices, budget."""
    oms.traded(symbol="AAPL", side="buy", qty=1)
    health = eventually(lambda: (found := oms.get("/api/health/detailed"))["status"] == "ok" and found)
    components = health["components"]
    assert {components[name]["status"] for name in ("postgresql", "redis", "questdb")} == {"ok"}
    assert components["broker"]["ok"]
    assert components["stream"]["connected"]
    assert components["stream"]["last_message_age_s"] >= 0
    assert components["prices"]["newest_age_s"] < 15
    assert {"used", "per_minute"} <= components["budget"].keys()
    assert components["backlog"]["outcome_unknown"] == 0
    assert oms.get("/api/health")["checks"]["engine"] == "ok"
    assert oms.get("/livez")
    assert oms.get("/readyz")


def test_redis_answers_ping(bus: redis.Redis) -> None:
    """Monitoring: *Check Redis connectivity: `redis-cli ping`.*"""
    assert bus.ping()


def test_oms_signals_shows_what_redis_cli_subscribe_shows(oms: Stack) -> None:
    """Monitoring: *Monitor signal queue: `redis-cli subscribe trade_signals`*, where no redis-cli is installed."""
    command = [sys.executable, "-m", "oms.cli", "signals", "--data", str(oms.data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            assert following.stdout.readline() == "subscribe trade_signals 1\n"
            order_id = oms.signal(symbol="KO", side="buy", qty=1).json["id"]
            assert json.loads(following.stdout.readline())["order_id"] == order_id
        finally:
            following.terminate()


# --- Troubleshooting --------------------------------------------------------------------------------------------------


def test_logs_name_the_oms(oms: Stack) -> None:
    """Troubleshooting: *Check logs: `docker compose logs app | grep -i oms`*."""
    for text in ("OMS execution engine started", "OMS API started"):
        eventually(lambda text=text: text in oms.logged())


def test_what_alpaca_refuses_is_in_the_log(oms: Stack) -> None:
    """Troubleshooting: *Review app logs for Alpaca API errors*, `grep -i alpaca data/logs/engine.log`."""
    order = oms.traded(symbol="AAPL", side="buy", qty=1, type="limit", limit_price=Decimal("150.98765"))

    def told() -> bool:
        lines = (oms.data / "logs" / "engine.log").read_text().splitlines()
        alpaca = [line for line in lines if "alpaca" in line.lower()]
        return any(order["id"] in line and "sub-penny increment" in line for line in alpaca)

    eventually(told, why=f"the log does not tell of {order['id']}")


def test_questdbs_console_is_there(oms: Stack) -> None:
    """Troubleshooting: *Check QuestDB has recent ticks: `http://localhost:9000`.*"""
    page = ask("GET", oms.addresses["questdb_url"] + "/index.html")
    assert page.status == 200
    assert "questdb" in page.body.decode(errors="replace").lower()


# --- Production Considerations ----------------------------------------------------------------------------------------


def test_the_request_budget_is_alpacas_unless_set(
    tmp_path: Path, migrated_database_url: str, redis_clean_url: str, questdb_url: str
) -> None:
    """Production Considerations: *Alpaca allows 200 requests/minute.*"""
    servers = {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_clean_url, "QUESTDB_URL": questdb_url}
    with Stack(tmp_path / "data", **servers) as oms:
        assert "No ALPACA_API_KEY: trading against the built-in paper broker (mock account)" in oms.logged()
        assert oms.get("/api/health/detailed")["components"]["budget"]["per_minute"] == 200


# --- The guide itself -------------------------------------------------------------------------------------------------


def test_the_guide_in_the_docs_has_every_command_that_is_tested_here() -> None:
    """Documentation that is not run goes stale."""
    guide = (Path(__file__).parents[1] / "docs" / "guide.md").read_text()
    for command in (
        BUY_APPLE, SELL_BITCOIN, RECENT_ORDERS, FILLED_ORDERS, APPLE_ORDERS, ONE_ORDER, OPEN_POSITIONS, ALL_POSITIONS,
        PORTFOLIO, *MODIFY_LIMITS.splitlines(), REJECTED_ORDERS, ENGINE_STATUS,
    ):  # fmt: skip
        assert command in guide, command
