"""Alpaca's records become ours exactly, and what contradicts the protocol is not guessed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.broker import translate, wire
from oms.broker.symbols import SymbolBook
from oms.broker.wire import Unreadable, decoded
from oms.domain.instruments import Instrument
from oms.domain.orders import OrderStatus
from oms.domain.reports import BrokerOrder, OrderUpdate, UpdateKind
from oms.domain.values import AssetClass, Side, TimeInForce

ORDER = {
    "id": "61e69015-8549-4bfd-b9c3-01e75843f47d",
    "client_order_id": "t1-abc",
    "created_at": "2026-07-01T13:30:00.123456789Z",
    "updated_at": "2026-07-01T13:30:01.5Z",
    "submitted_at": "2026-07-01T13:30:00.223456999Z",
    "filled_at": None,
    "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
    "symbol": "AAPL",
    "asset_class": "us_equity",
    "notional": None,
    "qty": "10.5",
    "filled_qty": "0",
    "filled_avg_price": None,
    "order_class": "",
    "order_type": "limit",
    "type": "limit",
    "side": "buy",
    "time_in_force": "day",
    "limit_price": "190.10",
    "status": "new",
    "extended_hours": False,
    "legs": None,
    "something_new": {"unheard": ["of"]},
}

OPEN_WORDS = (
    "new", "accepted", "pending_new", "accepted_for_bidding", "stopped", "suspended", "calculated", "done_for_day",
    "pending_cancel", "pending_replace", "pending_review", "a_word_of_tomorrow",
)  # fmt: skip
OTHER_EVENTS = (
    "done_for_day", "stopped", "pending_cancel", "pending_replace", "calculated", "suspended",
    "order_replace_rejected", "order_cancel_rejected", "a_word_of_tomorrow",
)  # fmt: skip


def wire_order(**changes: object) -> wire.Order:
    return decoded(wire.ORDER, json.dumps({**ORDER, **changes}).encode())


def order(book: SymbolBook | None = None, **changes: object) -> BrokerOrder:
    found = translate.order(wire_order(**changes), book or SymbolBook())
    assert found is not None
    return found


def test_an_order_is_read_with_all_that_we_keep() -> None:
    found = order()
    assert found == BrokerOrder(
        broker_order_id=ORDER["id"],
        client_order_id="t1-abc",
        symbol="AAPL",
        asset_class=AssetClass.STOCK,
        side=Side.BUY,
        qty=Decimal("10.5"),
        type="limit",
        time_in_force=TimeInForce.DAY,
        status=OrderStatus.SUBMITTED,
        broker_status="new",
        filled_qty=Decimal(0),
        filled_avg_price=None,
        limit_price=Decimal("190.10"),
        submitted_at=datetime(2026, 7, 1, 13, 30, 0, 223456, tzinfo=UTC),
        updated_at=datetime(2026, 7, 1, 13, 30, 1, 500000, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("word", "filled", "expected"),
    [
        *[
            (word, filled, status)
            for word in OPEN_WORDS
            for filled, status in (("0", OrderStatus.SUBMITTED), ("3", OrderStatus.PARTIALLY_FILLED))
        ],
        ("partially_filled", "3", OrderStatus.PARTIALLY_FILLED),
        ("held", "0", OrderStatus.HELD),
        ("held", None, OrderStatus.HELD),
        ("filled", "10.5", OrderStatus.FILLED),
        ("canceled", "0", OrderStatus.CANCELLED),
        ("canceled", "3", OrderStatus.CANCELLED),
        ("expired", "3", OrderStatus.EXPIRED),
        ("rejected", "0", OrderStatus.REJECTED),
        ("replaced", "3", OrderStatus.REPLACED),
    ],
)
def test_a_status_becomes_ours(word: str, filled: str | None, expected: OrderStatus) -> None:
    found = order(status=word, filled_qty=filled)
    assert (found.status, found.broker_status) == (expected, word)


def test_an_external_orders_unknown_type_passes_through() -> None:
    found = order(type="peg_to_moon", order_type="peg_to_moon", time_in_force="gtx", qty=None)
    assert (found.type, found.time_in_force, found.qty) == ("peg_to_moon", TimeInForce.DAY, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"asset_class": "us_option", "symbol": "AAPL240119C00100000"},
        {"asset_class": "", "order_class": "mleg", "symbol": None, "side": None},
        {"asset_class": "us_equity", "order_class": "mleg"},
        {"asset_class": "crypto_perp", "symbol": "BTC-PERP"},
        {"asset_class": None, "symbol": "AAPL240119C00100000"},
    ],
)
def test_orders_of_other_asset_classes_are_skipped(changes: dict[str, object]) -> None:
    assert translate.order(wire_order(**changes), SymbolBook()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"side": "both"},
        {"status": None},
        {"submitted_at": None, "created_at": None},
        {"submitted_at": "yesterday"},
        {"submitted_at": "2026-07-01T13:30:00"},
        {"qty": "NaN"},
        {"filled_qty": "Infinity"},
        {"limit_price": "1e999"},
    ],
)
def test_what_contradicts_the_protocol_is_unreadable(changes: dict[str, object]) -> None:
    with pytest.raises(Unreadable):
        translate.order(wire_order(**changes), SymbolBook())


@pytest.mark.parametrize(
    "body", [b"", b"{", b"<html>", b"null", b"[]", b'{"id": 7}', b'{"id": "a", "qty": "x"}', b'"\xff"']
)
def test_bodies_of_another_shape_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        decoded(wire.ORDER, body)


digits = st.integers(min_value=0, max_value=10**24)


@given(whole=digits, decimals=st.text("0123456789", min_size=1, max_size=24), as_text=st.booleans())
def test_numbers_are_read_exactly_whether_string_or_json_number(whole: int, decimals: str, as_text: bool) -> None:
    text = f"{whole}.{decimals}"
    value = f'"{text}"' if as_text else text
    message = decoded(wire.DATA_MESSAGE, f'{{"T":"t","S":"A","p":{value}}}'.encode())
    assert message.price is not None
    assert str(message.price) == str(Decimal(text))


@pytest.mark.parametrize(
    "text", ["0.1", "0.30000000000000004", "67123.456789012345678901234567", "1e-7", "100", "1E+2"]
)
def test_json_numbers_never_pass_through_a_float(text: str) -> None:
    assert str(decoded(wire.DATA_MESSAGE, f'{{"bp":{text}}}'.encode()).bid) == str(Decimal(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-01T13:30:00Z", datetime(2026, 7, 1, 13, 30, tzinfo=UTC)),
        ("2026-07-01T13:30:00.1Z", datetime(2026, 7, 1, 13, 30, 0, 100000, tzinfo=UTC)),
        ("2026-07-01T13:30:00.123456999Z", datetime(2026, 7, 1, 13, 30, 0, 123456, tzinfo=UTC)),
        ("2026-07-01T13:30:00.999999999Z", datetime(2026, 7, 1, 13, 30, 0, 999999, tzinfo=UTC)),
        ("2026-07-01T09:30:00.5-04:00", datetime(2026, 7, 1, 13, 30, 0, 500000, tzinfo=UTC)),
    ],
)
def test_nanoseconds_are_cut_off_and_never_rounded_up(text: str, expected: datetime) -> None:
    found = translate.moment(text, "t")
    assert (found, found.utcoffset()) == (expected, timedelta(0))


def update(**changes: object) -> OrderUpdate:
    message = {
        "event": "partial_fill",
        "execution_id": "e-1",
        "timestamp": "2026-07-01T13:30:02.000000001Z",
        "price": "190.05",
        "qty": "2",
        "position_qty": "5",
        "order": {**ORDER, "status": "partially_filled", "filled_qty": "5"},
        **changes,
    }
    found = translate.update(decoded(wire.TRADE_UPDATE, json.dumps(message).encode()), SymbolBook())
    assert found is not None
    return found


def test_a_fill_of_the_stream_has_its_own_quantity_and_the_orders_cumulative_one() -> None:
    found = update()
    assert found.kind is UpdateKind.FILL
    assert found.event == "partial_fill"
    assert found.fill is not None
    assert (found.fill.qty, found.fill.cum_qty, found.fill.price) == (Decimal(2), Decimal(5), Decimal("190.05"))
    assert (found.fill.execution_id, found.fill.activity_id) == ("e-1", None)
    assert found.fill.transacted_at == datetime(2026, 7, 1, 13, 30, 2, tzinfo=UTC)


@pytest.mark.parametrize("missing", ["qty", "price", "timestamp"])
def test_a_fill_without_its_numbers_is_unreadable(missing: str) -> None:
    with pytest.raises(Unreadable):
        update(**{missing: None})


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("fill", UpdateKind.FILL),
        ("canceled", UpdateKind.CANCELLED),
        ("expired", UpdateKind.EXPIRED),
        ("rejected", UpdateKind.REJECTED),
        ("replaced", UpdateKind.REPLACED),
        *[(word, UpdateKind.ACCEPTED) for word in ("new", "accepted", "pending_new", "held")],
        *[(word, UpdateKind.RESTATED) for word in ("restated", "trade_bust", "trade_correct")],
        *[(word, UpdateKind.OTHER) for word in OTHER_EVENTS],
    ],
)
def test_an_event_is_of_the_kind_that_it_says(event: str, kind: UpdateKind) -> None:
    found = update(event=event)
    assert (found.kind, found.event, found.fill is None) == (kind, event, kind is not UpdateKind.FILL)


def test_a_rejection_says_why() -> None:
    assert update(event="rejected", reason="no such luck").reason == "no such luck"


COINS = [
    Instrument("BTC/USD", AssetClass.CRYPTO, "id-btc-usd"),
    Instrument("BTC/USDT", AssetClass.CRYPTO, "id-btc-usdt"),
    Instrument("USDT/USD", AssetClass.CRYPTO, "id-usdt-usd"),
    Instrument("ETH/BTC", AssetClass.CRYPTO, "id-eth-btc"),
    Instrument("ABCUSD", AssetClass.STOCK, "id-odd"),
]


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    ("spelling", "pair", "holding"),
    [
        ("BTC/USD", "BTC/USD", "BTC/USD"),
        ("BTCUSD", "BTC/USD", "BTC/USD"),
        ("btcusd", "BTC/USD", "BTC/USD"),
        ("BTCUSDT", "BTC/USDT", "BTC/USD"),
        ("BTCUSDC", "BTC/USDC", "BTC/USD"),
        ("USDTUSD", "USDT/USD", "USDT/USD"),
        ("ETHBTC", "ETH/BTC", "ETH/USD"),
        ("DOGE", "DOGE/USD", "DOGE/USD"),
    ],
)
def test_a_coins_symbol_is_understood_in_any_spelling(spelling: str, pair: str, holding: str, learned: bool) -> None:
    book = SymbolBook()
    if learned:
        book.learn(COINS)
    assert (book.pair(spelling), book.holding(spelling)) == (pair, holding)


def test_the_assets_id_wins_over_the_spelling() -> None:
    book = SymbolBook()
    book.learn(COINS)
    assert book.pair("WHATEVER", "id-btc-usdt") == "BTC/USDT"


def test_an_activitys_symbol_is_read_by_the_asset_list_and_by_its_look_before() -> None:
    book = SymbolBook()
    assert [book.traded(text) for text in ("AAPL", "BRK.B", "BTCUSD", "BTC/USD", "AAPL240119C00100000")] == [
        "AAPL", "BRK.B", "BTC/USD", "BTC/USD", None
    ]  # fmt: skip
    assert book.traded("ABCUSD") == "ABC/USD"
    book.learn(COINS)
    assert book.traded("ABCUSD") == "ABCUSD"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"symbol": "AAPL", "asset_class": "us_equity", "qty": "10", "side": "long"}, ("AAPL", Decimal(10))),
        ({"symbol": "AAPL", "asset_class": "us_equity", "qty": "-10", "side": "short"}, ("AAPL", Decimal(-10))),
        ({"symbol": "AAPL", "asset_class": "us_equity", "qty": "10", "side": "short"}, ("AAPL", Decimal(-10))),
        ({"symbol": "BTCUSD", "asset_class": "crypto", "qty": "0.09975"}, ("BTC/USD", Decimal("0.09975"))),
        ({"symbol": "BTCUSDT", "asset_class": "crypto", "qty": "1"}, ("BTC/USD", Decimal(1))),
        ({"symbol": "AAPL240119C00100000", "asset_class": "us_option", "qty": "1"}, None),
    ],
)
def test_a_position_is_signed_and_a_coin_is_under_its_usd_pair(
    record: dict[str, str], expected: tuple[str, Decimal] | None
) -> None:
    body = json.dumps([{"avg_entry_price": "1.5", **record}]).encode()
    found = translate.position(decoded(wire.POSITIONS, body)[0], SymbolBook())
    assert (None if found is None else (found.symbol, found.qty)) == expected


def test_a_fill_activity_is_read() -> None:
    record = {
        "id": "20260701093002000::8efc7b9a", "activity_type": "FILL", "type": "partial_fill", "order_id": "o-1",
        "symbol": "BTC/USD", "side": "sell_short", "qty": "0.5", "price": "67000.1", "cum_qty": "0.75",
        "leaves_qty": "0.25", "transaction_time": "2026-07-01T13:30:02.123456789Z",
    }  # fmt: skip
    found = translate.fill(decoded(wire.FILLS, json.dumps([record]).encode())[0], SymbolBook())
    assert found is not None
    assert (found.symbol, found.side, found.qty, found.cum_qty) == (
        "BTC/USD", Side.SELL, Decimal("0.5"), Decimal("0.75")
    )  # fmt: skip
    assert (found.activity_id, found.execution_id) == ("20260701093002000::8efc7b9a", None)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"id": "20220812000000000::53be", "date": "2022-08-12", "net_amount": "0", "symbol": "ETHUSD",
             "qty": "-0.000195", "price": "1884.5", "status": "executed"},
            ("ETH/USD", "2022-08-12", Decimal("-0.000195"), Decimal("1884.5"), Decimal(0)),
        ),
        (
            {"id": "20220812000000000::53be", "net_amount": "-1.25", "symbol": "BTCUSDT"},
            ("BTC/USD", "2022-08-12", Decimal(0), None, Decimal("-1.25")),
        ),
        ({"id": "x", "symbol": "BTCUSD", "qty": "-1", "status": "canceled"}, None),
        ({"id": "x", "symbol": None, "net_amount": "-1"}, None),
    ],
)  # fmt: skip
def test_a_crypto_fee_is_in_coin_or_in_dollars(record: dict[str, str], expected: tuple[object, ...] | None) -> None:
    found = translate.fee(decoded(wire.FEES, json.dumps([record]).encode())[0], SymbolBook())
    assert (None if found is None else (found.symbol, found.day, found.qty, found.price, found.cash)) == expected


def test_an_asset_keeps_its_increments_and_lacks_what_the_broker_does_not_name() -> None:
    body = json.dumps([
        {"id": "a", "class": "us_equity", "symbol": "AAPL", "tradable": True, "fractionable": True, "shortable": True},
        {"id": "b", "class": "crypto", "symbol": "BTC/USD", "name": "Bitcoin", "tradable": True,
         "min_order_size": "0.0001", "min_trade_increment": "0.000000001", "price_increment": "0"},
        {"id": "c", "class": "us_option", "symbol": "AAPL240119C00100000"},
    ]).encode()  # fmt: skip
    stock, coin, option = (translate.instrument(record, SymbolBook()) for record in decoded(wire.ASSETS, body))
    assert stock == Instrument("AAPL", AssetClass.STOCK, "a", fractionable=True, shortable=True)
    assert coin is not None
    assert (coin.qty_min, coin.qty_increment, coin.price_increment) == (Decimal("0.0001"), Decimal("1e-9"), None)
    assert option is None


def test_the_account_and_the_clock_are_read() -> None:
    body = b"""{"id": "acc", "account_number": "PA1", "status": "ACTIVE", "currency": "USD", "cash": "-12.50",
        "portfolio_value": "100000", "equity": "100000.01", "buying_power": "200000", "crypto_tier": 1,
        "trading_blocked": false, "account_blocked": true}"""
    account = translate.account(decoded(wire.ACCOUNT, body))
    assert (account.cash, account.equity, account.trading_blocked) == (Decimal("-12.50"), Decimal("100000.01"), True)
    body = b"""{"timestamp": "2026-07-01T09:30:00.123456789-04:00", "is_open": true,
        "next_open": "2026-07-02T09:30:00-04:00", "next_close": "2026-07-01T16:00:00-04:00"}"""
    clock = translate.clock(decoded(wire.CLOCK, body))
    assert clock.at == datetime(2026, 7, 1, 13, 30, 0, 123456, tzinfo=UTC)
    assert clock.next_change == datetime(2026, 7, 1, 20, 0, tzinfo=UTC)
