"""Commands that stay until Ctrl-C, as a person starts and ends them in a terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.stack import eventually

_ENDED_BY_CTRL_C = {0, 2, 130, -signal.SIGINT}  # make's is 2, a shell's 130


@contextlib.contextmanager
def staying(text: str, until: str, folder: Path, env: Mapping[str, str], within_s: float = 180) -> Iterator[None]:
    """The command in this folder, from the moment it has printed `until` to the Ctrl-C at the end of the block."""
    printed = folder / "printed"
    with printed.open("wb") as terminal:
        process = subprocess.Popen(
            # a shell that puts tests into the background lets them inherit that Ctrl-C is ignored
            ["env", "--default-signal=INT", "bash", "-c", text],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )

    def is_ready() -> bool:
        said = printed.read_text(errors="replace")
        assert process.poll() is None, f"{text} ended with {process.returncode}:\n{said[-3000:]}"
        return until in said

    try:
        eventually(is_ready, within_s, why=f"{text} did not print {until!r}")
        yield
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) in _ENDED_BY_CTRL_C
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
