"""A fresh clone of the repository, for tests that do what a newcomer does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.stack import ROOT


def copy_repository(folder: Path) -> None:
    """What `git clone` would bring, with what is not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
