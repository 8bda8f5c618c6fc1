"""Keys at the wrong address, plans without a feed, brokers that cannot be reached: what the error says."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from tests.stack import free_port

from oms.broker import Patience, connect
from oms.broker.advice import about_keys
from oms.domain.errors import BrokerRefused, BrokerUnauthorized, BrokerUnknown
from oms.domain.instruments import Instrument
from oms.domain.values import AssetClass
from oms.execution.budget import RequestBudget
from oms.settings import Settings
from oms.system import SystemClock
from paperbroker.testing import PaperBroker

PAPER, LIVE = "https://paper-api.alpaca.markets", "https://api.alpaca.markets"
AAPL = Instrument("AAPL", AssetClass.STOCK, "1")


def settings(url: str, key: str = "PKTEST0123456789") -> Settings:
    return Settings(
        alpaca_api_key=key, alpaca_api_secret="a-secret-of-mine", alpaca_base_url=url, alpaca_data_url=url,
        paperbroker_url=url,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("address", "key", "text"),
    [
        (PAPER, "AKLIVE", "a live account's keys (AK…), which do not work at https://paper-api.alpaca.markets"),
        (LIVE, "PKPAPER", "a paper account's keys (PK…), and https://api.alpaca.markets is the live address"),
        (PAPER, "PKPAPER", "mistyped"),
        (LIVE, "AKLIVE", "mistyped"),
        ("https://data.alpaca.markets", "AKLIVE", "mistyped"),
    ],
)
def test_the_advice_names_the_likely_cause(address: str, key: str, text: str) -> None:
    assert text in about_keys(address, key)
    assert key not in about_keys(address, key)


async def test_live_keys_at_a_paper_address_are_told_so_by_rest_and_streams(paper_broker: PaperBroker) -> None:
    clock = SystemClock()
    broker, data = connect(settings(paper_broker.url, "AKLIVE0123456789"), RequestBudget(0, clock), clock)
    try:
        with pytest.raises(BrokerUnauthorized, match=r"a live account's keys \(AK…\)") as told:
            await broker.account()
        assert "AKLIVE" not in str(told.value)
        with pytest.raises(BrokerUnauthorized, match=r"a live account's keys \(AK…\)"):
            async with broker.updates():
                pass
        with pytest.raises(BrokerUnauthorized, match=r"a live account's keys \(AK…\)"):
            async with data.stream(AssetClass.STOCK):
                pass
    finally:
        await broker.close()
        await data.close()


async def test_a_feed_that_the_plan_does_not_include_is_told_by_rest(paper_broker: PaperBroker) -> None:
    paper_broker.control.fault(
        "deny", path="/v2/stocks", status=403, count=2, message="subscription does not permit querying recent SIP data"
    )
    clock = SystemClock()
    broker, data = connect(settings(paper_broker.url, paper_broker.key), RequestBudget(0, clock), clock)
    try:
        with pytest.raises(BrokerRefused, match="ALPACA_FEED=iex"):
            await data.latest([AAPL])
    finally:
        await broker.close()
        await data.close()


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


async def _account(url: str) -> str:
    clock = SystemClock()
    broker, data = connect(settings(url), RequestBudget(0, clock), clock, Patience(request_s=2))
    try:
        with pytest.raises(BrokerUnknown) as told:
            await broker.account()
        return str(told.value)
    finally:
        await broker.close()
        await data.close()


async def test_a_broker_that_cannot_be_reached_is_told_with_the_reason(mute: int, paper_broker: PaperBroker) -> None:
    assert "nosuchhost.invalid" in await _account("http://nosuchhost.invalid:80")
    assert "Cannot connect" in await _account(f"http://127.0.0.1:{free_port()}")
    assert "no answer within 2 s" in await _account(f"http://127.0.0.1:{mute}")
    assert "ssl" in (await _account(paper_broker.url.replace("http://", "https://"))).lower()
