"""The broker's answers against Alpaca's own OpenAPI files, which come with the package alpaca-mcp-server.

Both checks run in an environment of their own (`requirements/clients-openapi.txt`): openapi-core over a walk through
every implemented operation, and schemathesis, which makes up requests.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.clients.environments import python_environment
from tests.acceptance.openapi.operations import MARKET_DATA, TRADING, UNDOCUMENTED

SECONDS = 60


@pytest.fixture(scope="module")
def python() -> Path:
    return python_environment("openapi")


@pytest.mark.timeout(300)  # the first run installs the environment
def test_every_answer_is_as_the_contract_says(python: Path, broker: Any) -> None:
    script = Path(__file__).parent / "walk.py"
    done = subprocess.run([python, script, broker.url], capture_output=True, text=True, timeout=SECONDS, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{answers[-1:]}\n{done.stderr}"
    violations = [answer for answer in answers if answer["wrong"] not in {None, "undocumented"}]
    assert violations == []
    undocumented = {(a["operation"], a["status"]) for a in answers if a["wrong"] == "undocumented"}
    assert undocumented <= UNDOCUMENTED, "list it in operations.py with where it is known from, or mend the answer"
    answered_well = {answer["operation"] for answer in answers if answer["status"] < 300}
    assert answered_well == {*TRADING, *MARKET_DATA}, "an operation that is implemented was not walked, or failed"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "operations", "examples", "phases"),
    [
        ("trading-api", TRADING, 12, "examples,coverage,fuzzing"),
        ("market-data-api", MARKET_DATA, 8, "examples,fuzzing"),
    ],
)
def test_made_up_requests_find_no_violation(
    python: Path, broker: Any, tmp_path: Path, name: str, operations: tuple[str, ...], examples: int, phases: str
) -> None:
    spec = tmp_path / f"{name}.json"
    subprocess.run([python, Path(__file__).parent / "specs.py", name, spec], check=True)
    command = [python.parent / "schemathesis", "run", spec, "--url", broker.url]
    command += ["--include-operation-id-regex", f"^({'|'.join(map(re.escape, operations))})$"]
    command += ["--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"]
    command += ["--max-examples", str(examples), "--seed", "1", "--phases", phases, "--no-color"]
    command += ["--header", f"APCA-API-KEY-ID: mock-{name}", "--header", "APCA-API-SECRET-KEY: any"]
    command += ["--generation-database", "none", "--suppress-health-check", "all"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "120"},
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
