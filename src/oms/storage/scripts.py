"""Runs a script of several SQL statements through a driver that prepares each by itself."""

from __future__ import annotations

from sqlalchemy import Connection


def run_script(connection: Connection, script: str) -> None:
    """Execute the statements of `script`; one ends at a line that ends in `;` outside of `$$` quotes."""
    for statement in statements(script):
        connection.exec_driver_sql(statement)


def statements(script: str) -> list[str]:
    """The statements of a script."""
    found: list[str] = []
    current: list[str] = []
    quoted = False
    for line in script.strip().splitlines():
        current.append(line)
        quoted ^= line.count("$$") % 2 == 1
        if line.rstrip().endswith(";") and not quoted:
            found.append("\n".join(current))
            current = []
    return found
