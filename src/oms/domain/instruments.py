"""What can be traded, and the one spelling of a symbol: `AAPL`, `BTC/USD`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from oms.domain.errors import InvalidInput
from oms.domain.values import AssetClass

_SPELLING = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]*(?:/[A-Za-z0-9]+)?")
QUOTES = ("USDT", "USDC", "USD", "BTC", "ETH")  # longest first: BTCUSDT ends in USDT, not in T of nothing
DOLLARS = "USD"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One line of the broker's asset list. Increments and minimum are None where the broker names none."""

    symbol: str
    asset_class: AssetClass
    broker_asset_id: str
    name: str = ""
    exchange: str = ""
    tradable: bool = True
    fractionable: bool = False
    shortable: bool = False
    qty_min: Decimal | None = None
    qty_increment: Decimal | None = None
    price_increment: Decimal | None = None

    @property
    def is_crypto(self) -> bool:
        """Crypto trades always, is never sold short and pays fees in what is credited."""
        return self.asset_class is AssetClass.CRYPTO

    @property
    def holding(self) -> str:
        """The symbol under which a position is kept: a coin's USD pair, whatever pair bought it."""
        return f"{self.symbol.split('/')[0]}/{DOLLARS}" if self.is_crypto else self.symbol

    def floor(self, qty: Decimal) -> Decimal:
        """`qty` rounded down to what can be ordered."""
        step = self.qty_increment
        return qty if step is None else (qty / step).to_integral_value(ROUND_DOWN) * step


class Symbols:
    """Understands any spelling of a symbol, by the broker's asset list and the table `symbol_aliases`."""

    def __init__(self, instruments: Iterable[Instrument], aliases: Mapping[str, str]) -> None:
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._aliases = {alias.upper(): symbol for alias, symbol in aliases.items()}

    def __len__(self) -> int:
        return len(self._instruments)

    def find(self, text: str) -> Instrument:
        """The instrument that any spelling means: `btc/usd`, `BTCUSD`, `BTCUSDT`, `NASDAQ:AAPL`.

        Raises InvalidInput `invalid_symbol` for what is no symbol, `unknown_symbol` for one the broker does not list.
        """
        symbol = self.canonical(text)
        found = self._instruments.get(symbol)
        if found is None:
            raise InvalidInput(
                "unknown_symbol",
                f"{symbol} is not among the {len(self)} assets of the broker; write stocks AAPL, crypto BTC/USD",
                "symbol",
            )
        return found

    def get(self, symbol: str) -> Instrument | None:
        """The instrument of a canonical symbol, or None."""
        return self._instruments.get(symbol)

    def canonical(self, text: str) -> str:
        """The inside form of any spelling, whether or not the broker lists it. Raises InvalidInput."""
        plain = text.rpartition(":")[2].strip().upper()
        if len(text) > 40 or not _SPELLING.fullmatch(plain):
            raise InvalidInput("invalid_symbol", f"{text[:40]!r} is not a symbol; write AAPL or BTC/USD", "symbol")
        if plain in self._aliases:
            return self._aliases[plain]
        if "/" in plain or plain in self._instruments:
            return plain
        for quote in QUOTES:
            base = plain.removesuffix(quote).rstrip("-")
            if base != plain and base and f"{base}/{quote}" in self._instruments:
                return f"{base}/{quote}"
        return plain


def spellings(symbol: str) -> tuple[str, ...]:
    """The spellings under which other programs may have written ticks of a canonical symbol."""
    if "/" not in symbol:
        return (symbol,)
    base, quote = symbol.split("/")
    also = (f"{base}USDT", f"{base}/USDT", f"{base}-USDT") if quote == DOLLARS else ()
    return (symbol, f"{base}{quote}", f"{base}-{quote}", f"{base}_{quote}", *also)
