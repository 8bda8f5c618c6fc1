"""The rows of the fault matrix, how they are run, and the table that comes of it."""

from __future__ import annotations

import asyncio
import os
import platform
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

from tests.faults.bench import Bench, Site, progress

AT_ONCE = 6
ROW_S = 240  # far more than any row takes: one that hangs must not stop the others
Work = Callable[[Site], Awaitable[str]]


@dataclass(frozen=True)
class Row:
    """One fault: what is expected, and the work that brings it about and returns the figure that it measured.

    `alone`: it measures how quick something is, and runs when the others are done. `long`: it waits, and starts first.
    """

    number: int
    fault: str
    expected: str
    work: Work
    alone: bool = False
    long: bool = False


@dataclass
class Outcome:
    """What came of a row. `failure` is empty when everything held."""

    row: Row
    measured: str = ""
    failure: str = ""
    trace: str = ""
    lost: int = 0
    doubled: int = 0
    false_rejects: int = 0
    signals: int = 0
    seconds: float = 0.0


@dataclass
class Matrix:
    """All rows, by number."""

    rows: dict[int, Row] = field(default_factory=dict)

    def row(
        self, number: int, fault: str, expected: str, *, alone: bool = False, long: bool = False
    ) -> Callable[[Work], Work]:
        """Enter a row."""

        def enter(work: Work) -> Work:
            assert number not in self.rows
            self.rows[number] = Row(number, fault, expected, work, alone, long)
            return work

        return enter


MATRIX = Matrix()
row = MATRIX.row


async def run(folder: Path, numbers: Collection[int]) -> dict[int, Outcome]:
    """Run these rows, several at once, on servers that they share."""
    bench = Bench(folder)
    try:
        await bench.start()
        rows = sorted((MATRIX.rows[number] for number in numbers), key=lambda one: (not one.long, one.number))
        gate = asyncio.Semaphore(AT_ONCE)
        together = [_gated(one, bench, gate) for one in rows if not one.alone]
        found = list(await asyncio.gather(*together))
        found += [await _outcome(one, bench) for one in rows if one.alone]
        return {outcome.row.number: outcome for outcome in found}
    finally:
        bench.stop()


async def _gated(one: Row, bench: Bench, gate: asyncio.Semaphore) -> Outcome:
    async with gate:
        return await _outcome(one, bench)


async def _outcome(one: Row, bench: Bench) -> Outcome:
    outcome = Outcome(one)
    site = Site(bench, bench.folder / f"row{one.number:02}")
    begun = time.monotonic()
    try:
        async with asyncio.timeout(ROW_S):
            outcome.measured = await one.work(site)
            for rig in site.rigs:
                await rig.converged()
    except Exception as error:  # noqa: BLE001 — a row that fails is an outcome; the others go on
        outcome.failure = f"{type(error).__name__}: {error}"
        outcome.trace = traceback.format_exc()
    try:
        await _count(outcome, site)
    except Exception as error:  # noqa: BLE001
        outcome.failure = outcome.failure or f"it could not be counted: {error!r}"
    await site.stop()
    outcome.seconds = time.monotonic() - begun
    verdict = f"FAILED {shorten(outcome.failure, 200)}" if outcome.failure else outcome.measured
    progress(f"row {one.number:2} {one.fault}: {verdict} ({outcome.seconds:.1f} s)")
    return outcome


async def _count(outcome: Outcome, site: Site) -> None:
    for rig in site.rigs:
        found = await rig.differences()
        outcome.lost += len(found.lost)
        outcome.doubled += len(found.doubled)
        outcome.false_rejects += len(found.false_rejects)
        outcome.signals += len(rig.accepted)
        if not outcome.failure:
            outcome.failure = str(found) if found else await rig.audited()


def table(outcomes: Sequence[Outcome]) -> str:
    """The matrix as text; its last line are the totals."""
    lines = [("#", "fault", "expected", "measured", "verdict")]
    for outcome in outcomes:
        verdict = f"FAILED: {shorten(outcome.failure, 160)}" if outcome.failure else "held"
        lines.append((str(outcome.row.number), outcome.row.fault, outcome.row.expected, outcome.measured, verdict))
    widths = [max(len(line[place]) for line in lines) for place in range(4)]
    shown = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4]]) for line in lines
    ]
    return "\n".join([*shown, machine(), totals(outcomes)])


def totals(outcomes: Sequence[Outcome]) -> str:
    """The last line."""
    held = sum(not outcome.failure for outcome in outcomes)
    lost, doubled, false = (
        sum(getattr(outcome, name) for outcome in outcomes) for name in ("lost", "doubled", "false_rejects")
    )
    signals = sum(outcome.signals for outcome in outcomes)
    return (
        f"{len(outcomes)} rows, lost {lost}, doubled {doubled}, false rejects {false}, "
        f"{held} held, {len(outcomes) - held} failed, {signals} signals accepted"
    )


def machine() -> str:
    """Where the figures come from: they depend on it."""
    load = os.getloadavg()[0]
    where = f"{os.cpu_count()} cores ({platform.machine()})"
    return f"measured on {where}, load {load:.1f} at the end, {AT_ONCE} rows at once"
