"""An order request against the account: what it would hold back, or why it is refused (403, 422 in Alpaca's words)."""

from collections.abc import Iterable
from decimal import ROUND_UP, Decimal

import msgspec

from paperbroker.accounts import Account
from paperbroker.assets import Asset
from paperbroker.errors import (
    Refusal,
    forbidden,
    insufficient_balance,
    insufficient_buying_power,
    insufficient_qty,
    unprocessable,
    wash_trade,
)
from paperbroker.exits import check_new_exits
from paperbroker.intake import OrderRequest
from paperbroker.money import NINE_DECIMALS, ZERO, text
from paperbroker.orders import Order, OrderClass, OrderType, Side
from paperbroker.prices.market import Prices

SHORT_MARGIN = Decimal("1.03")  # a short sale is reckoned at 3 % above the ask (Alpaca, "Buying power")
SMALLEST_EQUITY_FOR_SHORTS = Decimal(2000)
SMALLEST_COIN_COST = Decimal(10)
SMALLEST_STOCK_COST = Decimal(1)


class Hold(msgspec.Struct, frozen=True):
    """What an accepted order holds back: buying power at `price` for each unit, `qty` of the position."""

    price: Decimal
    qty: Decimal
    intent: str


def check(request: OrderRequest, account: Account, prices: Prices, *, filled: Decimal = ZERO) -> Hold:
    """Accept a request; by a replacement it is for what the old order has not `filled`. Raises Refusal."""
    check_account(account)
    configuration = account.state.configuration
    if request.fractional and not request.asset.crypto and not configuration.fractional_trading:
        raise forbidden("fractional trading is not enabled for this account")
    _check_wash_trade(request, account.open_on(request.asset.symbol, request.side.opposite))
    check_new_exits(request, prices)
    hold = _hold(request, account, prices, filled)
    if request.position_intent and request.position_intent != hold.intent:
        raise unprocessable(f"position intent mismatch, inferred: {hold.intent}, specified: {request.position_intent}")
    _check_class(request, hold)
    return hold


def check_account(account: Account) -> None:
    """Whether it may trade at all. Raises Refusal."""
    if account.state.account_blocked or account.state.status != "ACTIVE":
        raise forbidden("account is not active")
    if account.state.trading_blocked:
        raise forbidden("trading is blocked for this account")
    if account.state.configuration.suspend_trade:
        raise forbidden("new orders are rejected by user request")


def check_stop_is_ahead(request: OrderRequest, prices: Prices) -> None:
    """A new stop order that the price has passed would be a market order; Alpaca refuses it, in session or not."""
    price, stop = prices.current(request.asset.symbol), request.stop_price
    if request.type is not OrderType.STOP or price is None or stop is None:
        return
    buying = request.side is Side.BUY
    if stop <= price if buying else stop >= price:
        than = "greater" if buying else "less"
        extra = {"market_price": text(price), "stop_price": text(stop)}
        raise unprocessable(f"stop price must be {than} than current price", **extra)


def _hold(request: OrderRequest, account: Account, prices: Prices, filled: Decimal) -> Hold:
    position = account.qty(request.asset.holding)
    if request.side is Side.BUY:
        return _check_cover(request, account, prices) if position < 0 else _check_buy(request, account, prices, filled)
    if position > 0 or request.asset.crypto:
        return _check_sell(request, account, prices)
    return _check_short(request, account, prices)


def _check_class(request: OrderRequest, hold: Hold) -> None:
    """A bracket and an OTO open a position, an OCO closes one."""
    if request.order_class == OrderClass.OCO and hold.intent.endswith("open"):
        raise unprocessable("oco orders must be exit orders")
    if request.order_class in {OrderClass.BRACKET, OrderClass.OTO} and hold.intent.endswith("close"):
        raise unprocessable(f"{request.order_class} orders must be entry orders")


def _check_wash_trade(request: OrderRequest, opposite: Iterable[Order]) -> None:
    """Alpaca's table: an open opposite market or stop order, or a new one, is refused.

    Orders with limits only when they could meet. Bracket, OCO and OTO orders and trailing stops are exempt, on either
    side.
    """
    if request.complex or request.type is OrderType.TRAILING_STOP:
        return
    for order in opposite:
        if _exempt(order):
            continue
        if order.limit_price is None:
            raise wash_trade(order.id, "opposite side market/stop order exists")
        if request.limit_price is None:
            raise wash_trade(order.id, "opposite side limit order exists")
        buying, selling = request.limit_price, order.limit_price
        if request.side is Side.SELL:
            buying, selling = selling, buying
        if buying >= selling:
            raise wash_trade(order.id, "opposite side limit order exists")


def _exempt(order: Order) -> bool:
    return order.is_complex or order.type is OrderType.TRAILING_STOP


def _check_buy(request: OrderRequest, account: Account, prices: Prices, filled: Decimal) -> Hold:
    asset = request.asset
    price = _worst_price(request, prices)
    cost = request.notional if request.qty is None or request.notional is not None else request.qty * price
    assert cost is not None  # noqa: S101  (one of the two is given)
    _check_smallest_cost(asset, cost + filled * price, prices)
    if asset.quote_currency != "USD":
        _check_balance(asset, account, cost)
        return Hold(price, ZERO, "buy_to_open")
    figures = account.figures(prices)
    available = figures.non_marginable if asset.crypto else figures.buying_power
    if cost > available:
        raise insufficient_buying_power(available, cost)
    return Hold(price, ZERO, "buy_to_open")


def _check_smallest_cost(asset: Asset, cost: Decimal, prices: Prices) -> None:
    """Coins are bought for 10 USD at least, in another currency for its worth; stocks for one."""
    smallest = SMALLEST_COIN_COST if asset.crypto else SMALLEST_STOCK_COST
    rate = Decimal(1) if asset.quote_currency == "USD" else prices.reckoned(f"{asset.quote_currency}/USD")
    if cost * rate < smallest:
        raise forbidden(f"cost basis must be >= minimal amount of order {smallest}")


def _check_balance(asset: Asset, account: Account, cost: Decimal) -> None:
    currency = asset.quote_currency
    balance = account.qty(f"{currency}/USD")
    available = balance - account.held(f"{currency}/USD", Side.SELL)
    if cost > available:
        raise insufficient_balance(currency, currency, cost, balance, max(available, ZERO))


def _check_cover(request: OrderRequest, account: Account, prices: Prices) -> Hold:
    """Buying back a short position; going through zero in one order is refused, as for a long one."""
    existing = -account.qty(request.asset.holding)
    qty = _quantity(request, prices)
    _check_available(request, account, existing, qty)
    return Hold(ZERO, qty, "buy_to_close")


def _check_sell(request: OrderRequest, account: Account, prices: Prices) -> Hold:
    qty = _quantity(request, prices)
    _check_available(request, account, account.qty(request.asset.holding), qty)
    return Hold(ZERO, qty, "sell_to_close")


def _check_available(request: OrderRequest, account: Account, existing: Decimal, qty: Decimal) -> None:
    held = account.held(request.asset.holding, request.side)
    available = max(existing - held, ZERO)
    if qty <= available:
        return
    asset = request.asset
    if asset.crypto:
        raise insufficient_balance(asset.coin, asset.quote_currency, qty, existing, available)
    related = [order.id for order in account.open_on(asset.symbol, request.side) if order.hold_qty]
    raise insufficient_qty(asset.compact, qty, available, existing, held, related)


def _check_short(request: OrderRequest, account: Account, prices: Prices) -> Hold:
    if refusal := _no_short(request, account):
        raise refusal
    highest = max(request.limit_price or ZERO, request.stop_price or ZERO)
    price = max(highest, _ask(request.asset.symbol, prices) * SHORT_MARGIN)
    figures = account.figures(prices)
    if figures.equity < SMALLEST_EQUITY_FOR_SHORTS:
        raise forbidden("account is not allowed to short")
    cost = price * (request.qty or ZERO)
    if cost > figures.buying_power:
        raise insufficient_buying_power(figures.buying_power, cost)
    return Hold(price, ZERO, "sell_to_open")


def _no_short(request: OrderRequest, account: Account) -> Refusal | None:
    if account.state.configuration.no_shorting:
        return forbidden("account is not allowed to short")
    if request.fractional:
        return unprocessable("fractional orders cannot be sold short")
    if not request.asset.shortable:
        return unprocessable(f'asset "{request.asset.symbol}" cannot be sold short')
    return None


def _worst_price(request: OrderRequest, prices: Prices) -> Decimal:
    """What a buy is reckoned at: its limit; a stop at its stop price, if that is above the ask; else the ask."""
    if request.limit_price is not None:
        return request.limit_price
    ask = _ask(request.asset.symbol, prices)
    trail = request.trail_price or (request.trail_percent or ZERO) / 100 * ask
    return max(ask, request.stop_price or ZERO, ask + trail)


def _ask(symbol: str, prices: Prices) -> Decimal:
    quote = prices.quotes.get(symbol)
    return quote.ask if quote and quote.ask > 0 else prices.reckoned(symbol)


def _quantity(request: OrderRequest, prices: Prices) -> Decimal:
    """The quantity of an order; for money's worth of it, at its limit or the current price."""
    if request.qty is not None:
        return request.qty
    price = request.limit_price or request.stop_price or prices.reckoned(request.asset.symbol)
    return ((request.notional or ZERO) / price).quantize(NINE_DECIMALS, ROUND_UP)
