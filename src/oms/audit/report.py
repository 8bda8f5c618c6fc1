"""What an audit found, for a person and for a program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from textwrap import shorten

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oms.audit.findings import Difference, Findings, text

VALUE_MAX = 80  # characters of a value in a table; JSON has all of them
_WIDE = 200  # columns where nobody's terminal says how many there are


def console() -> Console:
    """Standard output; a pipe or a file is wide."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=_WIDE)


def as_json(findings: Findings) -> str:
    """One object; amounts are exact texts."""
    return json.dumps(
        {
            "clean": findings.is_clean,
            "at": findings.at.isoformat(),
            "checked": dict(findings.checked),
            "found": dict(findings.found),
            "differences": [one.as_data() for one in findings.differences],
            "in_flight": [one.as_data() for one in findings.in_flight],
            "notes": findings.notes,
        },
        indent=2,
    )


def show(findings: Findings, console: Console) -> None:
    """Tables of what differs, and a last line that says it all."""
    if findings.differences:
        console.print(_table("Differences", findings.differences))
    if findings.in_flight:
        console.print(_table("Under way while it was looked at (no difference yet)", findings.in_flight))
    for note in findings.notes:
        console.print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
    checked = ", ".join(f"{count:,} {what}" for what, count in findings.checked.items())
    console.print(
        f"Checked {checked or 'nothing'} (as of {findings.at:%Y-%m-%d %H:%M:%S} UTC).", highlight=False, soft_wrap=True
    )
    total = findings.found.total()
    if not total:
        console.print("Audit clean: everything agrees.", highlight=False, soft_wrap=True)
        return
    left_out = total - len(findings.differences)
    more = f" (the first {len(findings.differences):,} are shown)" if left_out else ""
    console.print(f"Audit found {total:,} difference{'s' if total > 1 else ''}{more}.", highlight=False, soft_wrap=True)


def _table(title: str, differences: Sequence[Difference]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("kind", "of", "what"):
        table.add_column(name, no_wrap=True, overflow="fold")  # an id that is cut off is of no use
    table.add_column("recorded", overflow="fold")
    table.add_column("expected", overflow="fold")
    for one in differences:
        recorded, expected = (escape(shorten(text(value), VALUE_MAX)) for value in (one.recorded, one.expected))
        table.add_row(escape(one.kind), escape(one.subject), escape(one.what), recorded, expected)
    return table
