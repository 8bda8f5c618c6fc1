"""Which of the wanted symbols are streamed and which are asked for, by priority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oms.domain.instruments import Instrument
from oms.domain.values import AssetClass

SYMBOLS_MAX = 30  # Alpaca's free plan


@dataclass(frozen=True, slots=True)
class Plan:
    """The symbols to stream by asset class. Whatever is wanted and not live on a stream is asked for by REST."""

    streamed: Mapping[AssetClass, frozenset[str]]
    followed: tuple[Instrument, ...]


def planned(instruments: Sequence[Instrument], symbols_max: int, limits: Mapping[AssetClass, int]) -> Plan:
    """Give the streams' places to the first of `instruments`, open orders and positions first, each symbol once.

    `limits` are lower bounds that a stream has told (405); symbols beyond leave their place to later ones of another
    asset class.
    """
    followed = tuple({instrument.symbol: instrument for instrument in instruments}.values())
    streamed: dict[AssetClass, set[str]] = {asset_class: set() for asset_class in AssetClass}
    places = symbols_max
    for instrument in followed:
        chosen = streamed[instrument.asset_class]
        if places > 0 and len(chosen) < limits.get(instrument.asset_class, symbols_max):
            chosen.add(instrument.symbol)
            places -= 1
    return Plan({asset_class: frozenset(symbols) for asset_class, symbols in streamed.items()}, followed)
