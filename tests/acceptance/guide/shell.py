"""Runs a shell command of the guide as it is written there, against a stack of the test's own.

`localhost:8000` becomes the stack's address; nothing else changes. Where `jq` is not installed, its path is followed in
Python instead, and where `curl` is not, the same request is sent by Python.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from decimal import Decimal
from typing import Any

from tests.stack import Stack, ask

_WITH_VALUE = {"-X", "--request", "-H", "--header", "-d", "--data"}


def paste(stack: Stack, command: str) -> Any:
    """Paste a `curl …` or `curl … | jq …` of the guide; the JSON that is shown, numbers as Decimal."""
    command = command.replace("localhost:8000", f"localhost:{stack.port}")
    curl, _, path = (part.strip() for part in command.partition("| jq"))
    if shutil.which("curl") is None:
        shown = _without_curl(curl)
    else:
        has_jq = shutil.which("jq") is not None
        done = subprocess.run(
            ["bash", "-c", command if has_jq else curl], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        shown = done.stdout
        path = "" if has_jq else path
    return _follow(json.loads(shown, parse_float=Decimal), path.strip("' "))


def _without_curl(command: str) -> str:
    words = shlex.split(command.replace("\\\n", " "))[1:]
    method, url, body, headers = "GET", "", None, {}
    while words:
        word = words.pop(0)
        value = words.pop(0) if word in _WITH_VALUE else ""
        match word:
            case "-X" | "--request":
                method = value
            case "-H" | "--header":
                name, _, content = value.partition(":")
                headers[name] = content.strip()
            case "-d" | "--data":
                body = value.encode()
            case _ if not word.startswith("-"):
                url = re.sub(r"\{(\w+)\}", r"\1", word)  # what curl makes of braces
    return ask(method, url, body, headers).body.decode()


def _follow(value: Any, path: str) -> Any:
    """What jq shows for `.name.name`, or everything for no path."""
    for name in filter(None, path.removeprefix(".").split(".")):
        value = value[name]
    return value
