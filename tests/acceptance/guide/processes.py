"""What a stack leaves behind: its processes, however deep, and whether they are gone."""

from __future__ import annotations

from pathlib import Path

from tests.stack import Stack, eventually


def tree(stack: Stack) -> dict[int, str]:
    """Every process of the stack, `oms up` included: its id and what tells it from a later one with the same id."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if found := _stat(int(entry.name)):
            parents[int(entry.name)] = int(found[1])
    wanted = {stack.pid}
    while more := {pid for pid, parent in parents.items() if parent in wanted} - wanted:
        wanted |= more
    return {pid: _born(pid) for pid in wanted}


def child(stack: Stack, *parts: str, within_s: float = 60) -> int:
    """The id of the child of `oms up` whose command line has these parts, once there is one."""
    pid: int = eventually(lambda: find_child(stack, *parts), within_s, why=f"no child with {parts}")
    return pid


def find_child(stack: Stack, *parts: str) -> int:
    """The id of that child, or 0 while there is none."""
    for pid in tree(stack):
        found = _stat(pid)
        if found and int(found[1]) == stack.pid and all(part in _command(pid) for part in parts):
            return pid
    return 0


def alive(processes: dict[int, str]) -> list[int]:
    """Those that still run; a zombie does not."""
    return [pid for pid, born in processes.items() if born and _born(pid) == born]


def all_gone(processes: dict[int, str], within_s: float = 60) -> None:
    """None of them runs any more, or will not within some seconds."""
    eventually(lambda: not alive(processes), within_s, why=f"processes stay: {alive(processes)}")


def _born(pid: int) -> str:
    found = _stat(pid)
    return "" if not found or found[0] == "Z" else found[19]


def _command(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
