"""What fills do to holdings, cash and buying power."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperbroker.account_json import account_json, position_json
from paperbroker.accounts import Account, account_id_of, open_account
from paperbroker.assets import Assets
from paperbroker.fees import fee
from paperbroker.money import ZERO, parse, text
from paperbroker.orders import Side
from paperbroker.positions import Position
from paperbroker.prices.market import Prices
from paperbroker.prices.quotes import Quote

ASSETS = Assets()
D = Decimal


@pytest.fixture
def prices() -> Prices:
    prices = Prices()
    for symbol, bid, ask in (("AAPL", "229.99", "230"), ("BTC/USD", "80000", "80010"), ("USDT/USD", "1", "1.0001")):
        prices.quote(Quote(symbol, 1, D(bid), D(ask), 100, 100))
    return prices


@pytest.fixture
def account(prices: Prices) -> Account:
    return open_account("mock", {"BTC/USD": D("0.5")}, prices, 1, date(2026, 11, 23))


def book(account: Account, prices: Prices, symbol: str, side: Side, qty: str, price: str, fee: str = "0") -> None:
    account.book(ASSETS[symbol], side, qty=D(qty), price=D(price), fee=D(fee), prices=prices, ns=2)


def test_increasing_weighs_the_average_reducing_leaves_it_and_crossing_starts_anew() -> None:
    position = Position("AAPL")
    position.trade(D(10), D(100), 1)
    position.trade(D(30), D(200), 2)
    assert (position.qty, position.avg_entry_price, position.opened_ns) == (40, 175, 1)
    position.trade(D(-15), D(300), 3)
    assert (position.qty, position.avg_entry_price) == (25, 175)
    position.trade(D(-35), D(50), 4)
    assert (position.qty, position.avg_entry_price, position.opened_ns) == (-10, 50, 4)
    position.trade(D(-10), D(60), 5)
    assert (position.qty, position.avg_entry_price) == (-20, 55)


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**7)), min_size=1, max_size=20))
def test_the_average_of_buys_is_within_their_prices(trades: list[tuple[int, int]]) -> None:
    position = Position("AAPL")
    for qty, cents in trades:
        position.trade(D(qty), D(cents) / 100, 1)
    prices = [D(cents) / 100 for _, cents in trades]
    assert min(prices) - D("1e-9") <= position.avg_entry_price <= max(prices) + D("1e-9")


def test_a_taker_who_buys_a_tenth_of_a_coin_gets_less_a_quarter_percent(account: Account, prices: Prices) -> None:
    charged = fee(D("0.1"), maker=False)
    assert charged == D("0.00025")
    book(account, prices, "BTC/USD", Side.BUY, "0.1", "80010", str(charged))
    assert account.qty("BTC/USD") == D("0.59975")
    assert account.state.cash == D(100_000) - 8001


def test_fees_are_rounded_up_to_nine_decimals() -> None:
    assert fee(D("0.000000001"), maker=True) == D("0.000000001")
    assert fee(D("0.333333333"), maker=True) == D("0.0005")
    assert fee(D("0.123456789"), maker=False) == D("0.000308642")


@given(st.decimals(D("0.000000001"), D(10**6), places=9), st.booleans())
def test_a_fee_is_never_more_than_what_is_credited(credited: Decimal, maker: bool) -> None:
    assert 0 < fee(credited, maker=maker) <= credited


def test_a_seller_of_coins_pays_in_dollars(account: Account, prices: Prices) -> None:
    book(account, prices, "BTC/USD", Side.SELL, "0.1", "80000", "20")
    assert account.state.cash == D(107_980)
    assert account.qty("BTC/USD") == D("0.4")


def test_a_pair_in_another_currency_is_paid_with_that_coin_and_held_as_the_coin(
    account: Account, prices: Prices
) -> None:
    book(account, prices, "USDT/USD", Side.BUY, "10000", "1")
    book(account, prices, "BTC/USDT", Side.BUY, "0.1", "80000", "0.00025")
    assert account.qty("USDT/USD") == 2000
    assert account.qty("BTC/USD") == D("0.59975")
    assert "BTC/USDT" not in account.state.positions


@pytest.mark.parametrize("symbol", ["BTC/USD", "BTC/USDT"])
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_what_is_taken_back_leaves_nothing_behind(account: Account, prices: Prices, symbol: str, side: Side) -> None:
    book(account, prices, "USDT/USD", Side.BUY, "10000", "1")
    fees = [account.fees_of(date(2026, 11, 23), coin) for coin in ("BTC/USD", "USDT/USD")]
    before = (account.state.cash, account.qty("BTC/USD"), account.qty("USDT/USD"))
    charged = D("0.00025") if side is Side.BUY else D(20)
    book(account, prices, symbol, side, "0.1", "80000", str(charged))
    noted = fees[1] if side is Side.SELL and symbol == "BTC/USDT" else fees[0]
    in_dollars = side is Side.SELL and symbol == "BTC/USD"
    noted.coin, noted.value, noted.dollars = (ZERO, ZERO, charged) if in_dollars else (charged, charged, ZERO)
    account.unbook(
        ASSETS[symbol], side, qty=D("0.1"), price=D(80000), fee=charged, day=date(2026, 11, 23), prices=prices, ns=3
    )
    assert (account.state.cash, account.qty("BTC/USD"), account.qty("USDT/USD")) == before
    assert noted not in account.state.fees
    assert (noted.coin, noted.value, noted.dollars) == (0, 0, 0)


def test_a_fresh_account_has_twice_its_cash_to_buy_stocks_with(account: Account, prices: Prices) -> None:
    figures = account.figures(prices)
    assert (figures.buying_power, figures.non_marginable, figures.equity) == (200_000, 100_000, 140_000)
    assert account.id == account_id_of("mock")


def test_stocks_use_half_their_value_coins_all_of_it_shorts_as_longs(account: Account, prices: Prices) -> None:
    book(account, prices, "AAPL", Side.BUY, "100", "229.99")
    assert account.figures(prices).buying_power == 200_000 - D("22999")
    book(account, prices, "BTC/USD", Side.BUY, "0.1", "80000")
    assert account.figures(prices).buying_power == 200_000 - D("22999") - 16_000
    book(account, prices, "AAPL", Side.SELL, "200", "229.99")
    figures = account.figures(prices)
    assert figures.short == D("-22999")
    assert figures.buying_power == 200_000 - D("22999") - 16_000
    assert figures.equity == 140_000


def test_a_position_at_zero_disappears(account: Account, prices: Prices) -> None:
    book(account, prices, "AAPL", Side.BUY, "10", "230")
    book(account, prices, "AAPL", Side.SELL, "10", "230")
    assert "AAPL" not in account.state.positions


def test_money_and_quantities_are_strings_on_the_wire(account: Account, prices: Prices) -> None:
    body = account_json(account, account.figures(prices))
    assert body["cash"] == "100000"
    position = position_json(account.state.positions["BTC/USD"], ASSETS["BTC/USD"], account, prices, 2)
    assert (position["symbol"], position["qty"], position["market_value"]) == ("BTCUSD", "0.5", "40000")
    assert all(isinstance(position[name], str) for name in position if name != "asset_marginable")


@pytest.mark.parametrize(
    ("value", "written"),
    [("1E-9", "0.000000001"), ("1E+3", "1000"), ("-0.00", "0"), ("10.50", "10.5"), ("100", "100"), ("-3.10", "-3.1")],
)
def test_numbers_are_written_without_exponent_and_trailing_zeros(value: str, written: str) -> None:
    assert text(D(value)) == written


@pytest.mark.parametrize(
    "given", ["", "abc", "NaN", "Infinity", "1e400", "1e13", True, None, [], "1" * 65, "--1", "٣", 10**30]
)
def test_what_is_no_number_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(given)


@pytest.mark.parametrize(
    ("given", "read"), [(" 1.5 ", "1.5"), (7, "7"), (D("0.1"), "0.1"), ("1e2", "100"), (".5", "0.5")]
)
def test_numbers_are_read_from_strings_and_numbers(given: object, read: str) -> None:
    assert parse(given) == D(read)
    assert ZERO == 0
