"""How each command of README and docs/ is run. What is in none of these lists is run as written by test_commands.py.

A new command needs an entry only if it cannot run so: with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

from tests.acceptance.docs.commands import Command


class Way(Enum):
    """Who runs a command."""

    AS_WRITTEN = "run by test_commands.py on the stack that `make up` has started"
    STAYS = "run by test_commands.py until a certain line appears, then ended with Ctrl-C"
    SETTING = "a line of .env, no command"
    DOCKER = "run by make compose-test"
    CI = "what CI itself calls"
    ELSEWHERE = "run by another test"
    CANNOT = "cannot be run by a test"


# Commands that go on until Ctrl-C, and what they print when they are ready.
STAYS: Mapping[str, str] = {
    "make up": "Ctrl-C stops everything",
    "ALPACA_API_KEY=mock make up": "Ctrl-C stops everything",
    "PAPERBROKER_HOURS=nyse PAPERBROKER_NOW=2026-03-08T15:00:00Z make up": "Ctrl-C stops everything",
    ".venv/bin/oms signals": "subscribe trade_signals 1",
    ".venv/bin/paperbroker": "paperbroker ready at",
    ".venv/bin/paperbroker --port 0 --data /tmp/broker": "paperbroker ready at",
    ".venv/bin/paperbroker --hours nyse --now 2026-11-27T12:59:00-05:00": "paperbroker ready at",
    ".venv/bin/paperbroker --tape tests/data/tape-half-hour.parquet --speed 10 --now 2013-10-07T13:30:00Z": (
        "paperbroker ready at"
    ),
}

# Set-up and tests: CI would call itself.
CI: Mapping[str, str] = {
    "make setup && .venv/bin/pytest tests/test_oms.py -v": "both are parts of make test",
    "make test": ".ci/run",
    "make check": "a part of make test",
    "make compose-test": "run by hand where a Docker engine is; elsewhere it says so and ends",
    "make faults": "its rows are a part of make test: tests/faults",
    'make faults ROWS="16 19"': "as above",
    "make simulate": "its seeds are a part of make test: tests/simulation",
    "make simulate SEEDS=20000 FIRST=0": "the same, with more seeds",
    "make defects": "tests/simulation/test_defects.py plants the same mistakes",
}

# Command: the test that runs it.
ELSEWHERE: Mapping[str, str] = {
    ".venv/bin/oms alerts test": (
        "tests/acceptance/alerts/test_alerts.py::test_oms_alerts_test_says_for_each_receiver_whether_it_arrived"
    ),
    "uv tool install --constraints requirements/app.txt .": (
        "tests/acceptance/docs/test_installed.py::test_uv_tool_install_gives_both_commands_at_the_pinned_versions"
    ),
    "uvx --from . oms up": ("tests/acceptance/docs/test_installed.py::test_uvx_starts_it_without_installing_it"),
    ".venv/bin/oms backup": (
        "tests/acceptance/upkeep/test_backup_and_restore.py::test_a_restored_record_catches_up_with_the_broker_and_trades_on"
    ),
    ".venv/bin/oms restore FILE": (
        "tests/acceptance/upkeep/test_backup_and_restore.py::test_a_backup_goes_into_an_empty_server_and_back"
    ),
    ".venv/bin/oms restore FILE --replace": (
        "tests/acceptance/upkeep/test_backup_and_restore.py::test_a_restored_record_catches_up_with_the_broker_and_trades_on"
    ),
    ".venv/bin/oms snapshot": "tests/acceptance/upkeep/test_snapshot.py::test_a_snapshot_holds_what_the_api_shows",
    ".venv/bin/oms audit": (
        "tests/acceptance/upkeep/test_audit.py::test_an_audit_while_orders_fill_raises_no_false_alarm"
    ),
    "cp -a data backup-2026-11-23": (
        "tests/acceptance/docs/test_commands.py::test_a_copy_of_the_stopped_folder_is_a_backup"
    ),
}

# Command: why not.
CANNOT: Mapping[str, str] = {
    "git pull": "there is no remote; the commands behind it are run",
    "redis-cli ping": "redis-cli is not installed by make up; in the container of Redis make compose-test runs it",
    "redis-cli subscribe trade_signals": "as above",
}

_SETTING = re.compile(r"[A-Z_]+=\S+$")
_DOCKER = re.compile(r"([A-Z_]+=\S+ )*docker |for volume in ")


def way_of(command: Command) -> Way:
    """Who runs this command."""
    text = command.text
    for listed, way in ((STAYS, Way.STAYS), (CI, Way.CI), (ELSEWHERE, Way.ELSEWHERE), (CANNOT, Way.CANNOT)):
        if text in listed:
            return way
    if _SETTING.match(text):
        return Way.SETTING
    return Way.DOCKER if _DOCKER.match(text) else Way.AS_WRITTEN
