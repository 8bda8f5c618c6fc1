"""Whatever bodies, headers, queries and frames come: the broker answers in Alpaca's shape and goes on."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from paperbroker.testing import PaperBroker, running_broker

LIVELY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
VALUES = st.sampled_from(
    [
        None, "", True, 0, -1, 1, 1e308, 10**400, "1", "1e9", "NaN", "Infinity", "0.0000000001", "AAPL", "BTC/USD",
        "buy", "sell", "market", "limit", "stop", "trailing_stop", "day", "gtc", "opg", "bracket", "oco", [], {}, [{}],
        "\x00", "é" * 200, "\ud83d", {"limit_price": "1"}, {"stop_price": 1}, "9" * 40,
    ]
)  # fmt: skip
NAMES = st.sampled_from(
    """symbol qty notional side type time_in_force limit_price stop_price trail_price trail_percent extended_hours
    client_order_id order_class take_profit stop_loss position_intent legs trail""".split()  # noqa: SIM905
)
ORDERS = st.dictionaries(NAMES, VALUES, max_size=12).map(
    lambda changes: {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day", **changes}
)
BODIES = st.binary(max_size=300) | ORDERS.map(lambda body: json.dumps(body).encode())
PATHS = st.sampled_from(
    ["/v2/orders", "/v2/orders/{}", "/v2/positions/{}", "/v2/assets/{}", "/v2/account/activities/{}", "/v2/account",
     "/v2/account/configurations", "/v2/orders:by_client_order_id", "/v2/stocks/{}/quotes/latest", "/{}",
     "/v2/account/activities", "/v2/calendar", "/paper/v1/faults/{}", "/paper/v1/fills"]
)  # fmt: skip
QUERY_NAMES = """status limit after until direction nested symbols side page_token page_size qty percentage""".split()  # noqa: SIM905
QUERIES = st.dictionaries(
    st.sampled_from(QUERY_NAMES),
    st.text(max_size=20) | st.sampled_from(["-1", "0", "all", "1e9", "2026-13-01", "true"]),
    max_size=3,
)


@pytest.fixture(scope="module")
def broker() -> Iterator[PaperBroker]:
    with running_broker() as broker:
        yield broker


def ask(broker: PaperBroker, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
    """The status of an answer that has Alpaca's shape."""
    connection = http.client.HTTPConnection(broker.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body, headers or {"APCA-API-KEY-ID": broker.key})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status < 500, (method, path, body, content)
    if answer.status >= 400:
        assert isinstance(json.loads(content)["message"], str)
    return answer.status


@LIVELY
@given(body=BODIES, method=st.sampled_from(["POST", "PATCH"]))
def test_bodies(broker: PaperBroker, body: bytes, method: str) -> None:
    path = "/v2/orders" if method == "POST" else "/v2/orders/5f1c9d4e-2b5a-5c1e-9a57-7b0d6c3f1a20"
    ask(broker, method, path, body)


@LIVELY
@given(
    path=PATHS,
    name=st.text(max_size=12),
    query=QUERIES,
    method=st.sampled_from(["GET", "DELETE", "PATCH", "PUT", "POST"]),
)
def test_paths_and_queries(broker: PaperBroker, path: str, name: str, query: dict[str, str], method: str) -> None:
    encoded = quote(name.encode("utf8", "surrogatepass"), safe="")
    query = {key: value.encode("utf8", "replace").decode() for key, value in query.items()}
    ask(broker, method, f"{path.format(encoded)}?{urlencode(query)}")


@LIVELY
@given(value=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200))
def test_headers(broker: PaperBroker, value: str) -> None:
    for name in ("APCA-API-KEY-ID", "Content-Type", "Accept"):
        ask(broker, "POST", "/v2/orders", b"{}", {"APCA-API-KEY-ID": broker.key, name: value})


@LIVELY
@given(
    path=st.sampled_from(["/stream", "/v2/iex", "/v1beta3/crypto/us"]),
    frames=st.lists(
        st.binary(max_size=50)
        | st.text(max_size=50)
        | st.dictionaries(
            st.sampled_from(["action", "data", "key", "secret", "trades", "quotes", "streams"]),
            VALUES | st.sampled_from(["auth", "listen", "subscribe", "mock-x", ["*"], {"streams": 5}, {"key_id": 1}]),
        ).map(json.dumps),
        max_size=4,
    ),
)
def test_frames(broker: PaperBroker, path: str, frames: list[Any]) -> None:
    with connect(broker.ws_url + path) as socket:
        try:
            for frame in frames:
                socket.send(frame.encode("utf8", "replace").decode() if isinstance(frame, str) else frame)
            socket.ping().wait(5)
        except ConnectionClosed:
            pass
    assert ask(broker, "GET", "/v2/clock") == 200
