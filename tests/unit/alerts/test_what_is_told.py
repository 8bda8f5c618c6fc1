"""What becomes an alert, and how many become one message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from oms.alerts.conditions import Condition, conditions_of
from oms.alerts.message import message_of
from oms.alerts.news import ONE_BY_ONE_MAX, alerts_of
from oms.alerts.receivers import receivers_of, shown
from oms.alerts.watch import ConditionWatch
from oms.domain.alerts import Alert, AlertKind, OrderNews

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


def news(event: str = "rejected", seq: int = 1, **given: object) -> OrderNews:
    terms: dict[str, object] = {
        "seq": seq, "event": event, "at": NOW, "symbol": "AAPL", "side": "buy", "qty": Decimal("10.0"),
        "order_id": f"o-{seq}", "origin": "signal", "error_code": "MAX_ORDER_QTY", "error_message": "too many",
        "data": {},
    }  # fmt: skip
    return OrderNews(**{**terms, **given})  # type: ignore[arg-type]


def test_a_rejected_order_is_told_with_its_terms_and_the_reason() -> None:
    (alert,) = alerts_of([news()])
    assert alert == Alert(AlertKind.REJECTED, NOW, "buy 10 AAPL: MAX_ORDER_QTY: too many (o-1)")
    (alert,) = alerts_of([news(qty=None, error_code=None)])
    assert alert.text == "buy all AAPL: too many (o-1)"


def test_an_order_that_ended_at_the_end_of_its_day_is_not_told_one_that_never_arrived_is() -> None:
    assert alerts_of([news("expired", error_code=None, error_message=None)]) == []
    (alert,) = alerts_of([news("expired", error_code="NEVER_ARRIVED", error_message="the broker has no such order")])
    assert alert.kind is AlertKind.FAILED


def test_an_order_of_others_is_told_as_external_its_fate_is_not() -> None:
    (alert,) = alerts_of([news("adopted", origin="external"), news("rejected", 2, origin="external")])
    assert alert.kind is AlertKind.EXTERNAL
    assert "buy 10 AAPL" in alert.text


def test_a_burst_is_told_by_its_first_and_counted() -> None:
    alerts = alerts_of([news(seq=number) for number in range(1, 1001)])
    assert len(alerts) == ONE_BY_ONE_MAX + 1
    assert sum(alert.count for alert in alerts) == 1000
    assert "o-1000" in alerts[-1].text


def test_a_message_of_many_shows_the_last_and_counts_the_rest() -> None:
    alerts = [Alert(AlertKind.REJECTED, NOW, f"number {number}") for number in range(50)]
    alerts.append(Alert(AlertKind.REJECTED, NOW, "1000 more, the last one: x", 1000))
    message = message_of(alerts, NOW)
    assert message.title == "Trademk1: 1050 alerts"
    lines = message.body.splitlines()
    assert (len(lines), lines[-1]) == (11, "and 41 more")
    assert lines[8].endswith("number 49")


def test_a_message_of_one_says_in_its_title_what_it_is() -> None:
    message = message_of([Alert(AlertKind.REJECTED, NOW, "buy 10 AAPL: x")], NOW)
    assert message.title == "Trademk1: order rejected"
    assert message.body == "15:00:00 UTC order rejected: buy 10 AAPL: x"


def test_what_is_old_is_only_counted() -> None:
    old = [Alert(AlertKind.REJECTED, NOW - timedelta(hours=9), f"old {number}", 2) for number in range(3)]
    message = message_of([*old, Alert(AlertKind.CONDITION, NOW, "new")], NOW)
    assert message.title == "Trademk1: 7 alerts"
    assert message.body.splitlines() == [
        "15:00:00 UTC new", "and 6 from 2026-03-02 06:00 UTC to 06:00: 6 × order rejected",
    ]  # fmt: skip


def test_a_text_of_others_cannot_add_lines_or_fill_the_message() -> None:
    body = message_of([Alert(AlertKind.REJECTED, NOW, "a\nb\r\n" + "x" * 5000)], NOW).body
    assert len(body.splitlines()) == 1
    assert len(body) <= 300


def test_conditions_come_from_the_engines_last_words() -> None:
    assert conditions_of(None, None, {}) == {}
    assert conditions_of("running", 1.0, {}) == {}
    stopped = conditions_of("running", 6.0, {"feed": {"streams": {"stock": {"last_error": "x", "connected": False}}}})
    assert {name: one.value for name, one in stopped.items()} == {"engine": "stopped"}
    detail = {
        "error": "BrokerUnauthorized: forbidden.",
        "feed": {"streams": {"stock": {"connected": False, "last_error": "406"}, "crypto": {"connected": True}}},
        "drift": {"7": {"kind": "position", "symbol": "AAPL", "ours": "1", "broker": "2", "blocks": True}},
        "account": {"error": "trading is blocked"},
        "backlog": {"outcome_unknown": 2},
    }
    found = conditions_of("unauthorized", 0.5, detail)
    assert {name: one.value for name, one in found.items()} == {
        "engine": "unauthorized", "stock price stream": "down", "drift 7": "blocks", "account": "blocked",
        "outcome of orders": "unknown",
    }  # fmt: skip
    assert "forbidden." in found["engine"].text
    assert "1 here, 2 at the broker" in found["drift 7"].text
    assert "oms drift adopt|ignore 7" in found["drift 7"].text


DOWN = {"engine": Condition("cancel_only", "the engine is cancel_only")}


def told(watch: ConditionWatch, found: dict[str, Condition], now_s: float) -> list[str]:
    return [alert.text for alert in watch.look(found, NOW, now_s)]


def test_a_condition_is_told_once_it_lasts_and_its_end_too() -> None:
    watch = ConditionWatch({}, 0.0)
    assert told(watch, DOWN, 100.0) == []
    assert told(watch, DOWN, 102.9) == []
    assert told(watch, DOWN, 103.0) == ["the engine is cancel_only"]
    assert told(watch, DOWN, 200.0) == []
    assert told(watch, {}, 201.0) == []
    assert told(watch, {}, 204.0) == ["the engine is running again"]
    assert told(watch, {}, 300.0) == []
    assert watch.told == {}


def test_what_comes_and_goes_is_not_told() -> None:
    watch = ConditionWatch({}, 0.0)
    assert told(watch, DOWN, 100.0) == []
    assert told(watch, {}, 101.0) == []
    assert told(watch, DOWN, 102.0) == []
    assert told(watch, DOWN, 104.0) == []  # counted anew
    assert told(watch, DOWN, 105.0) == ["the engine is cancel_only"]
    assert told(watch, {}, 106.0) == []
    assert told(watch, DOWN, 107.0) == []
    assert told(watch, DOWN, 120.0) == []  # told already


def test_a_change_is_told() -> None:
    watch = ConditionWatch({"engine": "cancel_only"}, 0.0)
    away = {"engine": Condition("reconnecting", "the engine is reconnecting")}
    assert told(watch, away, 100.0) == []
    assert told(watch, away, 103.0) == ["the engine is reconnecting"]
    assert watch.told == {"engine": "reconnecting"}


def test_what_was_told_before_a_restart_is_not_told_again_and_its_end_is() -> None:
    watch = ConditionWatch({"engine": "cancel_only"}, 0.0)
    assert told(watch, DOWN, 50.0) == []
    assert told(watch, {}, 51.0) == []
    assert told(watch, {}, 55.0) == ["the engine is running again"]


def test_an_engine_that_is_still_being_started_beside_us_is_not_called_stopped() -> None:
    stopped = {"engine": Condition("stopped", "the engine is stopped")}
    watch = ConditionWatch({}, 0.0)
    assert told(watch, stopped, 0.0) == []
    assert told(watch, stopped, 9.0) == []
    assert told(watch, stopped, 10.0) == ["the engine is stopped"]


def test_of_an_address_only_what_is_no_secret_is_shown() -> None:
    assert shown("json://user:pass@host:99/path?token=1") == "json://host:99/…"
    assert shown("tgram://123:token/chat") == "tgram://…"
    assert shown("mailto://me:pass@example.com") == "mailto://…"
    assert shown("no address, perhaps a token") == "…"
    assert shown("json://[broken/x") == "json://…"
    one, two = receivers_of(["tgram://tokenA/x", "tgram://tokenB/x", "tgram://tokenA/x"])
    assert (one.name, two.name) == ("1: tgram://…", "2: tgram://…")
    assert "token" not in repr([one, two])
