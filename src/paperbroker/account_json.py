"""An account and its positions on the wire: money and quantities as strings."""

from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from paperbroker.accounts import Account, Figures, price_of
from paperbroker.assets import Asset
from paperbroker.money import ZERO, text
from paperbroker.orders import Side
from paperbroker.positions import Position
from paperbroker.prices.market import Prices
from paperbroker.timestamps import new_york_date, rfc3339

_CENT = Decimal("0.01")
_RATIO = Decimal("1e-10")
_NINE = Decimal("1e-9")


def account_json(account: Account, figures: Figures) -> dict[str, object]:
    """`GET /v2/account`, without the pattern-day-trader fields, which Alpaca removed on 2026-07-06."""
    state = account.state
    return {
        "id": state.id,
        "admin_configurations": {},
        "user_configurations": None,
        "account_number": f"PA{state.id.replace('-', '').upper()[:10]}",
        "status": state.status,
        "crypto_status": "ACTIVE",
        "options_approved_level": 0,
        "options_trading_level": 0,
        "currency": "USD",
        "buying_power": _money(figures.buying_power),
        "regt_buying_power": _money(figures.buying_power),
        "effective_buying_power": _money(figures.buying_power),
        "non_marginable_buying_power": _money(figures.non_marginable),
        "options_buying_power": _money(figures.non_marginable),
        "cash": text(state.cash),
        "accrued_fees": "0",
        "portfolio_value": _money(figures.equity),
        "trading_blocked": state.trading_blocked,
        "transfers_blocked": False,
        "account_blocked": state.account_blocked,
        "created_at": rfc3339(state.created_ns),
        "trade_suspended_by_user": state.configuration.suspend_trade,
        "multiplier": state.configuration.max_margin_multiplier,
        "shorting_enabled": not state.configuration.no_shorting,
        "equity": _money(figures.equity),
        "last_equity": _money(state.last_equity),
        "long_market_value": _money(figures.long),
        "short_market_value": _money(figures.short),
        "position_market_value": _money(figures.long + figures.short),
        "initial_margin": _money(figures.initial_margin),
        "maintenance_margin": _money(figures.maintenance_margin),
        "last_maintenance_margin": "0",
        "sma": "0",
        "balance_asof": (state.day - timedelta(days=1)).isoformat(),  # the day that last_equity is the end of
        "crypto_tier": 1,
        "intraday_adjustments": "0",
        "pending_reg_taf_fees": "0",
        "pending_transfer_in": "0",
        "pending_transfer_out": "0",
    }


def position_json(position: Position, asset: Asset, account: Account, prices: Prices, now_ns: int) -> dict[str, object]:
    """One position, valued at the last trade clamped into the quote.

    The intraday figures count from yesterday's close, or from the entry when the position was opened today.
    """
    held = account.held(position.symbol, Side.SELL if position.qty > 0 else Side.BUY)
    available = max(abs(position.qty) - held, ZERO)
    return {
        "asset_id": asset.id,
        "symbol": asset.compact,
        "exchange": asset.exchange,
        "asset_class": asset.asset_class,
        "asset_marginable": not asset.crypto,
        "qty": text(position.qty),
        "qty_available": text(available if position.qty > 0 else -available),
        "side": "long" if position.qty > 0 else "short",
        "avg_entry_price": text(position.avg_entry_price),
        "cost_basis": _amount(position.cost_basis),
        **_valuation(position, prices, now_ns),
    }


def _valuation(position: Position, prices: Prices, now_ns: int) -> dict[str, object]:
    price = price_of(position, prices)
    lastday = prices.lastday(position.symbol) or price
    value = position.qty * price
    gain = value - position.cost_basis
    opened_today = new_york_date(position.opened_ns) == new_york_date(now_ns)
    base = position.cost_basis if opened_today else position.qty * lastday
    return {
        "market_value": _amount(value),
        "current_price": text(price),
        "lastday_price": text(lastday),
        "change_today": _ratio(price - lastday, lastday),
        "unrealized_pl": _amount(gain),
        "unrealized_plpc": _ratio(gain, abs(position.cost_basis)),
        "unrealized_intraday_pl": _amount(value - base),
        "unrealized_intraday_plpc": _ratio(value - base, abs(base)),
    }


def _money(value: Decimal) -> str:
    return text(value.quantize(_CENT, ROUND_HALF_EVEN))


def _amount(value: Decimal) -> str:
    return text(value.quantize(_NINE, ROUND_HALF_EVEN))


def _ratio(part: Decimal, whole: Decimal) -> str:
    return text((part / whole).quantize(_RATIO)) if whole else "0"
