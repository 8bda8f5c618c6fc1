"""An account: its cash and positions, what its open orders hold back, and what it can still buy.

Margin arithmetic, simplified from Reg T: stocks cost 1/multiplier of their value, coins cost all of it and cannot be
borrowed against. A fresh account has 100,000 USD (buying power 200,000) and no positions, as Alpaca's, or those that
the broker was started with.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

import msgspec

from paperbroker.assets import Asset
from paperbroker.fees import DayFees
from paperbroker.money import ZERO, dollars
from paperbroker.orders import Order, Side
from paperbroker.positions import Position
from paperbroker.prices.market import Prices

OPENING_CASH = Decimal(100_000)
MAINTENANCE = Decimal("0.3")
ONE = Decimal(1)

_NAMESPACE = uuid.UUID("0a4b6f5e-6e0c-5d0b-8e67-2f7c9f5a3d11")
_MARGIN = "margin"  # the pot of stock orders; coin orders reserve in the currency of their pair


def account_id_of(key: str) -> str:
    """The account of an API key, the same in every installation."""
    return str(uuid.uuid5(_NAMESPACE, key))


class Configuration(msgspec.Struct, forbid_unknown_fields=False):
    """`/v2/account/configurations`; `dtbp_check` and `pdt_check` are still required by some SDKs."""

    dtbp_check: str = "entry"
    fractional_trading: bool = True
    max_margin_multiplier: str = "2"
    max_options_trading_level: int = 0
    no_shorting: bool = False
    pdt_check: str = "entry"
    ptp_no_exception_entry: bool = False
    suspend_trade: bool = False
    trade_confirm_email: str = "all"
    disable_overnight_trading: bool = False


class AccountState(msgspec.Struct):
    """What is kept of an account. Cash in USD with 9 decimals.

    `day` is the New York day that `last_equity` precedes.
    """

    id: str
    key: str
    created_ns: int
    day: date
    cash: Decimal = OPENING_CASH
    last_equity: Decimal = OPENING_CASH
    positions: dict[str, Position] = {}
    fees: list[DayFees] = []
    configuration: Configuration = msgspec.field(default_factory=Configuration)
    status: str = "ACTIVE"
    account_blocked: bool = False
    trading_blocked: bool = False


class Figures(msgspec.Struct, frozen=True):
    """An account valued at current prices, USD. `short` is negative."""

    equity: Decimal
    long: Decimal
    short: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    buying_power: Decimal
    non_marginable: Decimal
    multiplier: Decimal


class Account:
    """The state, with the open orders and what they hold back."""

    def __init__(self, state: AccountState) -> None:
        self.state = state
        self.open_orders: dict[str, Order] = {}
        self._open_on: dict[tuple[str, Side], dict[str, Order]] = defaultdict(dict)
        self._reserved: dict[str, Decimal] = defaultdict(lambda: ZERO)
        self._held: dict[tuple[str, Side], Decimal] = defaultdict(lambda: ZERO)
        self._holds: dict[str, tuple[str, Decimal, tuple[str, Side], Decimal]] = {}

    @property
    def id(self) -> str:
        return self.state.id

    def qty(self, holding: str) -> Decimal:
        position = self.state.positions.get(holding)
        return position.qty if position else ZERO

    def held(self, holding: str, side: Side) -> Decimal:
        """What open orders of a side already hold of a position; coins set aside for paying count as being sold."""
        held = self._held[(holding, side)]
        if side is Side.SELL and holding.endswith("/USD"):
            held += self._reserved[holding.removesuffix("/USD")]
        return held

    def open_on(self, symbol: str, side: Side) -> Iterable[Order]:
        """The open orders of a symbol on one side, the oldest first."""
        return self._open_on[(symbol, side)].values()

    def reserved(self, currency: str) -> Decimal:
        return self._reserved[currency]

    def keep_hold(self, order: Order, asset: Asset) -> None:
        """Bring what an order holds back up to date; call it after every change of the order."""
        if not order.is_open:
            self.set_aside(order)
            return
        self.release(order)
        self.open_orders[order.id] = self._open_on[(order.symbol, order.side)][order.id] = order
        rest = order.open_notional if order.qty is None else order.hold_price * (order.qty - order.filled_qty)
        cost = rest if order.hold_price else ZERO
        pot = asset.quote_currency if asset.crypto else _MARGIN
        spot = (asset.holding, order.side)
        self._reserved[pot] += cost
        self._held[spot] += order.hold_qty
        self._holds[order.id] = (pot, cost, spot, order.hold_qty)

    def set_aside(self, order: Order) -> None:
        """Forget an order and what it holds."""
        self.release(order)
        self.open_orders.pop(order.id, None)
        self._open_on[(order.symbol, order.side)].pop(order.id, None)

    def release(self, order: Order) -> None:
        """What an order holds is free until `keep_hold` is called again; it stays in its place among the others."""
        if hold := self._holds.pop(order.id, None):
            pot, cost, spot, qty = hold
            self._reserved[pot] -= cost
            self._held[spot] -= qty

    def fees_of(self, day: date, symbol: str) -> DayFees:
        """Where the fees of a day and a coin's USD pair are summed up."""
        fees = next((fees for fees in self.state.fees if fees.day == day and fees.symbol == symbol), None)
        if fees is None:
            fees = DayFees(day, symbol)
            self.state.fees.append(fees)
        return fees

    def book(
        self, asset: Asset, side: Side, *, qty: Decimal, price: Decimal, fee: Decimal, prices: Prices, ns: int
    ) -> None:
        """Apply an execution: position, cash (or the coins that paid), and the fee, which the credited side bears."""
        value = dollars(qty * price)
        signed = qty if side is Side.BUY else -qty
        coin_fee, quote_fee = (fee, ZERO) if side is Side.BUY else (ZERO, fee)
        in_dollars = price
        if asset.quote_currency == "USD":
            self.state.cash -= value if side is Side.BUY else -value
            self.state.cash -= quote_fee
        else:
            paid_with = f"{asset.quote_currency}/USD"
            rate = prices.reckoned(paid_with)
            in_dollars = price * rate
            self._trade(paid_with, (-value if side is Side.BUY else value) - quote_fee, rate, ns)
        self._trade(asset.holding, signed, in_dollars, ns)
        if coin_fee and (position := self.state.positions.get(asset.holding)):
            position.take(coin_fee)
            self._drop_if_flat(position)

    def unbook(
        self,
        asset: Asset,
        side: Side,
        *,
        qty: Decimal,
        price: Decimal,
        fee: Decimal,
        day: date,
        prices: Prices,
        ns: int,
    ) -> None:
        """Take an execution of a day back with its fee, as if it had not happened."""
        in_dollars = asset.quote_currency == "USD"
        rate = ONE if in_dollars else prices.reckoned(f"{asset.quote_currency}/USD")
        if fee and side is Side.BUY:
            self._trade(asset.holding, fee, price * rate, ns)
        self.book(asset, side.opposite, qty=qty, price=price, fee=ZERO, prices=prices, ns=ns)
        if fee and side is Side.SELL and in_dollars:
            self.state.cash += fee
        elif fee and side is Side.SELL:
            self._trade(f"{asset.quote_currency}/USD", fee, rate, ns)
        if fee:
            self._forget_fee(asset, side, fee, day)

    def _forget_fee(self, asset: Asset, side: Side, fee: Decimal, day: date) -> None:
        """What has not been posted yet is not posted any more."""
        in_coin = side is Side.BUY or asset.quote_currency != "USD"
        symbol = f"{asset.quote_currency}/USD" if side is Side.SELL and in_coin else asset.holding
        noted = next((fees for fees in self.state.fees if fees.day == day and fees.symbol == symbol), None)
        if noted is not None:
            noted.forget(fee if in_coin else ZERO, ZERO if in_coin else fee)
            if not noted.coin and not noted.dollars:
                self.state.fees.remove(noted)

    def _trade(self, holding: str, signed_qty: Decimal, price: Decimal, ns: int) -> None:
        position = self.state.positions.setdefault(holding, Position(holding))
        position.trade(signed_qty, price, ns)
        self._drop_if_flat(position)

    def _drop_if_flat(self, position: Position) -> None:
        if position.qty == 0:
            del self.state.positions[position.symbol]

    def figures(self, prices: Prices) -> Figures:
        """Value the account; what open orders hold back is taken from the buying powers."""
        coins = stocks = short = ZERO
        for holding, position in self.state.positions.items():
            value = position.qty * price_of(position, prices)
            if "/" in holding:
                coins += value
            elif value < 0:
                short += value
            else:
                stocks += value
        multiplier = Decimal(self.state.configuration.max_margin_multiplier)
        cash = self.state.cash
        initial_margin = (stocks - short) / multiplier
        unused = cash + stocks + short - initial_margin
        reserved = self._reserved[_MARGIN] / multiplier + self._reserved["USD"]
        return Figures(
            equity=cash + coins + stocks + short,
            long=stocks + coins,
            short=short,
            initial_margin=initial_margin,
            maintenance_margin=(stocks - short) * MAINTENANCE,
            buying_power=max(ZERO, (unused - reserved) * multiplier),
            non_marginable=max(ZERO, min(cash + short, unused) - reserved),
            multiplier=multiplier,
        )


def price_of(position: Position, prices: Prices) -> Decimal:
    """What a position is valued at: the current price; its own entry price while there is none (a tape without it)."""
    current = prices.current(position.symbol)
    return position.avg_entry_price if current is None else current


def open_account(
    key: str, holdings: Mapping[str, Decimal], prices: Prices, ns: int, day: date, cash: Decimal = OPENING_CASH
) -> Account:
    """A fresh account that holds so much of each symbol, entered at the price of the moment."""
    state = AccountState(account_id_of(key), key, ns, day, cash)
    state.positions = {symbol: Position(symbol, qty, prices.reckoned(symbol), ns) for symbol, qty in holdings.items()}
    account = Account(state)
    state.last_equity = account.figures(prices).equity
    return account
