"""What becomes of orders at the venue: partial fills, rests, rejections after acceptance, moving prices."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from oms.domain.orders import OrderStatus
from oms.domain.values import Side, TimeInForce
from tests.simulation.venue import OPEN, Venue, VenueOrder
from tests.simulation.world import World


@dataclass(slots=True)
class Habits:
    """How the market behaves in one scenario."""

    fill_within_s: float = 0.5
    parts_max: int = 3
    rejects_after: float = 0.0
    stalls: float = 0.0  # a partly filled order rests for the remainder
    activity_lag_s: float = 0.0


class Exchange:
    """Fills orders as time passes. When it is calm, every market order is filled soon and limits rest."""

    def __init__(self, world: World, venue: Venue, habits: Habits) -> None:
        self._world = world
        self._venue = venue
        self._habits = habits

    def take(self, order: VenueOrder) -> None:
        """An order has just been accepted."""
        world, random = self._world, self._world.random
        if world.chance(self._habits.rejects_after):
            world.loop.at(random.uniform(0, 0.4), self._venue.end, order, OrderStatus.REJECTED)
            return
        if not self._crosses(order):
            if order.time_in_force is TimeInForce.IOC:
                world.loop.at(0.001, self._venue.end, order, OrderStatus.CANCELLED)
            return
        self._fill_soon(order)

    def move(self, symbol: str, price: Decimal) -> None:
        """A new price; resting limits that it crosses are filled."""
        self._venue.prices[symbol] = price
        self._venue.lowest[symbol] = min(price, self._venue.lowest[symbol])
        self._world.note("price", symbol, price)
        for order in list(self._venue.orders.values()):
            if order.status in OPEN and order.instrument.symbol == symbol and self._crosses(order):
                self._fill_soon(order)

    def _crosses(self, order: VenueOrder) -> bool:
        price = self._venue.prices[order.instrument.symbol]
        if order.limit_price is None:
            return True
        return order.limit_price >= price if order.side is Side.BUY else order.limit_price <= price

    def _fill_soon(self, order: VenueOrder) -> None:
        world, random, habits = self._world, self._world.random, self._habits
        parts = random.randint(1, habits.parts_max)
        left, at = order.leaves, 0.0
        for part in range(parts):
            qty = left if part == parts - 1 else (left * Decimal(random.randint(1, 6)) / 8).quantize(Decimal("0.0001"))
            if qty <= 0:
                continue
            left -= qty
            at += random.random() * habits.fill_within_s
            lag = random.random() * habits.activity_lag_s if not world.calm else 0.0
            world.loop.at(at, self._fill, order, qty, lag)
            if part < parts - 1 and world.chance(habits.stalls):
                if order.time_in_force is TimeInForce.IOC:
                    world.loop.at(at + 0.01, self._venue.end, order, OrderStatus.CANCELLED)
                return
        if order.time_in_force is TimeInForce.IOC:
            world.loop.at(at + 0.01, self._venue.end, order, OrderStatus.CANCELLED)

    def _fill(self, order: VenueOrder, qty: Decimal, lag: float) -> None:
        self._venue.fill(order, qty, self._venue.prices[order.instrument.symbol], activity_after_s=lag)
