"""Where the exits of a bracket, OCO or OTO may lie: by POST, and by PATCH of one of the group."""

from collections.abc import Iterable
from decimal import Decimal

from paperbroker.errors import unprocessable
from paperbroker.intake import OrderRequest
from paperbroker.money import text
from paperbroker.orders import Order, OrderClass, Role, Side
from paperbroker.prices.market import Prices

_CENT = Decimal("0.01")


def check_new_exits(request: OrderRequest, prices: Prices) -> None:
    """They lie at least a cent beyond the base price: the entry's own price, else what it would be filled at.

    An OCO has no entry: its stop lies beyond the current price. Raises Refusal.
    """
    if not request.complex:
        return
    oco = request.order_class == OrderClass.OCO
    base = prices.reckoned(request.asset.symbol) if oco else _base_price(request, request.asset.symbol, prices)
    long = (request.side is Side.BUY) is not oco
    stop = request.stop_loss.stop_price if request.stop_loss else None
    _check_beyond(base, long=long, profit=None if oco else request.take_profit, stop=stop)


def check_changed_exits(old: Order, request: OrderRequest, others: Iterable[Order], prices: Prices) -> None:
    """What is to replace one of a group fits the `others`. Once the entry is done, a stop may lie in the profit.

    Raises Refusal.
    """
    group: dict[Role | None, Order | OrderRequest] = {other.group_role: other for other in others}
    group[old.group_role] = request
    entry, profit, loss = group.get(Role.ENTRY), group.get(Role.TAKE_PROFIT), group.get(Role.STOP_LOSS)
    limit = profit.limit_price if profit else None
    stop = loss.stop_price if loss else None
    long = (old.side is Side.BUY) is (old.group_role is Role.ENTRY)
    if limit is not None and stop is not None and (stop >= limit if long else stop <= limit):
        raise unprocessable(f"take_profit.limit_price must be {'>' if long else '<'} stop_loss.stop_price")
    if entry is not None:
        _check_beyond(_base_price(entry, old.symbol, prices), long=long, profit=limit, stop=stop)
    elif loss is request and stop != old.stop_price:
        _check_beyond(prices.reckoned(old.symbol), long=long, profit=None, stop=stop)


def _check_beyond(base: Decimal, *, long: bool, profit: Decimal | None, stop: Decimal | None) -> None:
    extra = {"base_price": text(base)}
    if stop is not None and long and stop > base - _CENT:
        raise unprocessable("stop_loss.stop_price must be <= base_price - 0.01", **extra)
    if stop is not None and not long and stop < base + _CENT:
        raise unprocessable("stop_loss.stop_price must be >= base_price + 0.01", **extra)
    if profit is not None and long and profit < base + _CENT:
        raise unprocessable("take_profit.limit_price must be >= base_price + 0.01", **extra)
    if profit is not None and not long and profit > base - _CENT:
        raise unprocessable("take_profit.limit_price must be <= base_price - 0.01", **extra)


def _base_price(entry: OrderRequest | Order, symbol: str, prices: Prices) -> Decimal:
    quote = prices.quotes.get(symbol)
    market = quote and (quote.ask if entry.side is Side.BUY else quote.bid)
    return entry.limit_price or entry.stop_price or market or prices.reckoned(symbol)
