"""What a deliberate defect is, and how it is planted for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

Patch = tuple[object, str, Any]


@dataclass(frozen=True, slots=True)
class Defect:
    """What is done wrong, and the replacements that do it."""

    name: str
    patches: Callable[[], Sequence[Patch]]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """With the defect in place."""
        with ExitStack() as stack:
            for where, name, wrong in self.patches():
                right = where.__dict__[name] if isinstance(where, type) else getattr(where, name)
                setattr(where, name, wrong)
                stack.callback(setattr, where, name, right)
            yield
