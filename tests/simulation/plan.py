"""What a seed means: the market, the faults, and everything that people and accidents do, decided before it begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from tests.simulation.broker import WireFaults
from tests.simulation.exchange import Habits
from tests.simulation.store import StoreFaults

MIDDAY = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
BEFORE_CLOSE = datetime(2026, 3, 3, 20, 59, 56, tzinfo=UTC)
BEFORE_MIDNIGHT = datetime(2026, 3, 4, 4, 59, 56, tzinfo=UTC)  # in New York; the stock market is closed

CALLS = (
    "commit",
    "commit",
    "commit",
    "submit",
    "submit",
    "lookup",
    "list",
    "fills",
    "accept",
    "cancel",
    "lease",
    "read",
)


@dataclass(frozen=True, slots=True)
class Wish:
    """One signal that somebody sends, and repeats until it is answered."""

    at: float
    fields: dict[str, object]
    via: str  # rest, stream or channel
    tries: int
    again_s: float
    cancel_after: float | None
    twisted: bool  # a repetition has other content


@dataclass(frozen=True, slots=True)
class Deed:
    """Something else that happens: `what` names a method of the house, with arguments."""

    at: float
    what: str
    arguments: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Ambush:
    """A process is killed or frozen so many steps after its n-th call of a kind."""

    name: str
    call: str
    nth: int
    steps: int
    what: str


@dataclass(slots=True)
class Plan:
    """A whole scenario."""

    seed: int
    in_order: bool
    base: datetime
    is_open: bool
    closes_in_s: float
    duration_s: float
    is_cold: bool
    per_minute: int
    has_standby: bool
    has_relay: bool
    skews_s: dict[str, float]
    held: dict[str, str]
    store: StoreFaults
    wire: WireFaults
    habits: Habits
    redis_lost: float
    decides: str  # what somebody does with differences: adopt, ignore, mixed; empty: nobody looks
    is_hasty: bool  # also with those that may only be on their way
    asked_singly_max: int = 5  # of the resolver
    resting: int = 0  # orders of days ago, which no listing since then shows
    done: int = 0  # orders of somebody's that had ended days before the account was taken in
    wishes: list[Wish] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    ambushes: list[Ambush] = field(default_factory=list)


def planned(seed: int) -> Plan:
    """The scenario of a seed."""
    r = Random(seed * 2_654_435_761 + 97)
    when = r.random()
    base = MIDDAY if when < 0.8 else BEFORE_CLOSE if when < 0.9 else BEFORE_MIDNIGHT
    calm_kind = r.random() < 0.06

    def fault(share: float, largest: float) -> float:
        """Most faults are absent in most scenarios, so that each is seen alone and together with others."""
        return 0.0 if calm_kind or r.random() > share else r.uniform(0.02, largest)

    wire = WireFaults(
        lost=fault(0.35, 0.3), unanswered=fault(0.35, 0.3), late=fault(0.3, 0.25), doubled=fault(0.25, 0.3),
        failed=fault(0.3, 0.25), busy=fault(0.15, 0.2), refused=fault(0.2, 0.4), hidden=fault(0.35, 0.6),
        update_lost=fault(0.35, 0.4), update_doubled=fault(0.35, 0.5), update_late=fault(0.35, 0.4),
        unreadable=fault(0.1, 0.1), illegible=fault(0.08, 0.1),
    )  # fmt: skip
    store = StoreFaults(
        quick=r.choice((0.5, 0.8, 0.9)), lost=fault(0.2, 0.1), unanswered=fault(0.3, 0.15), late=fault(0.2, 0.1)
    )
    plan = Plan(
        seed=seed,
        in_order=r.random() < 0.6,
        base=base,
        is_open=base is not BEFORE_MIDNIGHT,
        closes_in_s=4.0 if base is BEFORE_CLOSE else 3600.0,
        duration_s=r.uniform(3.0, 10.0),
        is_cold=r.random() < 0.25,
        per_minute=r.choice((0, 0, 200)),
        has_standby=r.random() < 0.4,
        has_relay=r.random() < 0.1,
        skews_s={} if r.random() < 0.8 else {"engine": r.choice((-3600.0, -2.0, 2.0)), "api": r.uniform(-0.5, 0.5)},
        held={symbol: text for symbol, text in (("AAPL", "20"), ("BTC/USD", "0.2")) if r.random() < 0.4},
        store=store,
        wire=wire,
        habits=Habits(
            fill_within_s=r.choice((0.02, 0.3, 2.0)), parts_max=r.choice((1, 2, 3, 4)), rejects_after=fault(0.2, 0.3),
            stalls=0.0 if r.random() < 0.6 else 0.5, activity_lag_s=0.0 if r.random() < 0.6 else 2.0,
        ),
        redis_lost=fault(0.4, 0.8),
        decides=r.choice(("", "adopt", "adopt", "ignore", "mixed")),
        is_hasty=r.random() < 0.2,
    )  # fmt: skip
    if plan.is_cold:
        plan.wire.illegible = 0.0  # what cannot be read at the first contact is not taken in, and differs from then on
    _people(plan, r)
    _at_the_broker(plan, r)
    if not calm_kind:
        _accidents(plan, r)
    if r.random() < 0.04:
        _outage(plan, r)
    _rare(plan, Random(seed * 2_654_435_761 + 98))
    if r.random() < 0.04:  # a first request arrives late, and its repetition is refused
        plan.wire.late, plan.wire.refused = 0.4, 0.5
    return plan


def _rare(plan: Plan, r: Random) -> None:
    """What came to be simulated later; drawn apart, so that the stories of the seeds stay what they were."""
    plan.asked_singly_max = r.choice((5, 0))
    if not plan.is_cold and r.random() < 0.15:
        plan.resting = r.randint(1, 2)
        for _ in range(plan.resting):
            plan.deeds.append(Deed(r.uniform(0, plan.duration_s), "end_unseen"))
    if r.random() < 0.05:  # what is accepted is not shown for longer than any signal is fresh
        plan.wire.hidden, plan.wire.hidden_s_max = 0.6, 45.0
        plan.wire.unanswered, plan.wire.update_lost = 0.5, 0.7
    if r.random() < 0.15:
        plan.wire.slow = r.uniform(0.02, 0.3)
    if r.random() < 0.12:
        plan.store.stalls = r.uniform(0.002, 0.03)
    for share, what, most in (
        (0.12, "bracket_elsewhere", 2), (0.12, "fill_late", 2), (0.06, "refuse_keys", 1), (0.06, "set_clock", 2),
    ):  # fmt: skip
        for _ in range(r.randint(1, most) if r.random() < share else 0):
            arguments: tuple[object, ...] = ()
            if what == "bracket_elsewhere" and not plan.is_open and plan.is_cold:
                continue  # a maker's fee on the day of the first contact is not trued up
            if what == "bracket_elsewhere":
                symbol = r.choice(("AAPL", "MSFT") if plan.is_open else ("BTC/USD",))
                qty = "0.01" if "/" in symbol else str(r.randint(1, 9))
                arguments = (symbol, r.choice(("buy", "sell")), qty, r.uniform(0.1, 6.0))
            elif what == "refuse_keys":
                arguments = (r.uniform(0.2, 4.0),)
            elif what == "set_clock":
                arguments = (r.choice(("engine", "api")), r.choice((-3600.0, -5.0, 5.0, 3600.0)))
            plan.deeds.append(Deed(r.uniform(0, plan.duration_s), what, arguments))
    if r.random() < 0.1:
        plan.done = r.randint(1, 2)
        for _ in range(plan.done):
            plan.deeds.append(Deed(r.uniform(0, plan.duration_s), r.choice(("bust", "fill_late"))))


def _outage(plan: Plan, r: Random) -> None:
    """The broker is away for so long that an order in doubt could be called absent, with an answer lost just before."""
    plan.wire.unanswered, plan.wire.lost, plan.wire.update_lost = 0.7, 0.0, 0.9
    plan.ambushes.append(Ambush("engine", "submit", r.randint(1, 2), r.randint(0, 12), "outage"))
    plan.duration_s = r.uniform(75.0, 100.0)


def _people(plan: Plan, r: Random) -> None:
    rush = r.uniform(0, plan.duration_s) if r.random() < 0.4 else None
    favourite = r.choice(("AAPL", "MSFT", "BTCUSD")) if plan.is_open else "BTCUSD"
    for _ in range(r.randint(2, 9)):
        at = r.uniform(0, plan.duration_s) if rush is None or r.random() < 0.4 else rush + r.random() * 0.002
        is_favourite = r.random() < (0.6 if plan.is_open else 0.9)
        symbol = favourite if is_favourite else r.choice(("AAPL", "MSFT", "BTCUSD", "btc/usd"))
        plan.wishes.append(
            Wish(
                at=at,
                fields=_fields(plan, symbol, r),
                via=r.choice(("rest", "rest", "rest", "stream", "channel")),
                tries=r.choice((1, 3, 6, 40)),
                again_s=r.choice((0.05, 0.5, 1.5)),
                cancel_after=r.uniform(0, 3) if r.random() < 0.2 else None,
                twisted=r.random() < 0.05,
            )
        )
    for _ in range(r.choice((0, 0, 0, 1, 2))):
        side = r.choice(("buy", "sell"))
        symbol = r.choice(("AAPL", "MSFT", "BTC/USD") if plan.is_open else ("BTC/USD",))
        qty = "0.01" if "/" in symbol else str(r.randint(1, 9))
        plan.deeds.append(Deed(r.uniform(0, plan.duration_s), "trade_elsewhere", (symbol, side, qty, r.random() < 0.3)))
    for _ in range(r.choice((0, 0, 1, 2))):
        symbol = r.choice(("AAPL", "MSFT", "BTC/USD"))
        plan.deeds.append(
            Deed(r.uniform(0, plan.duration_s), "move_price", (symbol, r.choice(("0.97", "0.99", "1.02"))))
        )
    if r.random() < 0.15:
        key, values = r.choice((
            ("max_position_size_usd", ("2000", "20000")), ("max_order_qty_stock", ("10", "500")),
            ("max_signal_age_s", ("3", "60")),
        ))  # fmt: skip
        plan.deeds.append(Deed(r.uniform(0, plan.duration_s), "configure", (key, r.choice(values))))
    if r.random() < 0.1:
        plan.deeds.append(
            Deed(r.uniform(0, plan.duration_s), "mumble", (r.choice(("{", '{"symbol": "AAPL"}', "\xff")),))
        )


def _at_the_broker(plan: Plan, r: Random) -> None:
    """What the broker and other people do in the account, beside trading by hand."""
    bust = 0.5 if plan.base is BEFORE_MIDNIGHT else 0.12  # fees are of a day
    for share, what, most in (
        (bust, "bust", 2), (0.12, "replace_elsewhere", 2), (0.15, "move_holding", 3), (0.1, "halt", 2),
        (0.08, "resume", 2),
    ):  # fmt: skip
        for _ in range(r.randint(1, most) if r.random() < share else 0):
            arguments: tuple[object, ...] = ()
            if what == "replace_elsewhere":
                arguments = (r.choice(("0.5", "1", "1.5")), r.choice(("0.99", "1", "1.01")))
            if what == "move_holding":
                symbol = r.choice(("AAPL", "MSFT", "BTC/USD"))
                arguments = (symbol, "0.05" if "/" in symbol else r.choice(("5", "-3", "30")))
            earliest = 4.0 if what == "bust" and not plan.is_open and plan.duration_s > 5.0 else 0.0  # after midnight
            plan.deeds.append(Deed(r.uniform(earliest, plan.duration_s), what, arguments))


def _fields(plan: Plan, symbol: str, r: Random) -> dict[str, object]:
    is_crypto = symbol not in {"AAPL", "MSFT"}
    side = "buy" if r.random() < 0.7 else "sell"
    qty: object = r.choice(("0.01", "0.1", "0.25", "0.4")) if is_crypto else str(r.choice((1, 3, 10, 30, 60, 90, 150)))
    if r.random() < 0.07:
        side, qty = "sell", "all"
    fields: dict[str, object] = {"symbol": symbol, "side": side, "qty": qty}
    if r.random() < 0.35 and not (is_crypto and plan.is_cold):
        price = 20000 if is_crypto else 100 if symbol == "AAPL" else 50
        factor = r.choice((0.98, 0.985, 1.01)) if side == "buy" else r.choice((1.015, 1.03, 0.99))
        fields |= {"type": "limit", "limit_price": str(round(price * factor, 2))}
        if r.random() < 0.3:
            fields["time_in_force"] = "ioc"
    if r.random() < 0.25:
        fields["valid_for_s"] = r.choice(("1.5", "4", "90"))
    return fields


def _accidents(plan: Plan, r: Random) -> None:
    names = ["engine", "engine", "engine", "api"] + (["standby"] if plan.has_standby else [])
    for _ in range(r.choice((0, 1, 1, 2, 3))):
        name = r.choice(names)
        if r.random() < 0.7:
            call = r.choice(CALLS) if name != "api" else "accept"
            plan.ambushes.append(Ambush(name, call, r.randint(1, 6), r.randint(0, 40), "kill"))
        else:
            plan.deeds.append(Deed(r.uniform(0, plan.duration_s), "kill_in", (name, r.randint(0, 60))))
    if r.random() < 0.2:
        plan.ambushes.append(Ambush("engine", r.choice(CALLS), r.randint(1, 6), r.randint(0, 30), "freeze"))
    for share, what, most in (
        (0.25, "cut_streams", 0.0), (0.12, "break_store", 3.0), (0.15, "break_wire", 4.0), (0.15, "break_redis", 4.0),
        (0.05, "flush_redis", 0.0), (0.12, "stop_engine", 0.0), (0.2, "mute_prices", 6.0), (0.08, "blank_prices", 6.0),
    ):  # fmt: skip
        if r.random() < share:
            arguments = (r.uniform(0.2, most),) if most else ()
            plan.deeds.append(Deed(r.uniform(0, plan.duration_s), what, arguments))
