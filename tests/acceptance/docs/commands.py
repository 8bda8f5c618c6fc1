"""The commands that README and docs/ show: fenced `bash` and `sql` blocks, and commands within the text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.stack import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
# within the text, `oms up` and `make test` are names of things; these are there to be typed
_TYPED = re.compile(r"(curl|grep|docker compose (?!up\b|down\b|kill\b)\w+|\.venv/bin/\w+|redis-cli|uv|uvx) ")
_PROGRAM = re.compile(r"(\w+=\S+ )*(curl|docker|grep|make|oms|paperbroker|pytest|redis-cli|uvx?|\.venv/bin/\w+)( |$)")


@dataclass(frozen=True)
class Command:
    """One command line, without its comment. `language` is bash or sql; `page` is relative to the repository."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def commands(page: Path) -> list[Command]:
    """Every command of a page, in its order."""
    text = page.read_text()
    name = page.relative_to(ROOT).as_posix()
    found = [
        Command(name, _line(text, block.start(2)) + offset, block.group(1), command)
        for block in _FENCE.finditer(text)
        if block.group(1) in {"bash", "sql"}
        for offset, command in _split(block.group(2), block.group(1))
    ]
    prose = _FENCE.sub(lambda block: re.sub(r"[^\n]", " ", block.group()), text)
    found += [
        Command(name, _line(text, span.start()), "bash", " ".join(span.group(1).replace("\\|", "|").split()))
        for span in _SPAN.finditer(prose)
        if _TYPED.match(span.group(1)) and not span.group(1).endswith("/")
    ]
    return sorted(found, key=lambda command: command.line)


def unmarked_blocks(page: Path) -> list[str]:
    """Blocks that are commands by their looks, but are not marked `bash`, so that nobody runs them."""
    blocks = _FENCE.finditer(page.read_text())
    return [
        block.group(2)
        for block in blocks
        if block.group(1) != "bash"
        and (block.group(1) in {"sh", "shell", "console", "zsh"} or _PROGRAM.match(block.group(2)))
    ]


def _split(block: str, language: str) -> Iterator[tuple[int, str]]:
    """The commands of a block with their lines within it. Quotes and backslashes join lines."""
    if language == "sql":
        for number, line in enumerate(block.splitlines()):
            if line.strip():
                yield number, line.strip()
        return
    pending: list[str] = []
    for number, line in enumerate(block.splitlines()):
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending.append(line)
        whole = "\n".join(pending)
        if line.endswith("\\") or not _is_complete(whole):
            continue
        yield number - len(pending) + 1, re.sub(r" +# .*$", "", whole)
        pending = []
    assert not pending, f"a quote is not closed: {pending}"


def _is_complete(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
