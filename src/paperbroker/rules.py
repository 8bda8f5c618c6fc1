"""Which requests make sense: type, time in force, class, amounts and prices; no account is looked at here.

Source: Alpaca's "Orders at Alpaca" and the OpenAPI file, gathered in the reference.
"""

from collections.abc import Iterator
from decimal import Decimal

from paperbroker.assets import Asset, Assets
from paperbroker.errors import Refusal, forbidden, invalid, unprocessable
from paperbroker.intake import OrderRequest, read_order
from paperbroker.money import NINE_DECIMALS, decimals, text
from paperbroker.orders import OrderClass, OrderType, Side, TimeInForce

SMALLEST_STOCK_NOTIONAL = Decimal(1)
LARGEST_TRAIL_PERCENT = Decimal(100)

_RESTING_TIMES = frozenset({TimeInForce.DAY, TimeInForce.GTC})
_AUCTIONS = frozenset({TimeInForce.OPG, TimeInForce.CLS})
_COIN_TYPES = frozenset({OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_LIMIT})
_COIN_TIMES = frozenset({TimeInForce.GTC, TimeInForce.IOC})
_WITH_LIMIT = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT})
_WITH_STOP = frozenset({OrderType.STOP, OrderType.STOP_LIMIT})


def parse_order(body: object, assets: Assets) -> OrderRequest:
    """Read and validate the body of `POST /v2/orders`. Raises Refusal (400, 403, 422) in Alpaca's words."""
    request = read_order(body, assets)
    check_request(request)
    return request


def check_request(request: OrderRequest) -> None:
    """Raises Refusal for a request that makes no sense."""
    _check_amount(request)
    _check_prices(request)
    if request.asset.crypto:
        _check_coin_order(request)
    else:
        _check_stock_order(request)


def _check_amount(request: OrderRequest) -> None:
    if request.qty is not None and request.notional is not None:
        raise invalid("only one of qty or notional is accepted")
    amount = request.qty if request.notional is None else request.notional
    if amount is None:
        raise invalid("qty or notional is required")
    if request.notional is not None and decimals(amount) > 2:
        raise unprocessable("notional value must be limited to 2 decimal places")
    if amount % NINE_DECIMALS:
        raise unprocessable("qty takes at most 9 decimal places")


def _check_prices(request: OrderRequest) -> None:
    """Each type has its own prices, and no others."""
    kind = request.type
    if kind is OrderType.LIMIT and request.limit_price is None:
        raise invalid("limit orders require a limit price")
    if kind is OrderType.STOP and request.stop_price is None:
        raise invalid("stop orders require a stop price")
    if kind is OrderType.STOP_LIMIT and (request.stop_price is None or request.limit_price is None):
        raise invalid("stop limit orders require both stop and limit price")
    if kind not in _WITH_LIMIT and request.limit_price is not None:
        raise invalid(f"{_spoken(kind)} orders require no {_unwanted(kind, 'limit')} price")
    if kind not in _WITH_STOP and request.stop_price is not None:
        raise invalid(f"{_spoken(kind)} orders require no {_unwanted(kind, 'stop')} price")
    trails = (request.trail_price is not None) + (request.trail_percent is not None)
    if kind is OrderType.TRAILING_STOP and trails != 1:
        raise invalid("trailing stop orders must specify one of trail_price or trail_percent")
    if kind is not OrderType.TRAILING_STOP and trails:
        name = "trail_percent" if request.trail_price is None else "trail_price"
        raise invalid(f"{_spoken(kind)} orders must not have {name}")
    if request.trail_percent is not None and request.trail_percent >= LARGEST_TRAIL_PERCENT:
        raise unprocessable("trail_percent must be < 100")


def _spoken(kind: OrderType) -> str:
    return kind.replace("_", " ")


def _unwanted(kind: OrderType, name: str) -> str:
    return "stop or limit" if kind is OrderType.MARKET else name


def _check_coin_order(request: OrderRequest) -> None:
    asset = request.asset
    if request.type not in _COIN_TYPES:
        raise invalid("invalid order type for crypto order")
    if request.time_in_force not in _COIN_TIMES:
        raise unprocessable("invalid crypto time_in_force")
    if request.complex or request.take_profit or request.stop_loss:
        raise unprocessable("crypto orders must be simple orders")
    for name, price in (("limit_price", request.limit_price), ("stop_price", request.stop_price)):
        if asset.price_increment and price and price % asset.price_increment:
            raise unprocessable(f"{name} must be a multiple of price increment {text(asset.price_increment)}")
    if request.qty is not None and asset.min_order_size and request.qty < asset.min_order_size:
        raise forbidden(f"qty must be >= minimal qty of order {text(asset.min_order_size)}")
    if request.qty is not None and request.qty % NINE_DECIMALS:
        raise unprocessable(f"qty must be a multiple of trade increment {text(NINE_DECIMALS)}")


def _check_stock_order(request: OrderRequest) -> None:
    if request.fractional:
        _check_fraction(request)
    for name, price in _prices(request):
        if decimals(price) > (2 if price >= 1 else 4):
            raise _sub_penny(name, price)
    resting = request.time_in_force in _RESTING_TIMES
    if request.extended_hours and (request.type is not OrderType.LIMIT or not resting):
        raise unprocessable("extended hours order must be DAY or GTC limit orders")
    if request.time_in_force in _AUCTIONS and request.type not in {OrderType.MARKET, OrderType.LIMIT}:
        raise unprocessable(f"{request.time_in_force} orders must be market or limit orders")
    if request.type is OrderType.TRAILING_STOP and not resting:
        raise unprocessable("trailing stop orders must be DAY or GTC orders")
    _check_class(request, resting=resting)


def _prices(request: OrderRequest) -> Iterator[tuple[str, Decimal]]:
    """Every price of a request that is bound to ticks, by its name."""
    if request.limit_price is not None:
        yield "limit_price", request.limit_price
    if request.stop_price is not None:
        yield "stop_price", request.stop_price
    if request.trail_price is not None:
        yield "trail_price", request.trail_price
    if request.take_profit is not None:
        yield "take_profit.limit_price", request.take_profit
    if request.stop_loss is not None:
        yield "stop_loss.stop_price", request.stop_loss.stop_price
        if request.stop_loss.limit_price is not None:
            yield "stop_loss.limit_price", request.stop_loss.limit_price


def _sub_penny(name: str, price: Decimal) -> Refusal:
    return unprocessable(f"invalid {name} {text(price)}. sub-penny increment does not fulfill minimum pricing criteria")


def _check_fraction(request: OrderRequest) -> None:
    if not request.asset.fractionable:
        raise forbidden(f'asset "{request.asset.symbol}" is not fractionable')
    if request.time_in_force is not TimeInForce.DAY:
        raise unprocessable("fractional orders must be DAY orders")
    if request.complex:
        raise unprocessable("fractional orders must be simple orders")
    if request.type is OrderType.TRAILING_STOP:
        raise unprocessable("fractional orders must be market, limit, stop or stop_limit orders")
    if request.notional is not None and request.notional < SMALLEST_STOCK_NOTIONAL:
        raise unprocessable(f"notional amount must be >= {SMALLEST_STOCK_NOTIONAL}.00")


def _check_class(request: OrderRequest, *, resting: bool) -> None:
    kind = request.order_class
    if not request.complex:
        if request.take_profit is not None or request.stop_loss is not None:
            raise unprocessable("take_profit and stop_loss need an order_class of bracket, oco or oto")
        return
    if not resting:
        raise unprocessable(f"{kind} orders must be DAY or GTC orders")
    if request.extended_hours:
        raise unprocessable(f"{kind} orders cannot be executed in extended hours")
    if kind == OrderClass.OTO and (request.take_profit is None) == (request.stop_loss is None):
        raise invalid("oto orders require either take_profit or stop_loss")
    if kind != OrderClass.OTO and request.take_profit is None:
        raise invalid(f"{kind} orders require take_profit.limit_price")
    if kind != OrderClass.OTO and request.stop_loss is None:
        raise invalid(f"{kind} orders require stop_loss.stop_price")
    if kind == OrderClass.OCO and request.type is not OrderType.LIMIT:
        raise unprocessable("oco orders must be limit orders")
    if kind != OrderClass.OCO and request.type is OrderType.TRAILING_STOP:
        raise unprocessable(f"trailing stop orders cannot be {kind} orders")
    _check_exits(request)


def _check_exits(request: OrderRequest) -> None:
    """A long position takes its profit above its stop, a short one below it."""
    if request.take_profit is None or request.stop_loss is None:
        return
    long = (request.side is Side.BUY) is (request.order_class != OrderClass.OCO)
    profit, stop = request.take_profit, request.stop_loss.stop_price
    if long and profit <= stop:
        raise unprocessable("take_profit.limit_price must be > stop_loss.stop_price")
    if not long and profit >= stop:
        raise unprocessable("take_profit.limit_price must be < stop_loss.stop_price")


def auction_due_refusal(request: OrderRequest) -> Refusal:
    """Sent between its cut-off and 19:00."""
    cut_off = "9:28am" if request.time_in_force is TimeInForce.OPG else "3:55pm"
    return forbidden(f"{request.time_in_force} orders must be submitted after 7:00pm and before {cut_off}")


def is_auction(asset: Asset, time_in_force: TimeInForce) -> bool:
    return not asset.crypto and time_in_force in _AUCTIONS
