"""What can be traded: well-known US stocks and funds, and coin pairs, with the increments that orders have to keep.

Ids are Alpaca's own where they are known, as clients may have written them down; the others are derived from the
symbol, so that they are the same in every installation.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from paperbroker.errors import Refusal, not_found
from paperbroker.money import NINE_DECIMALS, text

_NAMESPACE = uuid.UUID("5f1c9d4e-2b5a-5c1e-9a57-7b0d6c3f1a20")

# symbol, name, exchange
STOCKS = (
    ("AAPL", "Apple Inc. Common Stock", "NASDAQ"),
    ("ABBV", "AbbVie Inc.", "NYSE"),
    ("ABNB", "Airbnb, Inc. Class A Common Stock", "NASDAQ"),
    ("ADBE", "Adobe Inc. Common Stock", "NASDAQ"),
    ("AIG", "American International Group, Inc.", "NYSE"),
    ("AMC", "AMC Entertainment Holdings, Inc. Class A", "NYSE"),
    ("AMD", "Advanced Micro Devices, Inc. Common Stock", "NASDAQ"),
    ("AMZN", "Amazon.com, Inc. Common Stock", "NASDAQ"),
    ("AVGO", "Broadcom Inc. Common Stock", "NASDAQ"),
    ("BA", "The Boeing Company", "NYSE"),
    ("BABA", "Alibaba Group Holding Limited American Depositary Shares", "NYSE"),
    ("BAC", "Bank of America Corporation", "NYSE"),
    ("BRK.B", "Berkshire Hathaway Inc. Class B", "NYSE"),
    ("C", "Citigroup Inc.", "NYSE"),
    ("CAT", "Caterpillar Inc.", "NYSE"),
    ("COIN", "Coinbase Global, Inc. Class A Common Stock", "NASDAQ"),
    ("COST", "Costco Wholesale Corporation Common Stock", "NASDAQ"),
    ("CRM", "Salesforce, Inc.", "NYSE"),
    ("CSCO", "Cisco Systems, Inc. Common Stock", "NASDAQ"),
    ("CVX", "Chevron Corporation", "NYSE"),
    ("DIA", "SPDR Dow Jones Industrial Average ETF Trust", "ARCA"),
    ("DIS", "The Walt Disney Company", "NYSE"),
    ("EEM", "iShares MSCI Emerging Markets ETF", "ARCA"),
    ("F", "Ford Motor Company", "NYSE"),
    ("GE", "GE Aerospace", "NYSE"),
    ("GLD", "SPDR Gold Shares", "ARCA"),
    ("GM", "General Motors Company", "NYSE"),
    ("GME", "GameStop Corp. Class A", "NYSE"),
    ("GOOG", "Alphabet Inc. Class C Capital Stock", "NASDAQ"),
    ("GOOGL", "Alphabet Inc. Class A Common Stock", "NASDAQ"),
    ("GS", "The Goldman Sachs Group, Inc.", "NYSE"),
    ("HD", "The Home Depot, Inc.", "NYSE"),
    ("IBM", "International Business Machines Corporation", "NYSE"),
    ("INTC", "Intel Corporation Common Stock", "NASDAQ"),
    ("IWM", "iShares Russell 2000 ETF", "ARCA"),
    ("JNJ", "Johnson & Johnson", "NYSE"),
    ("JPM", "JPMorgan Chase & Co.", "NYSE"),
    ("KO", "The Coca-Cola Company", "NYSE"),
    ("LLY", "Eli Lilly and Company", "NYSE"),
    ("MA", "Mastercard Incorporated Class A", "NYSE"),
    ("MCD", "McDonald's Corporation", "NYSE"),
    ("META", "Meta Platforms, Inc. Class A Common Stock", "NASDAQ"),
    ("MRK", "Merck & Co., Inc.", "NYSE"),
    ("MSFT", "Microsoft Corporation Common Stock", "NASDAQ"),
    ("MU", "Micron Technology, Inc. Common Stock", "NASDAQ"),
    ("NFLX", "Netflix, Inc. Common Stock", "NASDAQ"),
    ("NIO", "NIO Inc. American Depositary Shares", "NYSE"),
    ("NKE", "Nike, Inc. Class B", "NYSE"),
    ("NVDA", "NVIDIA Corporation Common Stock", "NASDAQ"),
    ("ORCL", "Oracle Corporation", "NYSE"),
    ("PEP", "PepsiCo, Inc. Common Stock", "NASDAQ"),
    ("PFE", "Pfizer Inc.", "NYSE"),
    ("PG", "The Procter & Gamble Company", "NYSE"),
    ("PLTR", "Palantir Technologies Inc. Class A Common Stock", "NASDAQ"),
    ("PYPL", "PayPal Holdings, Inc. Common Stock", "NASDAQ"),
    ("QCOM", "QUALCOMM Incorporated Common Stock", "NASDAQ"),
    ("QQQ", "Invesco QQQ Trust, Series 1", "NASDAQ"),
    ("RIVN", "Rivian Automotive, Inc. Class A Common Stock", "NASDAQ"),
    ("SBUX", "Starbucks Corporation Common Stock", "NASDAQ"),
    ("SHOP", "Shopify Inc. Class A Subordinate Voting Shares", "NASDAQ"),
    ("SLV", "iShares Silver Trust", "ARCA"),
    ("SNAP", "Snap Inc. Class A", "NYSE"),
    ("SOFI", "SoFi Technologies, Inc. Common Stock", "NASDAQ"),
    ("SPY", "SPDR S&P 500 ETF Trust", "ARCA"),
    ("T", "AT&T Inc.", "NYSE"),
    ("TGT", "Target Corporation", "NYSE"),
    ("TLT", "iShares 20+ Year Treasury Bond ETF", "NASDAQ"),
    ("TQQQ", "ProShares UltraPro QQQ", "NASDAQ"),
    ("TSLA", "Tesla, Inc. Common Stock", "NASDAQ"),
    ("UBER", "Uber Technologies, Inc.", "NYSE"),
    ("UNH", "UnitedHealth Group Incorporated", "NYSE"),
    ("V", "Visa Inc. Class A", "NYSE"),
    ("VOO", "Vanguard S&P 500 ETF", "ARCA"),
    ("VTI", "Vanguard Total Stock Market ETF", "ARCA"),
    ("VZ", "Verizon Communications Inc.", "NYSE"),
    ("WFC", "Wells Fargo & Company", "NYSE"),
    ("WMT", "Walmart Inc.", "NASDAQ"),
    ("XLF", "Financial Select Sector SPDR Fund", "ARCA"),
    ("XLK", "Technology Select Sector SPDR Fund", "ARCA"),
    ("XOM", "Exxon Mobil Corporation", "NYSE"),
)
NOT_FRACTIONABLE = frozenset({"AIG"})  # so that this refusal, too, can be met
NOT_SHORTABLE = frozenset({"PFE"})

# symbol, name, smallest order, price increment; quantities go by 0.000000001
PAIRS = (
    ("AVAX/USD", "Avalanche / US Dollar", "0.1", "0.0005"),
    ("BTC/USD", "Bitcoin / US Dollar", "0.00001", "0.01"),
    ("BTC/USDT", "Bitcoin / USD Tether", "0.00001", "0.01"),
    ("DOGE/USD", "Dogecoin / US Dollar", "1", "0.0000001"),
    ("ETH/BTC", "Ethereum / Bitcoin", "0.0001", "0.000000001"),
    ("ETH/USD", "Ethereum / US Dollar", "0.0001", "0.01"),
    ("LINK/USD", "ChainLink Token / US Dollar", "0.1", "0.0005"),
    ("LTC/USD", "Litecoin / US Dollar", "0.01", "0.005"),
    ("SOL/USD", "Solana / US Dollar", "0.01", "0.0025"),
    ("UNI/USD", "Uniswap / US Dollar", "0.1", "0.001"),
    ("USDC/USD", "USD Coin / US Dollar", "1", "0.0001"),
    ("USDT/USD", "USD Tether / US Dollar", "1", "0.0001"),
    ("XRP/USD", "XRP / US Dollar", "0.1", "0.0001"),
)

# As Alpaca's documentation and public clients show them.
KNOWN_IDS = {
    "AAPL": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
    "AMZN": "f801f835-bfe6-4a9d-a6b1-ccbb84bfd75f",
    "BTC/USD": "276e2673-764b-4ab6-a611-caf665ca6340",
    "BTC/USDT": "c150e086-1e75-44e6-9c2c-093bb1e93139",
    "ETH/USD": "a1733398-6acc-4e92-af24-0d0667f78713",
    "GOOG": "f30d734c-2806-4d0d-b145-f9fade61432b",
    "GOOGL": "69b15845-7c63-4586-b274-1cfdfe9df3d8",
    "META": "fc6a5dcd-4a70-4b8d-b64f-d83a6dae9ba4",
    "MSFT": "b6d1aa75-5c9c-4353-a305-9e2caa1925ab",
    "NFLX": "bb2a26c0-4c77-4801-8afc-82e8142ac7b8",
    "NVDA": "4ce9353c-66d1-46c2-898f-fce867ab0247",
    "SPY": "b28f4066-5c6d-479b-a2af-85dc1a8f16fb",
    "TSLA": "8ccae427-5dd0-45b3-b5fe-7ba5e422c766",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """`symbol` is Alpaca's spelling in orders (`BTC/USD`).

    Increments are None for stocks, whose ticks depend on the price.
    """

    id: str
    symbol: str
    name: str
    exchange: str
    crypto: bool
    fractionable: bool = True
    shortable: bool = True
    min_order_size: Decimal | None = None
    price_increment: Decimal | None = None

    @property
    def asset_class(self) -> str:
        return "crypto" if self.crypto else "us_equity"

    @property
    def coin(self) -> str:
        """What a pair buys: BTC of BTC/USD; a stock's own symbol."""
        return self.symbol.partition("/")[0]

    @property
    def quote_currency(self) -> str:
        """What a pair is paid in: USD of BTC/USD; USD for a stock."""
        return self.symbol.partition("/")[2] or "USD"

    @property
    def holding(self) -> str:
        """The symbol under which a holding of it is kept: a coin's USD pair, whatever pair bought it."""
        return f"{self.coin}/USD" if self.crypto else self.symbol

    @property
    def compact(self) -> str:
        """The spelling that positions and fees use: BTCUSD."""
        return self.symbol.replace("/", "")

    def json(self) -> dict[str, Any]:
        """The asset as Alpaca sends it; `easy_to_borrow` because alpaca-py 0.44 requires it (see the reference)."""
        common: dict[str, Any] = {
            "id": self.id,
            "class": self.asset_class,
            "exchange": self.exchange,
            "symbol": self.symbol,
            "name": self.name,
            "status": "active",
            "tradable": True,
            "marginable": not self.crypto,
            "maintenance_margin_requirement": 100 if self.crypto else 30,
            "margin_requirement_long": "100" if self.crypto else "30",
            "margin_requirement_short": "100" if self.crypto else "30",
            "shortable": self.shortable,
            "easy_to_borrow": self.shortable,
            "fractionable": self.fractionable,
            "attributes": []
            if self.crypto or not self.fractionable
            else ["fractional_eh_enabled", "has_options", "overnight_tradable"],
        }
        if self.min_order_size is None or self.price_increment is None:
            return {**common, "borrow_status": "easy_to_borrow" if self.shortable else "hard_to_borrow"}
        return {
            **common,
            "min_order_size": text(self.min_order_size),
            "min_trade_increment": text(NINE_DECIMALS),
            "price_increment": text(self.price_increment),
        }


class Assets:
    """Every asset, found by any spelling of its symbol or by id."""

    def __init__(self) -> None:
        self._by_symbol: dict[str, Asset] = {}
        self._by_spelling: dict[str, Asset] = {}
        for symbol, name, exchange in STOCKS:
            self._add(_stock(symbol, name, exchange))
        for symbol, name, smallest, increment in PAIRS:
            self._add(_pair(symbol, name, Decimal(smallest), Decimal(increment)))

    def __getitem__(self, symbol: str) -> Asset:
        """By Alpaca's own spelling. Raises KeyError."""
        return self._by_symbol[symbol]

    def __iter__(self) -> Iterator[Asset]:
        return iter(sorted(self._by_symbol.values(), key=lambda asset: asset.symbol))

    def find(self, spelling: str) -> Asset | None:
        """By `BTC/USD`, `BTCUSD`, `btc/usd`, `AAPL:NASDAQ`, `AAPL:NASDAQ:us_equity` or id; None when there is none."""
        return self._by_symbol.get(spelling) or self._by_spelling.get(spelling.upper())

    def get(self, spelling: str) -> Asset:
        """As `find`. Raises Alpaca's 404."""
        asset = self.find(spelling)
        if asset is None:
            raise _asset_not_found(spelling)
        return asset

    def ensure_stock(self, symbol: str) -> Asset:
        """The asset of a symbol that a tape speaks of; unknown ones become stocks of the NYSE."""
        return self._by_symbol.get(symbol) or self._add(_stock(symbol, symbol, "NYSE"))

    def _add(self, asset: Asset) -> Asset:
        self._by_symbol[asset.symbol] = asset
        exact = f"{asset.symbol}:{asset.exchange}"
        for spelling in (
            asset.symbol,
            asset.compact,
            asset.id,
            asset.id.replace("-", ""),
            exact,
            f"{exact}:{asset.asset_class}",
        ):
            self._by_spelling[spelling.upper()] = asset
        return asset


def _stock(symbol: str, name: str, exchange: str) -> Asset:
    return Asset(
        _asset_id(symbol),
        symbol,
        name,
        exchange,
        crypto=False,
        fractionable=symbol not in NOT_FRACTIONABLE,
        shortable=symbol not in NOT_SHORTABLE,
    )


def _pair(symbol: str, name: str, smallest: Decimal, increment: Decimal) -> Asset:
    return Asset(
        _asset_id(symbol),
        symbol,
        name,
        "CRYPTO",
        crypto=True,
        shortable=False,
        min_order_size=smallest,
        price_increment=increment,
    )


def _asset_id(symbol: str) -> str:
    return KNOWN_IDS.get(symbol) or str(uuid.uuid5(_NAMESPACE, symbol))


def _asset_not_found(spelling: str) -> Refusal:
    return not_found(f"asset not found for {spelling[:64]}")
