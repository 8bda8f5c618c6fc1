"""What a person decides in a terminal or over HTTP: halt and resume, and what becomes of differences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.acceptance.upkeep.conftest import Oms
from tests.stack import Answer, Stack, ask, eventually

pytestmark = pytest.mark.timeout(400)

FREE = {"ALPACA_REQUESTS_PER_MINUTE": "0", "PAPERBROKER_REQUESTS_PER_MINUTE": "0"}
TRADING = "/api/v1/trading"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("decisions") / "data", **FREE) as stack:
        yield stack


def decided(stack: Stack, path: str, **body: object) -> Answer:
    return ask("POST", f"{stack.url}{TRADING}/{path}", body)


def status(stack: Stack) -> Any:
    return stack.get("/api/health/detailed")["execution_engine_status"]


def is_said(text: str, *words: str) -> None:
    for word in words:
        assert word in text, text


def test_halt_and_resume_by_http_and_in_a_terminal(stack: Stack, oms: Oms) -> None:
    data = ("--data", str(stack.data))
    resting = stack.signal(symbol="AAPL", side="buy", qty=1, type="limit", limit_price=1, wait=30).json["id"]
    halted = oms("halt", "--reason", "prices look wrong", *data)
    assert (halted.returncode, halted.stderr) == (0, "")
    is_said(halted.stdout, "halted: nothing new is sent")
    eventually(lambda: status(stack) == "halted", why="health does not say so")
    told = stack.get(f"{TRADING}/halt")
    assert (told["halted"], told["reason"]) == (True, "prices look wrong")
    is_said(told["by"], "(oms)")
    is_said(oms("drift", *data).stdout, "HALTED since", "prices look wrong", "oms resume")
    refused = stack.traded(symbol="AAPL", side="buy", qty=1)
    assert (refused["status"], refused["error_code"]) == ("rejected", "HALTED")
    assert ask("DELETE", f"{stack.url}{TRADING}/orders/{resting}").status == 202
    assert stack.ended(resting)["status"] == "cancelled"

    starts = stack.logged().count("OMS execution engine started")
    stack.kill_child("oms.cli", "engine")
    eventually(lambda: stack.logged().count("OMS execution engine started") > starts, why="no engine came back")
    assert stack.traded(symbol="AAPL", side="buy", qty=1)["error_code"] == "HALTED"
    again = decided(stack, "halt", reason="once more", by="ann").json
    assert (again["acknowledged"], again["outcome"]) == (True, "done")
    is_said(again["message"], "already halted since", "prices look wrong")

    went_on = decided(stack, "resume", reason="they were right", by="ann")
    assert (went_on.status, went_on.json["message"]) == (202, "trading goes on")
    assert stack.traded(symbol="AAPL", side="buy", qty=1)["status"] == "filled"
    twice = decided(stack, "resume", reason="again")
    assert (twice.status, twice.json["code"]) == (409, "command_refused")
    twice_there = oms("resume", "--reason", "again", *data)
    assert (twice_there.returncode, twice_there.stdout) == (1, "")
    is_said(twice_there.stderr, "trading is not halted")
    told = stack.get(f"{TRADING}/halt")
    assert (told["halted"], told["by"], told["reason"]) == (False, "ann", "they were right")


def made_to_differ(stack: Stack, symbol: str, by: int) -> Any:
    """The record says something else than the broker, as after a defect; the row that tells, once it blocks."""
    assert stack.traded(symbol=symbol, side="buy", qty=10)["status"] == "filled"
    stack.sql(f"update positions set qty = qty - {by} where symbol = '{symbol}'")
    stack.kill_child("oms.cli", "engine")

    def blocking() -> Any:
        rows = stack.get(f"{TRADING}/drift?open=true")["drift"]
        return next((row for row in rows if row["symbol"] == symbol and row["blocks"]), None)

    return eventually(blocking, why="the symbol is not blocked")


def test_a_difference_is_shown_and_adopted(stack: Stack, oms: Oms) -> None:
    data = ("--data", str(stack.data))
    row = made_to_differ(stack, "MSFT", 2)
    assert (row["kind"], row["cause"], row["ours"], row["theirs"]) == ("position", "unexplained", "8", "10")
    eventually(lambda: "blocked" in stack.get("/api/health")["checks"]["drift"], why="health does not say so")
    health = stack.get("/api/health")
    assert health["status"] == "degraded"
    is_said(health["checks"]["drift"], "MSFT", "oms drift")
    shown = oms("drift", *data)
    assert shown.returncode == 0
    is_said(shown.stdout, "In sync as of", "MSFT", "unexplained", "open, BLOCKS")
    [found] = json.loads(oms("drift", "--json", *data).stdout)["drift"]
    assert (found["id"], found["symbol"], found["blocks"]) == (row["id"], "MSFT", True)
    assert stack.traded(symbol="MSFT", side="buy", qty=1)["error_code"] == "SYMBOL_BLOCKED"

    adopted = oms("drift", "adopt", str(row["id"]), "--reason", "broker right", *data)
    assert (adopted.returncode, adopted.stderr) == (0, "")
    is_said(adopted.stdout, "MSFT is 10", "+2 was booked as a correction")
    assert stack.sql("select qty from positions where symbol = 'MSFT'") == "10"
    assert stack.traded(symbol="MSFT", side="buy", qty=1)["status"] == "filled"
    is_said(oms("drift", *data).stdout, "No difference stands")
    is_said(oms("drift", "--all", *data).stdout, "adopted by", "broker right")
    once_more = oms("drift", "adopt", str(row["id"]), "--reason", "again", *data)
    assert (once_more.returncode, once_more.stdout) == (1, "")
    is_said(once_more.stderr, f"no drift {row['id']} stands")


def test_a_difference_is_ignored_and_can_be_adopted_later(stack: Stack, oms: Oms) -> None:
    row = made_to_differ(stack, "KO", 3)
    ignored = decided(stack, f"drift/{row['id']}/ignore", reason="a transfer", by="ann")
    assert (ignored.status, ignored.json["outcome"]) == (202, "done")
    assert stack.traded(symbol="KO", side="buy", qty=1)["status"] == "filled"
    assert stack.get(f"{TRADING}/drift?open=true")["drift"] == []
    # However many rows are newer, what stands is shown.
    stack.sql(
        "insert into drift select account_id, id + n, kind, subject, symbol, cause, ours, theirs, first_seen,"
        " last_seen, passes, order_id, false, 'resolved', 'settled_itself', now(), 'engine', null"
        f" from drift, generate_series(1, 700) n where id = {row['id']} and state = 'ignored'"
    )
    shown = oms("drift", "--data", str(stack.data))
    is_said(shown.stdout, "KO", "ignored by ann: a transfer")
    page = stack.get(f"{TRADING}/drift?limit=2&before={row['id'] + 1}")["drift"]
    assert [one["id"] for one in page] == [row["id"], row["id"] - 1]

    twice = decided(stack, f"drift/{row['id']}/ignore", reason="again")
    assert (twice.status, twice.json["code"]) == (409, "command_refused")
    is_said(twice.json["detail"], "ignored already, by ann: a transfer")
    adopted = decided(stack, f"drift/{row['id']}/adopt", reason="it was none", by="bob")
    assert (adopted.status, adopted.json["outcome"]) == (202, "done"), adopted.json
    assert stack.sql("select qty from positions where symbol = 'KO'") == "11"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("drift", "adopt", "4711", "--reason", "x"), 1, "no drift 4711 stands"),
        (("drift", "ignore", "4711", "--reason", "x"), 1, "no drift 4711 stands"),
        (("drift", "adopt", "AAPL", "--reason", "x"), 2, "valid integer"),
        (("drift", "adopt", "1"), 2, "--reason"),
        (("drift", "ignore", "--reason", "x"), 2, "ID"),
        (("halt",), 2, "--reason"),
        (("halt", "--reason", " "), 2, "says why"),
        (("resume", "--reason", "two\nlines"), 2, "one line"),
    ],
)
def test_what_cannot_be_decided_is_refused(
    stack: Stack, oms: Oms, words: tuple[str, ...], code: int, says: str
) -> None:
    done = oms(*words, "--data", str(stack.data))
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    is_said(done.stderr, says)


@pytest.mark.parametrize(
    ("path", "body", "code", "field"),
    [
        ("halt", {}, 422, "reason"),
        ("halt", {"reason": ""}, 422, "reason"),
        ("halt", {"reason": "x" * 501}, 422, "reason"),
        ("halt", {"reason": "two\nlines"}, 422, "reason"),
        ("resume", {"reason": "x", "why": "y"}, 422, "why"),
        ("drift/0/adopt", {"reason": "x"}, 422, "drift_id"),
        ("drift/x/ignore", {"reason": "x"}, 422, "drift_id"),
        ("drift/99999999999999999999/ignore", {"reason": "x"}, 422, "drift_id"),
        ("drift/4711/adopt", {"reason": "x"}, 409, None),
        ("drift/4711/ignore", {"reason": "x"}, 409, None),
    ],
)
def test_what_cannot_be_decided_is_a_problem(stack: Stack, path: str, body: Any, code: int, field: str | None) -> None:
    answer = decided(stack, path, **body)
    assert (answer.status, answer.json.get("field")) == (code, field), answer.json
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("query", ["open=perhaps", "limit=0", "limit=501", "before=0", "state=open"])
def test_a_query_of_the_ledger_that_is_not_understood_is_refused(stack: Stack, query: str) -> None:
    assert ask("GET", f"{stack.url}{TRADING}/drift?{query}").status == 422


def test_a_decision_is_kept_while_no_engine_runs(oms: Oms, stack: Stack) -> None:
    """Without an engine the terminal says so, with an exit code; the engine carries it out when it is back."""
    account = stack.sql("select id from accounts")
    stack.sql(
        "insert into accounts (id, name, broker_account_id, created_at)"
        " values ('00000000-0000-0000-0000-000000000001', 'other', 'other', now())"
    )
    url = stack.addresses["database_url"]
    unknown = oms("halt", "--reason", "x", DATABASE_URL=url)
    assert unknown.returncode == 2
    is_said(unknown.stderr, "There are 2 accounts here", "ALPACA_API_KEY")
    stack.sql(
        f"update account_keys set account_id = '00000000-0000-0000-0000-000000000001' where account_id = '{account}'"
    )
    nobody = oms("halt", "--reason", "x", DATABASE_URL=url, ALPACA_API_KEY="mock")
    stack.sql(f"update account_keys set account_id = '{account}'")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    is_said(nobody.stderr, "has not taken it up yet", "The command is kept")
    waits = "select kind from commands where account_id = '00000000-0000-0000-0000-000000000001' and done_at is null"
    assert stack.sql(waits) == "halt"
