"""What `oms doctor` finds without asking anybody."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import pytest

from oms.doctor.env_file import KNOWN, env_findings
from oms.doctor.finding import Verdict, failed, ok, shown, to_json, without
from oms.doctor.keys import key_findings
from oms.doctor.machine import disk_finding, holder, port_findings
from oms.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
KEY, SECRET = "PK" + "A1" * 9, "s" * 40


def of_file(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / ".env"
    file.write_text(text)
    file.chmod(0o600)
    return [f"{one.verdict}: {one.text} {one.advice}" for one in env_findings(file, {})]


def test_a_file_in_order_is_read(tmp_path: Path) -> None:
    text = (
        "# keys\nALPACA_API_KEY=mock\nexport OMS_PORT='8001' # ours\n\nUNRELATED=x\nALERT_URLS=\"json://a json://b\"\n"
    )
    assert of_file(tmp_path, text) == [f"ok: {tmp_path}/.env is read "]
    assert [one.verdict for one in env_findings(tmp_path / "none", {"PATH": "/bin"})] == [Verdict.OK]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("ALPACA_API_SECRET_KEY=x", "do you mean ALPACA_API_SECRET?"),
        ("ALPACA_SECRET=x", "do you mean ALPACA_API_SECRET?"),
        ("ALPACA_KEY=x", "do you mean ALPACA_API_KEY?"),
        ("alpaca_api_key=x", "do you mean ALPACA_API_KEY?"),
        ("OMS_TRUST_NETWORKS=yes", "do you mean OMS_TRUST_NETWORK?"),
        ("ALERT_URL=json://x", "do you mean ALERT_URLS?"),
        ("OMS_NOTHING_LIKE_IT=1", "docs/operations.md"),
        ("ALPACA_API_KEY = PK1", "blanks around the ="),
        ('ALPACA_API_KEY="PK1', "the quote of ALPACA_API_KEY is not closed"),
        ("ALPACA_API_KEY=“PK1”", "typographic quotes"),
        ("ALPACA_API_KEY: PK1", "this is no NAME=value"),
        ("OMS_PORT=1\nOMS_PORT=2", "OMS_PORT was set in line 1"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_without_values(tmp_path: Path, line: str, text: str) -> None:
    found = of_file(tmp_path, line + "\n")
    assert any(text in one for one in found), found
    assert not any("PK1" in one for one in found)


def test_a_file_with_secrets_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("ALPACA_API_SECRET=x\n")
    file.chmod(0o644)
    assert any(one.advice == f"chmod 600 {file}" for one in env_findings(file, {}))
    file.write_text("OMS_PORT=8000\n")
    assert [one.verdict for one in env_findings(file, {})] == [Verdict.OK]


def test_a_misspelt_name_in_the_environment(tmp_path: Path) -> None:
    (found, _) = env_findings(tmp_path / "none", {"APCA_API_SECRET": "x", "HOME": "/"})
    assert (found.verdict, found.advice) == (Verdict.WARNING, "do you mean APCA_API_SECRET_KEY?")


def test_every_name_of_the_example_and_of_compose_is_known() -> None:
    example = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    compose = re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text())
    assert len(example) > 10
    assert sorted(set(example) - KNOWN) == []
    assert [name for name in set(compose) - KNOWN if name.startswith(("ALPACA", "APCA", "ALERT", "OMS", "PAPER"))] == []


@pytest.mark.parametrize(
    ("given", "verdict", "text"),
    [
        ({}, Verdict.WARNING, "built-in paper broker"),
        ({"paperbroker_url": "http://x"}, Verdict.FAILED, "503"),
        ({"alpaca_api_key": "mock"}, Verdict.OK, "a mock key"),
        ({"alpaca_api_key": KEY}, Verdict.FAILED, "without its ALPACA_API_SECRET"),
        ({"alpaca_api_key": KEY, "alpaca_api_secret": SECRET}, Verdict.OK, "present; orders go to https://paper-api"),
        ({"alpaca_api_key": SECRET, "alpaca_api_secret": KEY}, Verdict.FAILED, "changed places"),
        ({"alpaca_api_key": KEY, "alpaca_api_secret": "short"}, Verdict.WARNING, "ALPACA_API_SECRET does not look"),
        ({"alpaca_api_key": KEY, "alpaca_api_secret": f'"{SECRET}"'}, Verdict.FAILED, "blanks or quotes"),
        (
            {"alpaca_api_key": KEY, "alpaca_api_secret": SECRET, "alpaca_base_url": "https://api.alpaca.markets"},
            Verdict.WARNING,
            "real money",
        ),
    ],
)
def test_keys_as_they_are_written(given: dict[str, str], verdict: Verdict, text: str) -> None:
    (found,) = key_findings(Settings(**given))  # type: ignore[arg-type]
    assert found.verdict is verdict
    assert text in found.text
    assert KEY not in found.text
    assert SECRET not in found.text


def test_a_taken_port_is_told_with_who_holds_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = port_findings(Settings(port=port), None)[0]
        assert found.verdict is Verdict.FAILED
        assert f"(process {os.getpid()})" in found.text
        assert f"--port {port + 1}" in found.advice
        assert str(os.getpid()) in holder(port)
        (held,) = port_findings(Settings(port=port), {"api_url": f"http://127.0.0.1:{port}"})
        assert held.verdict is Verdict.OK


def test_room_is_looked_for_where_the_folder_would_be_made(tmp_path: Path) -> None:
    found = disk_finding(tmp_path / "not" / "there" / "yet")
    assert "GB free" in found.text
    assert not (tmp_path / "not").exists()


def test_the_report_is_a_line_each_and_a_sum() -> None:
    findings = [ok("keys", "fine"), failed("redis", "two\nlines", "do it")]
    assert shown(findings).splitlines() == [
        "ok       keys   fine", "failed   redis  two lines → do it", "1 ok, 0 warning, 1 failed",
    ]  # fmt: skip
    told = json.loads(to_json(findings))
    assert told[1] == {"check": "redis", "verdict": "failed", "text": "two\nlines", "advice": "do it"}


def test_a_secret_in_a_librarys_error_is_hidden() -> None:
    (found,) = without(["pass-word", "pass-word-longer", None, "x"], [failed("a", "pass-word-longer x", "pass-word")])
    assert (found.text, found.advice) == ("*** x", "***")
