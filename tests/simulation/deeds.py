"""What people, other programs and accidents do in a simulation, each a method that a plan names."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

from oms.domain.drift import DriftKind, DriftState
from oms.domain.orders import OrderStatus
from oms.domain.values import ZERO, OrderType, Side, TimeInForce
from oms.ports import Command, Ticket
from tests.simulation.record import Account
from tests.simulation.venue import OPEN

if TYPE_CHECKING:
    from tests.simulation.house import House

KEY = "key"
DECIDES_EVERY_S = 2.0
DECIDES_FOR_S = 40.0  # after the faults; then people leave it as it is
ANN = "ann"


class Deeds:
    """`moved` is what was moved into or out of the account without a trade since it was taken in, by symbol."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._random = Random(house.plan.seed + 11)
        self.moved: dict[str, Decimal] = {}
        self.chains: list[tuple[str, str, Decimal]] = []  # replaced, by, how much both may fill

    def do(self, what: str, arguments: tuple[Any, ...]) -> None:
        """One deed of the plan; none happens once it is calm."""
        if not self._house.world.calm:
            self._house.world.note(what, *arguments)
            getattr(self, what)(*arguments)

    # --- people at the broker -----------------------------------------------------------------------------------------

    def trade_elsewhere(self, symbol: str, side: str, qty: str, rests: bool) -> None:
        """Somebody trades in the account by hand."""
        if "/" not in symbol and not self._house.venue.is_open:
            return
        client_id = f"theirs-{len(self._house.external)}"
        price = self._house.venue.prices[symbol] * (Decimal("0.9") if side == "buy" else Decimal("1.1"))
        ticket = Ticket(
            client_id, symbol, Side(side), Decimal(qty), OrderType.LIMIT if rests else OrderType.MARKET,
            TimeInForce.GTC, price if rests else None,
        )  # fmt: skip
        self._house.foreign_symbols.add(symbol)
        try:
            order = self._house.venue.submit(ticket, external=True)
        except Exception:  # noqa: BLE001 — the broker refuses them too
            return
        self._house.external.add(client_id)
        self._house.exchange.take(order)

    def replace_elsewhere(self, qty: str, factor: str) -> None:
        """Somebody changes a resting order, of whomever, by hand."""
        venue = self._house.venue
        resting = [one for one in venue.orders.values() if one.status in OPEN and one.limit_price is not None]
        if not resting:
            return
        old = self._random.choice(resting)
        step = Decimal("0.0001" if old.instrument.is_crypto else "1")
        meant = old.filled + (old.leaves * Decimal(qty)).quantize(step)
        price = None if old.limit_price is None else old.limit_price * Decimal(factor)
        new = venue.replace(old, f"theirs-r{len(self.chains)}", meant, price)
        if new is not None:
            self.chains.append((old.client_id, new.client_id, meant))
            self._house.external.add(new.client_id)
            self._house.foreign_symbols.add(new.instrument.symbol)
            self._house.exchange.take(new)

    def bracket_elsewhere(self, symbol: str, side: str, qty: str, wakes_after_s: float) -> None:
        """Somebody's order waits for another, which comes about a little later: a leg of a bracket."""
        house = self._house
        client_id = f"theirs-b{len(house.external)}"
        price = house.venue.prices[symbol] * (Decimal("0.99") if side == "buy" else Decimal("1.01"))
        ticket = Ticket(client_id, symbol, Side(side), Decimal(qty), OrderType.LIMIT, TimeInForce.GTC, price)
        house.foreign_symbols.add(symbol)
        try:
            order = house.venue.submit(ticket, external=True, held=True)
        except Exception:  # noqa: BLE001 — the broker refuses them too
            return
        house.external.add(client_id)

        def wake() -> None:
            if house.venue.wake(order):
                house.exchange.take(order)

        house.world.loop.at(wakes_after_s, wake)

    def end_unseen(self) -> None:
        """An order of days ago ends, by a fill or a cancel, while nobody listens."""
        venue, now = self._house.venue, self._house.world.now()
        old = [
            one for one in venue.orders.values() if one.status in OPEN and one.submitted_at < now - timedelta(hours=1)
        ]
        if old:
            order = self._random.choice(old)
            self.cut_streams()
            if self._random.random() < 0.5:
                venue.end(order, OrderStatus.CANCELLED)
            elif order.limit_price is not None:
                venue.fill(order, order.leaves, order.limit_price)

    def fill_late(self) -> None:
        """The cancel of an order, of whomever, crosses an execution of half of what was left.

        Not one of which something was taken back: how Alpaca counts on from there is not known.
        """
        venue = self._house.venue
        ends = {OrderStatus.CANCELLED, OrderStatus.EXPIRED}
        ended = [
            one
            for one in venue.orders.values()
            if one.status in ends
            and one.filled < one.qty
            and venue.busted.isdisjoint(fill.execution_id for fill in one.fills)
        ]
        if ended:
            order = self._random.choice(ended)
            self._house.foreign_symbols.add(order.instrument.symbol)
            venue.fill_late(order, (order.qty - order.filled) / 2, venue.prices[order.instrument.symbol])

    def bust(self) -> None:
        """The broker takes an execution of an order that has ended back.

        Not one of two that are equal but for their day: a bust does not say which it is, and fees are of a day.
        """
        venue = self._house.venue
        ended = [
            fill
            for _, fill in venue.fills
            if not fill.is_bust and fill.execution_id not in venue.busted
            and venue.orders[fill.broker_order_id].status not in OPEN
            and not any(
                (one.qty, one.price) == (fill.qty, fill.price) and one is not fill
                for one in venue.orders[fill.broker_order_id].fills
            )
        ]  # fmt: skip
        if ended:
            fill = self._random.choice(ended)
            self._house.foreign_symbols.add(fill.symbol)
            venue.bust(fill)

    def move_holding(self, symbol: str, qty: str) -> None:
        """Shares or coins come into the account, or leave it, without a trade."""
        account, venue = self._account(), self._house.venue
        if account is None or account.record.adopted_at is None:
            return  # else it is part of what is taken in
        venue.held[symbol] = venue.held.get(symbol, ZERO) + Decimal(qty)
        venue.cost.setdefault(symbol, venue.prices[symbol])
        self.moved[symbol] = self.moved.get(symbol, ZERO) + Decimal(qty)
        self._house.foreign_symbols.add(symbol)

    def move_price(self, symbol: str, factor: str) -> None:
        self._house.exchange.move(symbol, self._house.venue.prices[symbol] * Decimal(factor))

    def configure(self, key: str, value: str) -> None:
        self._house.record.set_config(key, value)

    # --- people at the OMS --------------------------------------------------------------------------------------------

    def _account(self) -> Account | None:
        account_id = self._house.record.account_of_key(KEY)
        return None if account_id is None else self._house.record.accounts[account_id]

    def _ask(self, kind: str, **data: object) -> None:
        """What the API does with a decision."""
        account, world = self._account(), self._house.world
        if account is not None:
            command = Command(world.new_id(), kind, None, {**data, "by": ANN, "reason": "because"}, world.now())
            world.note("asks", kind, *data.values())
            self._house.record.ask(account.record.id, command)

    def halt(self) -> None:
        self._ask("halt")

    def resume(self) -> None:
        self._ask("resume")

    def decide(self) -> None:
        """Somebody looks at the differences every now and then, and decides on one."""
        house, account = self._house, self._account()
        if house.world.loop.time() < house.plan.duration_s + DECIDES_FOR_S:
            house.world.loop.at(DECIDES_EVERY_S, self.decide)
        rows = [] if account is None else list(account.drift.values())
        mine = [
            one
            for one in rows
            if one.state is DriftState.OPEN and one.kind is DriftKind.POSITION and (one.blocks or house.plan.is_hasty)
        ]
        if mine:
            how = self._random.choice(("drift_adopt", "drift_ignore")) if house.plan.decides == "mixed" else (
                f"drift_{house.plan.decides}"
            )  # fmt: skip
            self._ask(how, drift_id=self._random.choice(mine).id)

    # --- programs and accidents ---------------------------------------------------------------------------------------

    def mumble(self, text: str) -> None:
        """A foreign program sends something that is no signal."""
        if not self._house.redis.is_down:
            self._house.mumbled.append((self._house.redis.add(text.encode("latin-1")), text))

    def kill_in(self, name: str, steps: int) -> None:
        process, loop = self._house.members[name].process, self._house.world.loop
        if process is not None:
            loop.alarm, loop.on_alarm = loop.steps + 1 + steps, lambda: self._house.kill(process)

    def stop_engine(self) -> None:
        """SIGTERM."""
        member = self._house.members["engine"]
        if member.is_up and member.stop is not None:
            member.stop.set()

    def refuse_keys(self, seconds: float) -> None:
        """The keys are revoked for a while."""
        self._house.plan.wire.refuses_keys_until = self._house.world.loop.time() + seconds

    def set_clock(self, name: str, seconds: float) -> None:
        """A machine's clock jumps."""
        self._house.plan.skews_s[name] = self._house.plan.skews_s.get(name, 0.0) + seconds
        for clock in self._house.clocks.get(name, ()):
            clock.skew += timedelta(seconds=seconds)

    def cut_streams(self) -> None:
        self._house.streams.cut()

    def break_store(self, seconds: float) -> None:
        self._house.plan.store.down_until = self._house.world.loop.time() + seconds

    def break_wire(self, seconds: float) -> None:
        self._house.plan.wire.down_until = self._house.world.loop.time() + seconds
        self._house.streams.cut()

    def break_redis(self, seconds: float) -> None:
        self._house.redis.go_down(seconds)

    def flush_redis(self) -> None:
        self._house.flushed = True
        self._house.redis.entries.clear()
        self._house.redis.told.clear()

    def blank_prices(self, seconds: float) -> None:
        for member in self._house.members.values():
            if member.prices is not None:
                member.prices.is_blank_until = self._house.world.loop.time() + seconds

    def mute_prices(self, seconds: float) -> None:
        for member in self._house.members.values():
            if member.prices is not None:
                member.prices.is_mute_until = self._house.world.loop.time() + seconds
