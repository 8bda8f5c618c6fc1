"""The broker: whether it accepts the keys, its clock, the account, and what the data plan gives."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from oms.broker import AlpacaMarketData, Patience, connect
from oms.doctor.finding import Finding, failed, ok, warning
from oms.doctor.servers import EngineWord
from oms.domain.errors import BrokerError, BrokerRefused, BrokerUnauthorized
from oms.domain.reports import BrokerAccount
from oms.domain.values import AssetClass
from oms.execution.budget import RequestBudget
from oms.ports import Broker, Clock
from oms.settings import Settings

SKEW_S_MAX = 2.0
LISTEN_S = 3.0
_TRIED = frozenset({"AAPL"})


async def broker_findings(settings: Settings, clock: Clock, engine: EngineWord | None) -> list[Finding]:
    """Everything that the broker tells. Three requests, and one data connection where no engine has it."""
    broker, data = connect(settings, RequestBudget(0, clock), clock, Patience(request_s=10))
    try:
        try:
            account = await broker.account()
        except BrokerUnauthorized as error:
            return [failed("broker", f"{settings.trading_url} refuses the keys", str(error))]
        except BrokerError as error:
            advice = "see whether this machine reaches it, and ALPACA_BASE_URL; the OMS takes over when it answers"
            return [failed("broker", f"{settings.trading_url} does not answer: {error}", advice)]
        return [
            ok("broker", f"{settings.trading_url} accepts the keys: account {account.number}"),
            _account(account),
            await _clock(settings, broker, clock),
            await _data_plan(settings, data, engine),
        ]
    finally:
        await broker.close()
        await data.close()


def _account(account: BrokerAccount) -> Finding:
    money = f"equity {account.equity:.2f}, buying power {account.buying_power:.2f} {account.currency}"
    if account.trouble:
        return failed(
            "account", f"{account.trouble}; {money}", "until then every signal is rejected with ACCOUNT_BLOCKED"
        )
    if account.buying_power <= 0:
        return warning("account", f"{account.status}, {money}", "nothing can be bought")
    return ok("account", f"{account.status}, {money}")


async def _clock(settings: Settings, broker: Broker, clock: Clock) -> Finding:
    before = clock.now()
    try:
        market = await broker.clock()
    except BrokerError as error:
        return failed("clock", f"the broker's clock cannot be read: {error}")
    after = clock.now()
    skew_s = ((before + (after - before) / 2) - market.at).total_seconds()
    market_is = "open" if market.is_open else f"closed until {market.next_open:%Y-%m-%d %H:%M} UTC"
    side = "ahead of" if skew_s > 0 else "behind"
    text = f"this machine is {abs(skew_s):.1f} s {side} the broker; the market is {market_is}"
    if abs(skew_s) <= SKEW_S_MAX or settings.is_mock:  # the paper broker's clock may be set elsewhere on purpose
        return ok("clock", text)
    return warning("clock", text, "let it be set by NTP (timedatectl set-ntp true); orders go by the broker's clock")


async def _data_plan(settings: Settings, data: AlpacaMarketData, engine: EngineWord | None) -> Finding:
    feed = settings.alpaca_feed
    if engine is not None:
        return _engines_word(engine)
    try:
        async with data.stream(AssetClass.STOCK) as stream:
            await stream.follow(_TRIED)
            try:
                async with asyncio.timeout(LISTEN_S):
                    async for _ in stream:
                        break
            except TimeoutError:
                pass  # quiet, and not refused
    except BrokerRefused as error:
        return warning("data plan", f"the {feed} stream refuses: {error}", "trading goes on with prices by REST")
    except BrokerError as error:
        return warning(
            "data plan", f"the {feed} stream cannot be had: {error}", "prices are asked for by REST meanwhile"
        )
    return ok("data plan", f"the {feed} stream takes the keys and a subscription")


def _engines_word(engine: EngineWord) -> Finding:
    """Alpaca allows one data connection: it is the engine's, and not tried beside it."""
    feed = engine.detail.get("feed")
    trouble = feed.get("error") if isinstance(feed, Mapping) else None
    if trouble:
        return warning("data plan", f"the engine holds the data connection, and says: {trouble}")
    return ok("data plan", f"the engine holds the data connection ({engine.status}), and has no complaint")
