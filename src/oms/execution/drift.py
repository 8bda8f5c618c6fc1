"""The drift ledger in memory: every difference that stands, and what becomes of each.

Like the book, each method puts the next state into memory and returns the Changes that store it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import structlog

from oms.domain.drift import Cause, Drift, DriftKind, DriftState, Resolution
from oms.ports import Changes

log = structlog.get_logger(__name__)

ENGINE = "engine"  # who resolved what no person did


class DriftLedger:
    """The differences of one account, identified by kind and subject while they stand."""

    def __init__(self, account_id: UUID, standing: Sequence[Drift], last_id: int, now: Callable[[], datetime]) -> None:
        self._account_id = account_id
        self._last_id = last_id
        self._now = now
        self._standing = {(one.kind, one.subject): one for one in standing}

    @property
    def standing(self) -> Sequence[Drift]:
        """Those that are open or ignored, oldest first."""
        return list(self._standing.values())

    @property
    def unsettled(self) -> Sequence[Drift]:
        """Those that nobody has accepted."""
        return [one for one in self._standing.values() if one.state is DriftState.OPEN]

    def find(self, kind: DriftKind, subject: str) -> Drift | None:
        """A standing difference."""
        return self._standing.get((kind, subject))

    def by_id(self, drift_id: int) -> Drift | None:
        """A standing difference by its number."""
        return next((one for one in self._standing.values() if one.id == drift_id), None)

    def blocker(self, symbol: str) -> Drift | None:
        """What blocks a symbol, if anything does."""
        return next((one for one in self._standing.values() if one.blocks and one.symbol == symbol), None)

    def found(
        self,
        kind: DriftKind,
        subject: str,
        symbol: str,
        cause: Cause,
        ours: object,
        theirs: object,
        *,
        order_id: UUID | None = None,
        blocks: bool = False,
        counts: bool = True,
    ) -> Changes:
        """A difference stands: a new row, or one more pass that saw it (`counts`). An ignored one stays ignored while
        it is the same. One that blocks and becomes another is another row, so that nobody adopts what they did not see;
        it goes on blocking."""
        at, before = self._now(), self._standing.get((kind, subject))
        passes, changes = 1, Changes()
        if before is not None and not _same(before, str(ours), str(theirs)):
            if before.state is DriftState.IGNORED or before.blocks:
                passes = before.passes + counts if before.blocks else 1
                changes = self.over(kind, subject, Resolution.CHANGED)
                before = None
        elif before is not None and before.state is DriftState.IGNORED:
            return Changes()
        if before is None:
            row = self._row(kind, subject, symbol, cause, str(ours), str(theirs), at, order_id)
            after = replace(row, blocks=blocks, passes=passes)
        else:
            after = replace(
                before, cause=cause, ours=str(ours), theirs=str(theirs), last_seen=at,
                passes=before.passes + counts, blocks=blocks,
            )  # fmt: skip
        changes.merge(self._put(after))
        if before is None or (before.cause, before.blocks) != (cause, blocks):
            tell = log.error if blocks else log.warning
            tell(
                "drift", id=after.id, kind=str(kind), symbol=symbol, cause=str(cause), ours=after.ours,
                broker=after.theirs, blocks=blocks,
            )  # fmt: skip
        return changes

    def mended(
        self,
        kind: DriftKind,
        subject: str,
        symbol: str,
        cause: Cause,
        ours: object,
        theirs: object,
        resolution: Resolution,
        *,
        order_id: UUID | None = None,
    ) -> Changes:
        """A difference that was put right as it was found: a row all the same."""
        at = self._now()
        row = self._row(kind, subject, symbol, cause, str(ours), str(theirs), at, order_id)
        log.info("drift_mended", id=row.id, kind=str(kind), symbol=symbol, cause=str(cause), resolution=str(resolution))
        return self._put(_resolved(row, resolution, at, ENGINE, None))

    def over(
        self,
        kind: DriftKind,
        subject: str,
        resolution: Resolution = Resolution.SETTLED_ITSELF,
        *,
        by: str = ENGINE,
        reason: str | None = None,
    ) -> Changes:
        """It does not stand any more, if it did."""
        before = self._standing.get((kind, subject))
        if before is None:
            return Changes()
        log.info("drift_over", id=before.id, kind=str(kind), symbol=before.symbol, resolution=str(resolution), by=by)
        return self._put(_resolved(before, resolution, self._now(), by, reason))

    def ignore(self, drift: Drift, by: str, reason: str) -> Changes:
        """A person accepts it as it is: it blocks nothing until it changes."""
        log.warning("drift_ignored", id=drift.id, symbol=drift.symbol, by=by, reason=reason)
        ignored = replace(
            drift, state=DriftState.IGNORED, blocks=False, resolution=Resolution.IGNORED, resolved_at=self._now(),
            resolved_by=by, reason=reason,
        )  # fmt: skip
        return self._put(ignored)

    def _row(
        self, kind: DriftKind, subject: str, symbol: str, cause: Cause, ours: str, theirs: str, at: datetime,
        order_id: UUID | None,
    ) -> Drift:  # fmt: skip
        self._last_id += 1
        return Drift(
            self._last_id, self._account_id, kind, subject, symbol, cause, ours, theirs, at, at, order_id=order_id
        )

    def _put(self, drift: Drift) -> Changes:
        if drift.stands:
            self._standing[drift.kind, drift.subject] = drift
        elif (standing := self._standing.get((drift.kind, drift.subject))) and standing.id == drift.id:
            del self._standing[drift.kind, drift.subject]
        return Changes(drift={drift.id: drift})


def _same(before: Drift, ours: str, theirs: str) -> bool:
    """Whether it is the difference that was accepted. Positions trade on: what counts is by how much they differ."""
    if before.kind is DriftKind.POSITION:
        return before.delta == replace(before, ours=ours, theirs=theirs).delta
    return (before.ours, before.theirs) == (ours, theirs)


def _resolved(drift: Drift, resolution: Resolution, at: datetime, by: str, reason: str | None) -> Drift:
    return replace(
        drift, state=DriftState.RESOLVED, blocks=False, resolution=resolution, resolved_at=at, resolved_by=by,
        reason=reason if reason is not None else drift.reason,
    )  # fmt: skip
