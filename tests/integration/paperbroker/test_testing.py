"""The fixture, as others use it."""

import subprocess
import sys
import urllib.request
from pathlib import Path

from paperbroker.testing import PaperBroker, paper_broker

__all__ = ["paper_broker"]


def test_the_fixture_brings_an_account_of_its_own(paper_broker: PaperBroker) -> None:
    headers = {"APCA-API-KEY-ID": paper_broker.key, "APCA-API-SECRET-KEY": "any"}
    request = urllib.request.Request(f"{paper_broker.url}/v2/account", headers=headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    assert len(paper_broker.control.requests()) == 1
    assert paper_broker.account().control.requests() == []


def test_options_reach_the_process(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "def test_time(paper_broker):\n    assert paper_broker.control.advance(0).startswith('2031-')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "paperbroker.testing", "--paperbroker", "--now 2031-01-02"]
    ended = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout
