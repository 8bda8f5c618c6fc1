"""One result of the examination, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

import msgspec

SHORTEST_SECRET = 6


class Verdict(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"  # works, but not as it might be meant
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do (empty where there is nothing to do)."""

    check: str
    verdict: Verdict
    text: str
    advice: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, Verdict.OK, text)


def warning(check: str, text: str, advice: str = "") -> Finding:
    return Finding(check, Verdict.WARNING, text, advice)


def failed(check: str, text: str, advice: str = "") -> Finding:
    return Finding(check, Verdict.FAILED, text, advice)


def without(secrets: Iterable[str | None], findings: Sequence[Finding]) -> list[Finding]:
    """The findings without any of the secrets, should a library's error have repeated one."""
    hidden = sorted((one for one in secrets if one and len(one) >= SHORTEST_SECRET), key=len, reverse=True)

    def clean(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, "***")
        return text

    return [replace(one, text=clean(one.text), advice=clean(one.advice)) for one in findings]


def shown(findings: Sequence[Finding]) -> str:
    """A line for each, and a last one that sums up."""
    width = max(len(one.check) for one in findings)
    lines = [f"{one.verdict:<8} {one.check:<{width}}  {_line(one)}" for one in findings]
    counts = [f"{sum(one.verdict is verdict for one in findings)} {verdict}" for verdict in Verdict]
    return "\n".join([*lines, ", ".join(counts)])


def to_json(findings: Sequence[Finding]) -> str:
    """For programs: a list of objects with check, verdict, text, advice."""
    return msgspec.json.format(msgspec.json.encode([asdict(one) for one in findings]), indent=1).decode()


def _line(one: Finding) -> str:
    text = f"{one.text} → {one.advice}" if one.advice else one.text
    return " ".join(text.split())
