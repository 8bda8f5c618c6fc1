"""What the broker's spellings of symbols mean: orders say `BTC/USD`, positions and fees say `BTCUSD`."""

from __future__ import annotations

import re
from collections.abc import Iterable

import structlog

from oms.domain.instruments import DOLLARS, QUOTES, Instrument
from oms.domain.values import AssetClass

log = structlog.get_logger(__name__)

CLASSES = {"us_equity": AssetClass.STOCK, "crypto": AssetClass.CRYPTO}
_OPTION = re.compile(r"[A-Z0-9]{1,6}[0-9]{6}[CP][0-9]{8}")  # the OCC's form: AAPL240119C00100000
_PAIR_WITHOUT_SLASH = re.compile(r"[A-Z0-9]{3,}(?:USDT|USDC|USD)")  # six letters and more: no stock is that long


class SymbolBook:
    """Reads the broker's symbols: by its asset list once that has been learned, by the spelling alone before."""

    def __init__(self) -> None:
        self._pairs: dict[str, str] = {}  # BTCUSD → BTC/USD
        self._pairs_by_id: dict[str, str] = {}
        self._stocks: set[str] = set()
        self._skipped: set[tuple[str, str]] = set()

    def learn(self, instruments: Iterable[Instrument]) -> None:
        """Remember an asset list, in place of the former one."""
        pairs, by_id, stocks = {}, {}, set()
        for instrument in instruments:
            if instrument.is_crypto:
                pairs[instrument.symbol.replace("/", "")] = instrument.symbol
                by_id[instrument.broker_asset_id] = instrument.symbol
            else:
                stocks.add(instrument.symbol)
        self._pairs, self._pairs_by_id, self._stocks = pairs, by_id, stocks

    def pair(self, text: str, asset_id: str | None = None) -> str:
        """The pair of a crypto symbol in any spelling: `BTCUSD` → `BTC/USD`, `BTCUSDT` → `BTC/USDT`."""
        plain = text.upper()
        if "/" in plain:
            return plain
        known = self._pairs_by_id.get(asset_id or "") or self._pairs.get(plain)
        if known is not None:
            return known
        for quote in QUOTES:
            base = plain.removesuffix(quote)
            if base and base != plain:
                return f"{base}/{quote}"
        return f"{plain}/{DOLLARS}"

    def holding(self, text: str, asset_id: str | None = None) -> str:
        """The symbol under which a coin is held, its USD pair: `BTCUSDT` → `BTC/USD`."""
        return f"{self.pair(text, asset_id).split('/')[0]}/{DOLLARS}"

    def traded(self, text: str) -> str | None:
        """The symbol of a record that names no asset class; None for an option's."""
        plain = text.upper()
        if "/" in plain or plain in self._stocks:
            return plain
        if _OPTION.fullmatch(plain):
            return None
        if plain in self._pairs or _PAIR_WITHOUT_SLASH.fullmatch(plain):
            return self.pair(plain)
        return plain

    def asset_class(self, word: str | None, symbol: str | None) -> AssetClass | None:
        """Ours for Alpaca's word; None for a class that is not traded here. A missing word is read off the symbol."""
        if word is None and symbol is not None:
            traded = self.traded(symbol)
            if traded is not None:
                return AssetClass.CRYPTO if "/" in traded else AssetClass.STOCK
        return CLASSES.get(word or "")

    def skip(self, what: str, symbol: str | None) -> None:
        """Say, once for each symbol, that the broker has something of a kind that is not traded here."""
        if (what, symbol or "") not in self._skipped:
            self._skipped.add((what, symbol or ""))
            log.info("broker_record_skipped", what=what, symbol=symbol, why="neither a stock nor a coin")
