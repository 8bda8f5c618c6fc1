"""At which level, how lively and how wide each symbol trades in the generated market.

Levels are about those of late 2025; they are a stage set, not data. Spreads and liveliness follow the real day of
tape-2013-10-07 (1.0 cent for a $15 stock, 2.1 for a $180 one), slowed to a few changes a second.
"""

from dataclasses import dataclass, replace
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Level:
    """How one symbol trades: `price` in the quote currency, `volatility` of a day as a fraction.

    `per_second` quote changes on average, `spread_ticks` the usual spread, `size` the usual size at the quote. A pair
    that `follows` another moves as that one does.
    """

    price: Decimal
    volatility: float
    per_second: float
    tick: Decimal
    spread_ticks: float
    size: Decimal
    follows: str | None = None


_CENT = Decimal("0.01")

# price, volatility of a day, quote changes a second
_STOCKS: dict[str, tuple[str, float, float]] = {
    "AAPL": ("230", 0.014, 3.0),
    "ABBV": ("225", 0.012, 0.2),
    "ABNB": ("120", 0.020, 0.2),
    "ADBE": ("335", 0.016, 0.2),
    "AIG": ("78", 0.012, 1.0),
    "AMC": ("2.5", 0.040, 0.2),
    "AMD": ("165", 0.025, 2.0),
    "AMZN": ("225", 0.016, 2.5),
    "AVGO": ("340", 0.022, 1.5),
    "BA": ("200", 0.018, 0.2),
    "BABA": ("160", 0.024, 0.2),
    "BAC": ("50", 0.012, 1.5),
    "BRK.B": ("500", 0.009, 0.2),
    "C": ("102", 0.015, 0.2),
    "CAT": ("560", 0.016, 0.2),
    "COIN": ("270", 0.040, 0.2),
    "COST": ("930", 0.011, 0.6),
    "CRM": ("240", 0.018, 0.2),
    "CSCO": ("76", 0.012, 0.2),
    "CVX": ("152", 0.012, 0.2),
    "DIA": ("462", 0.007, 0.8),
    "DIS": ("113", 0.013, 0.6),
    "EEM": ("54", 0.009, 0.2),
    "F": ("12", 0.015, 0.6),
    "GE": ("300", 0.015, 0.5),
    "GLD": ("370", 0.009, 0.8),
    "GM": ("70", 0.018, 0.2),
    "GME": ("22", 0.030, 0.2),
    "GOOG": ("250", 0.015, 1.0),
    "GOOGL": ("249", 0.015, 2.0),
    "GS": ("790", 0.015, 0.2),
    "HD": ("350", 0.012, 0.2),
    "IBM": ("285", 0.012, 1.0),
    "INTC": ("36", 0.025, 1.2),
    "IWM": ("243", 0.012, 1.2),
    "JNJ": ("188", 0.009, 0.5),
    "JPM": ("305", 0.012, 1.0),
    "KO": ("68", 0.008, 0.5),
    "LLY": ("1050", 0.018, 0.2),
    "MA": ("545", 0.011, 0.2),
    "MCD": ("308", 0.009, 0.2),
    "META": ("720", 0.017, 2.0),
    "MRK": ("98", 0.013, 0.2),
    "MSFT": ("515", 0.012, 2.5),
    "MU": ("230", 0.032, 0.2),
    "NFLX": ("1150", 0.017, 0.8),
    "NIO": ("6", 0.035, 0.2),
    "NKE": ("63", 0.017, 0.2),
    "NVDA": ("180", 0.020, 3.0),
    "ORCL": ("285", 0.022, 0.8),
    "PEP": ("142", 0.010, 0.4),
    "PFE": ("25", 0.012, 0.6),
    "PG": ("148", 0.009, 0.2),
    "PLTR": ("180", 0.032, 2.0),
    "PYPL": ("61", 0.020, 0.2),
    "QCOM": ("165", 0.020, 0.2),
    "QQQ": ("600", 0.010, 2.5),
    "RIVN": ("15", 0.035, 0.2),
    "SBUX": ("85", 0.015, 0.2),
    "SHOP": ("155", 0.030, 0.2),
    "SLV": ("48", 0.018, 0.2),
    "SNAP": ("8", 0.032, 0.2),
    "SOFI": ("28", 0.035, 0.2),
    "SPY": ("665", 0.008, 3.0),
    "T": ("28", 0.010, 0.5),
    "TGT": ("90", 0.018, 0.2),
    "TLT": ("90", 0.008, 0.8),
    "TQQQ": ("52", 0.030, 0.2),
    "TSLA": ("430", 0.030, 3.0),
    "UBER": ("97", 0.018, 0.6),
    "UNH": ("325", 0.018, 0.2),
    "V": ("340", 0.010, 0.6),
    "VOO": ("612", 0.008, 0.2),
    "VTI": ("327", 0.008, 0.6),
    "VZ": ("41", 0.009, 0.2),
    "WFC": ("85", 0.014, 0.2),
    "WMT": ("103", 0.010, 0.6),
    "XLF": ("53", 0.009, 0.2),
    "XLK": ("285", 0.013, 0.2),
    "XOM": ("114", 0.012, 0.6),
}

# price, volatility of a day, quote changes a second, tick, usual spread in ticks, usual size
_PAIRS: dict[str, tuple[str, float, float, str, float, str]] = {
    "AVAX/USD": ("30", 0.040, 0.6, "0.0005", 30, "40"),
    "BTC/USD": ("95000", 0.022, 3.0, "0.01", 2500, "0.6"),
    "BTC/USDT": ("95010", 0.022, 0.6, "0.01", 3000, "0.3"),
    "DOGE/USD": ("0.25", 0.040, 1.0, "0.0000001", 1500, "20000"),
    "ETH/BTC": ("0.042", 0.015, 0.4, "0.000000001", 20000, "4"),
    "ETH/USD": ("4000", 0.030, 2.0, "0.01", 150, "8"),
    "LINK/USD": ("21", 0.038, 0.6, "0.0005", 25, "60"),
    "LTC/USD": ("110", 0.030, 0.6, "0.005", 15, "20"),
    "SOL/USD": ("210", 0.036, 1.2, "0.0025", 40, "30"),
    "UNI/USD": ("8", 0.040, 0.4, "0.001", 6, "150"),
    "USDC/USD": ("1", 0.0001, 0.2, "0.0001", 2, "20000"),
    "USDT/USD": ("1", 0.0001, 0.2, "0.0001", 2, "20000"),
    "XRP/USD": ("2.8", 0.035, 1.0, "0.0001", 10, "2000"),
}


def _stock(price: str, volatility: float, per_second: float) -> Level:
    level = Decimal(price)
    return Level(level, volatility, per_second, _CENT, 1.0 + float(level) / 150, Decimal(300))


def _pair(row: tuple[str, float, float, str, float, str]) -> Level:
    price, volatility, per_second, tick, spread_ticks, size = row
    return Level(Decimal(price), volatility, per_second, Decimal(tick), spread_ticks, Decimal(size))


LEVELS: dict[str, Level] = {symbol: _stock(*row) for symbol, row in _STOCKS.items()} | {
    symbol: _pair(row) for symbol, row in _PAIRS.items()
}
LEVELS["BTC/USDT"] = replace(LEVELS["BTC/USDT"], follows="BTC/USD")


def reference_price(symbol: str) -> Decimal:
    """A price to reckon with before there is any; 100 for a symbol that only a tape knows."""
    level = LEVELS.get(symbol)
    return level.price if level else Decimal(100)
