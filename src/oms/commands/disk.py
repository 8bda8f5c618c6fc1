"""What the disk refuses, as one line that names the place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oms.domain.errors import NotWritten


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Raise NotWritten where the disk fails. What a server's connection fails with passes as it is."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise NotWritten(
            f"{place} cannot be written: {error.strerror or error}. Make room, or name another."
        ) from error
