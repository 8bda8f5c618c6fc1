"""Prints the path of QuestDB's jar, fetched from Maven Central if need be, its SHA-256 checked. Run as a child:

    python -m oms.embedded.fetch CACHE_FOLDER

A process of its own, because a download in a thread can be neither cancelled nor left behind. Its last line of output
is the path (exit code 0) or the reason why there is none (1).
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

VERSION = "9.3.4"


class Jar(NamedTuple):
    """A file of Maven Central."""

    group: str
    artifact: str
    version: str
    sha256: str


QUESTDB = Jar("org.questdb", "questdb", VERSION, "939bc53ab22f93dbaa6545143a6e7c536d4904c07b7f2d381e8eef10436be062")


def fetch(cache: Path, wanted: Jar = QUESTDB) -> Path:
    """The jar in `cache`, checked. Raises ValueError (wrong content) or whatever the download raises."""
    jar = cache / f"{wanted.artifact}-{wanted.version}.jar"
    if jar.is_file() and _sha256(jar) == wanted.sha256:
        return jar
    from jgo.maven import MavenContext  # noqa: PLC0415 - slow to import, rarely needed

    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="maven-") as work:
        project = MavenContext(repo_cache=Path(work)).project(wanted.group, wanted.artifact)
        fetched = Path(project.at_version(wanted.version).artifact().resolve())
        if (found := _sha256(fetched)) != wanted.sha256:
            raise ValueError(f"the downloaded jar has SHA-256 {found}, expected {wanted.sha256}")
        fetched.replace(jar)
    return jar


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Print the path or the reason."""
    try:
        print(fetch(Path(sys.argv[1])))  # noqa: T201
    except Exception as error:  # noqa: BLE001 - whatever it is, our parent goes on without QuestDB and says so
        print(f"{type(error).__name__}: {error}".replace("\n", " ")[:300])  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
