"""The file of a backup: a tar with `manifest.json` first and `database.dump` after it."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from oms.backup.manifest import FORMAT, Manifest
from oms.domain.errors import ConfigurationError

MANIFEST, DUMP = "manifest.json", "database.dump"


@contextmanager
def whole_or_absent(target: Path) -> Iterator[Path]:
    """A path beside the target to write to: put in its place when the block ends well, else removed."""
    work = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield work
        with work.open("rb") as file:
            os.fsync(file.fileno())
        work.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        work.unlink(missing_ok=True)


def pack(target: Path, manifest: Manifest, dump: Path) -> None:
    """Write the archive, readable by its owner alone."""
    described = target.with_suffix(".json")
    try:
        described.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(described, MANIFEST)
            archive.add(dump, DUMP)
    finally:
        described.unlink(missing_ok=True)


def read_manifest(path: Path, name: str | None = None) -> Manifest:
    """What a backup says of itself. Raises ConfigurationError where it is none, or one of a later version.

    `name` is what people call it.
    """
    called = name or path
    try:
        with tarfile.open(path) as archive:
            file = archive.extractfile(MANIFEST)
            manifest = msgspec.json.decode(file.read() if file else b"", type=Manifest)
            archive.getmember(DUMP)
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file {called}.") from None
    except (OSError, tarfile.TarError, KeyError, msgspec.DecodeError) as error:
        reason = str(error).partition("\n")[0].strip(": ")
        raise ConfigurationError(f"{called} is no backup made by `oms backup`: {reason}") from error
    if manifest.format > FORMAT:
        raise ConfigurationError(f"{called} was made by a later version ({manifest.trademk1}): restore with that one.")
    return manifest


def unpack_dump(path: Path, target: Path) -> None:
    """Write the dump out of the archive."""
    with tarfile.open(path) as archive, target.open("wb") as file:
        inner = archive.extractfile(DUMP)
        assert inner is not None  # noqa: S101 — read_manifest saw it
        while chunk := inner.read(1 << 20):
            file.write(chunk)
