"""Market data messages become ticks; addresses and errors of the data streams."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from oms.broker import address, ticks
from oms.broker.data import DataBudget
from oms.broker.tickstream import stream_error, stream_url
from oms.broker.updates import stream_url as updates_url
from oms.broker.wire import DataMessage, Unreadable
from oms.domain.errors import BrokerBusy, BrokerRefused, BrokerUnauthorized, BrokerUnknown
from oms.domain.market import Quote, Tick, Trade
from oms.ports import Purpose

AT = datetime(2026, 7, 1, 13, 30, 0, 123456, tzinfo=UTC)
QUOTE = (
    '{"T":"q","S":"AAPL","bx":"V","bp":190.1,"bs":3,"ax":"N","ap":190.20000000000002,"as":7,"c":["R"],"z":"C",'
    '"t":"2026-07-01T13:30:00.123456789Z"}'
)
TRADE = '{"T":"t","S":"BTC/USD","i":9,"p":67000.1,"s":0.000123,"t":"2026-07-01T13:30:00.123456789Z","tks":"B"}'


def read(frame: str) -> list[Tick]:
    return [tick for _, found in ticks.batches(frame.encode()) for tick in found]


def test_quotes_and_trades_are_read_exactly() -> None:
    assert read(f"[{QUOTE},{TRADE}]") == [
        Quote("AAPL", Decimal("190.1"), Decimal("190.20000000000002"), AT, Decimal(3), Decimal(7), "V"),
        Trade("BTC/USD", Decimal("67000.1"), Decimal("0.000123"), AT),
    ]


def test_a_price_of_zero_is_no_price() -> None:
    (found,) = read('[{"T":"q","S":"AAPL","bp":0,"ap":0,"bs":0,"as":0,"t":"2026-07-01T13:30:00Z"}]')
    assert isinstance(found, Quote)
    assert (found.bid, found.ask) == (None, None)
    assert read('[{"T":"t","S":"AAPL","p":0,"s":1,"t":"2026-07-01T13:30:00Z"}]') == []


@pytest.mark.parametrize(
    "bad",
    [
        '{"T":"t","S":"X","p":"many","t":"2026-07-01T13:30:00Z"}',
        '{"T":"t","S":"X","p":"NaN","t":"2026-07-01T13:30:00Z"}',
        '{"T":"t","S":"X","p":1,"t":"noon"}',
        '{"T":"q","S":"X","bp":1}',
        '{"T":"o","S":"BTC/USD","b":[{"p":1,"s":2}],"t":"2026-07-01T13:30:00Z"}',
        '{"T":"b","S":"AAPL","o":1,"h":1,"l":1,"c":1,"v":1,"t":"2026-07-01T13:30:00Z"}',
        "7",
    ],
)
def test_one_element_that_is_bad_or_of_another_kind_does_not_cost_the_others(bad: str) -> None:
    assert len(read(f"[{QUOTE},{bad},{TRADE}]")) == 2


@pytest.mark.parametrize("frame", ["", "{}", "[", "nonsense"])
def test_a_frame_that_is_no_array_is_unreadable(frame: str) -> None:
    with pytest.raises(Unreadable):
        read(frame)


def test_a_large_frame_comes_in_parts() -> None:
    frame = f"[{','.join([QUOTE] * 1700)}]".encode()
    assert [len(found) for _, found in ticks.batches(frame)] == [500, 500, 500, 200]


@pytest.mark.parametrize(
    ("data_url", "expected"),
    [
        ("https://data.alpaca.markets", "wss://stream.data.alpaca.markets"),
        ("https://data.sandbox.alpaca.markets", "wss://stream.data.sandbox.alpaca.markets"),
        ("https://stream.data.alpaca.markets", "wss://stream.data.alpaca.markets"),
        ("http://127.0.0.1:8100", "ws://127.0.0.1:8100"),
        ("http://paperbroker:8100/alpaca", "ws://paperbroker:8100/alpaca"),
        ("https://data.alpaca.markets.evil.example", "wss://data.alpaca.markets.evil.example"),
    ],
)
def test_the_data_streams_address_follows_from_the_data_address(data_url: str, expected: str) -> None:
    assert stream_url(data_url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://paper-api.alpaca.markets", "wss://paper-api.alpaca.markets/stream"),
        ("https://paper-api.alpaca.markets/v2/", "wss://paper-api.alpaca.markets/stream"),
        ("http://127.0.0.1:8100/", "ws://127.0.0.1:8100/stream"),
    ],
)
def test_the_update_streams_address_follows_from_the_trading_address(url: str, expected: str) -> None:
    assert updates_url(address(url)) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (401, BrokerUnauthorized), (402, BrokerUnauthorized), (405, BrokerRefused), (406, BrokerRefused),
        (409, BrokerRefused), (400, BrokerRefused), (404, BrokerUnknown), (407, BrokerUnknown), (500, BrokerUnknown),
        (None, BrokerUnknown),
    ],
)  # fmt: skip
def test_an_error_of_the_data_stream_is_ours_by_its_code(code: int | None, expected: type[Exception]) -> None:
    error = stream_error(DataMessage(kind="error", msg="no", code=code))
    assert type(error) is expected
    if isinstance(error, BrokerRefused):
        assert error.code == code


class HandClock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return AT

    def monotonic(self) -> float:
        return self.seconds


async def test_the_data_budget_allows_so_many_in_any_minute_and_says_when_more() -> None:
    clock = HandClock()
    budget = DataBudget(clock, per_minute=3)
    for _ in range(3):
        await budget.acquire(Purpose.RECONCILE)
        clock.seconds += 10
    with pytest.raises(BrokerBusy) as busy:
        await budget.acquire(Purpose.RECONCILE)
    assert busy.value.retry_after_s == 30
    clock.seconds += 30
    await budget.acquire(Purpose.RECONCILE)
    with pytest.raises(BrokerBusy):
        await budget.acquire(Purpose.RECONCILE)


async def test_the_data_budget_obeys_a_429() -> None:
    clock = HandClock()
    budget = DataBudget(clock)
    budget.refused(20)
    with pytest.raises(BrokerBusy) as busy:
        await budget.acquire(Purpose.RECONCILE)
    assert busy.value.retry_after_s == 20
    clock.seconds += 20
    await budget.acquire(Purpose.RECONCILE)


def test_no_json_float_reaches_a_tick() -> None:
    (found,) = read(json.dumps([{"T": "t", "S": "A", "p": 0.1 + 0.2, "s": 1, "t": "2026-07-01T13:30:00Z"}]))
    assert isinstance(found, Trade)
    assert str(found.price) == "0.30000000000000004"
