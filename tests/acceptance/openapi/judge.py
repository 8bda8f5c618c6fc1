"""Holds every recorded answer (`paperbroker --record`) against Alpaca's OpenAPI files.

Runs in the environment `clients-openapi` with the file as its argument. Prints one JSON object: how many `answers`
there were and how many different ones, the `violations`, and [operation, status] of what is `undocumented`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from contract import UNDOCUMENTED, UNKNOWN, Answer, Contracts

# What Alpaca has and the file has not.
BESIDE_THE_FILE = frozenset({"GET /v2/events/trades", "DELETE /v2/watchlists:by_name"})


def shaped(answer: Answer) -> bool:
    """Whether a refusal is as Alpaca's are."""
    try:
        return isinstance(json.loads(answer.content)["message"], str)
    except (ValueError, KeyError, TypeError):
        return False


def main(path: str) -> dict[str, Any]:
    contracts = Contracts()
    count = 0
    seen: set[Answer] = set()
    violations: list[dict[str, Any]] = []
    undocumented: set[tuple[str, int]] = set()
    with Path(path).open(encoding="utf8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["fault"] is not None or entry["method"] == "HEAD":  # asked to be wrong; has no body
                continue
            count += 1
            answer = Answer(*(entry[n] for n in ("method", "path", "status", "content_type")), entry["body"].encode())
            if answer in seen:
                continue
            seen.add(answer)
            operation, wrong = contracts.judge(answer)
            if answer.status >= 400 and not shaped(answer):
                wrong = wrong if wrong not in {None, UNDOCUMENTED, UNKNOWN} else "a refusal without a message"
            elif wrong == UNDOCUMENTED and 400 <= answer.status < 500:
                undocumented.add((operation, answer.status))
                wrong = None
            elif wrong == UNKNOWN and (answer.status in {404, 405} or operation in BESIDE_THE_FILE):
                wrong = None
            if wrong is not None:
                violations.append({"operation": operation, "wrong": wrong, **entry, "body": entry["body"][:1000]})
    return {
        "answers": count,
        "different": len(seen),
        "violations": violations[:20],
        "undocumented": sorted(undocumented),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
