"""Becomes another program that cannot outlive its parent. Run by path, with the standard library only, as

    python -I -S launch.py PARENT_PID DEATH_SIGNAL UID GID exec|watch PROGRAM ARGUMENT...

The order matters: a change of user clears the death signal, and a parent that died before the request was made would
never be reported, so it is looked at afterwards. UID and GID are `-` for no change. `exec` is for Linux, where the
kernel sends the signal; `watch` is for systems without it: this process stays and looks after its parent itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_CANNOT_RUN = 126
_WATCH_S = 0.1


def main(argv: list[str]) -> int:
    """Change user, tie this process to its parent, become the program. Returns (126) only when that fails."""
    parent, death_signal = int(argv[0]), int(argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        if argv[2] != "-":
            os.setgroups([])
            os.setgid(int(argv[3]))
            os.setuid(int(argv[2]))
        os.umask(0o077)
        if argv[4] == "watch":
            return _watch(parent, death_signal, argv[5:])
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:
            return _CANNOT_RUN
        os.execv(argv[5], argv[5:])  # noqa: S606 - no shell is the point
    except OSError as error:
        print(f"Cannot start {argv[5]}: {error}", file=sys.stderr, flush=True)  # noqa: T201
    return _CANNOT_RUN


def _watch(parent: int, death_signal: int, command: list[str]) -> int:
    child = os.posix_spawn(command[0], command, os.environ)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) & 0xFF
        if os.getppid() != parent:
            os.kill(child, death_signal)
            return _CANNOT_RUN
        time.sleep(_WATCH_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
