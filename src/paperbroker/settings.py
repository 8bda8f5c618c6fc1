"""The options, each a flag and an environment variable of the same name (`--port`, `PAPERBROKER_PORT`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

from paperbroker.clock import Hours
from paperbroker.core import Fills
from paperbroker.timestamps import parse

PriceSource = Literal["generated", "pushed"]


class BadSettings(Exception):
    """Options that contradict each other or make no sense; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`start_ns`: where the broker's clock (with a tape: the replay) begins.

    `requests_per_minute` and `stream_symbols` 0: any. `positions`: what a fresh account holds, by symbol.
    """

    host: str = "127.0.0.1"
    port: int = 8100
    data: Path = Path("data/paperbroker")
    seed: int = 1
    hours: Hours = "all"
    start_ns: int | None = None
    tape: Path | None = None
    speed: float = 1.0
    rebase: bool = False
    requests_per_minute: int = 200
    stream_symbols: int = 0
    fills: Fills = "paper"
    prices: PriceSource = "generated"
    record: Path | None = None
    positions: Mapping[str, Decimal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tape is None and (self.rebase or self.speed != 1.0):
            raise BadSettings("--speed and --rebase need a tape: give --tape FILE, or leave them out")
        if not 0.001 <= self.speed <= 100_000:
            raise BadSettings("--speed has to lie between 0.001 and 100000 (1: as fast as it was recorded)")
        if self.tape is not None and not self.tape.is_file():
            raise BadSettings(f"--tape {self.tape}: there is no such file")
        if not 0 <= self.port <= 65535:
            raise BadSettings("--port has to lie between 0 (any free one) and 65535")


def parse_now(given: str | None) -> int | None:
    """`--now`: an RFC 3339 time or a date. Raises BadSettings."""
    if given is None:
        return None
    try:
        return parse(given)
    except (ValueError, OverflowError) as error:
        raise BadSettings(f"--now: {error}") from None


def parse_positions(given: str) -> dict[str, Decimal]:
    """`--positions`: `BTC/USD=0.5,AAPL=10`; a short position is negative. Raises BadSettings."""
    found: dict[str, Decimal] = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        symbol, _, qty = (word.strip() for word in part.partition("="))
        try:
            found[symbol] = Decimal(qty)
        except InvalidOperation:
            found[symbol] = Decimal(0)
        if not symbol or not found[symbol].is_finite() or found[symbol] == 0:
            raise BadSettings(f"--positions: {part[:40]!r} is not SYMBOL=QUANTITY, such as BTC/USD=0.5")
    return found
