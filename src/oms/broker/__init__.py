"""Alpaca's protocol: the ports `Broker` and `MarketData` over HTTP and websockets. Nothing else knows Alpaca.

wire        the shapes of the JSON, and reading them exactly
symbols     the broker's spellings of symbols
translate   orders, fills, fees, positions, … → ours
ticks       quotes and trades → ours
failures    HTTP answers → our errors
advice      what a refusal means, and what to do
transport   sends one request, opens one socket: keys, timeouts, budget
websocket   a socket's frames, heartbeat and end
trading     the port Broker
updates     its stream of order updates
data        the port MarketData
tickstream  its streams
"""

from __future__ import annotations

from oms.broker.data import AlpacaMarketData, DataBudget
from oms.broker.trading import AlpacaBroker
from oms.broker.transport import Keys, Patience, Transport
from oms.ports import Budget, Clock
from oms.settings import Settings

__all__ = ["AlpacaBroker", "AlpacaMarketData", "Patience", "connect"]


def connect(
    settings: Settings, budget: Budget, clock: Clock, patience: Patience | None = None
) -> tuple[AlpacaBroker, AlpacaMarketData]:
    """The gateway for the account of these settings. Nothing is sent before the first call; close both at the end.

    Raises ConfigurationError when a mock key has no paper broker to go to.
    """
    keys = Keys(settings.alpaca_api_key or "", settings.alpaca_api_secret or "")
    patience = patience or Patience()
    trading = Transport(address(settings.trading_url), keys, budget, clock, patience)
    data = Transport(address(settings.market_data_url), keys, DataBudget(clock), clock, patience)
    return AlpacaBroker(trading), AlpacaMarketData(data, settings.alpaca_feed)


def address(url: str) -> str:
    """An address without what people add to it: a last slash, or the version that every path begins with."""
    return url.rstrip("/").removesuffix("/v2").rstrip("/")
