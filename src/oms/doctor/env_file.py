"""What is wrong with `.env` and with names in the environment: what is misspelt is not read, and nobody says so."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from oms.doctor.finding import Finding, failed, ok, warning
from oms.settings import NAMES

CHECK = "settings"
KNOWN = NAMES | {
    "APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "APCA_API_BASE_URL", "APCA_API_DATA_URL", "OMS_ENV_FILE", "OMS_CACHE",
    "OMS_IMAGE", "QUESTDB_PORT", "POSTGRES_PASSWORD", "PAPERBROKER_HOST", "PAPERBROKER_PORT", "PAPERBROKER_DATA",
    "PAPERBROKER_SEED", "PAPERBROKER_HOURS", "PAPERBROKER_NOW", "PAPERBROKER_TAPE", "PAPERBROKER_SPEED",
    "PAPERBROKER_POSITIONS", "PAPERBROKER_REBASE", "PAPERBROKER_REQUESTS_PER_MINUTE", "PAPERBROKER_STREAM_SYMBOLS",
    "PAPERBROKER_FILLS", "PAPERBROKER_PRICES", "PAPERBROKER_RECORD",
}  # fmt: skip
_OURS = ("ALERT", "ALPACA", "APCA", "OMS_", "PAPERBROKER")
_NEAR = 0.8
_NEAR_IN_FAMILY = 0.7
_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[^\s=#]+)(?P<before>\s*)=(?P<after>[ \t]*)(?P<value>.*?)\s*$")
_TYPOGRAPHIC = "“”„‘’‚«»"
_OPEN_TO_OTHERS = stat.S_IRGRP | stat.S_IROTH


def env_findings(path: Path, environ: Mapping[str, str]) -> list[Finding]:
    """What to mend in the file and in the environment; one line that all is well otherwise."""
    found = [*_misspelt(environ, "the environment")]
    try:
        text = path.read_text(errors="replace")
    except OSError:  # where it should be there, the reading of the settings fails, and says why
        return [*found, ok(CHECK, f"there is no {path}: settings come from flags and the environment")]
    found += [*_of_lines(text, path), *_misspelt(_names(text), str(path))]
    if path.stat().st_mode & _OPEN_TO_OTHERS and re.search(r"(SECRET|KEY|TOKEN|ALERT_URLS)\w*\s*=\s*\S", text):
        found.append(
            warning(CHECK, f"{path} holds secrets, and others on this machine can read it", f"chmod 600 {path}")
        )
    return found or [ok(CHECK, f"{path} is read")]


def _names(text: str) -> list[str]:
    return [match["name"] for line in text.splitlines() if (match := _LINE.match(line))]


def _misspelt(names: Iterable[str], where: str) -> list[Finding]:
    found = []
    for name in sorted(set(names) - KNOWN):
        family = {known for known in KNOWN if known.partition("_")[0] == name.upper().partition("_")[0]}
        near = get_close_matches(name.upper(), family, 1, _NEAR_IN_FAMILY) or get_close_matches(
            name.upper(), KNOWN, 1, _NEAR
        )
        if near and (name.startswith(_OURS) or name.upper() in KNOWN or near[0].startswith(_OURS)):
            found.append(warning(CHECK, f"{name} in {where} is not known, and not read", f"do you mean {near[0]}?"))
        elif name.startswith(_OURS):
            found.append(
                warning(CHECK, f"{name} in {where} is not known, and not read", "see docs/operations.md, Options")
            )
    return found


def _of_lines(text: str, path: Path) -> list[Finding]:
    found: list[Finding] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{path}, line {number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            found.append(warning(CHECK, f"{where}: this is no NAME=value", "put # before a remark"))
            continue
        name, value = match["name"], match["value"]
        if name in seen:
            found.append(warning(CHECK, f"{where}: {name} was set in line {seen[name]}; this one counts", "drop one"))
        seen[name] = number
        if match["before"] or match["after"]:
            found.append(warning(CHECK, f"{where}: blanks around the = of {name}", "some programs read them as a part"))
        if value[:1] in {'"', "'"} and not re.fullmatch(r"""(["']).*\1(\s+#.*)?""", value):
            found.append(failed(CHECK, f"{where}: the quote of {name} is not closed", "close it, or leave both out"))
        elif value and (value[0] in _TYPOGRAPHIC or value[-1] in _TYPOGRAPHIC):
            found.append(failed(CHECK, f"{where}: typographic quotes belong to the value of {name}", "leave them out"))
    return found
