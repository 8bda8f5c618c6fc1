"""Requests a minute."""

from paperbroker.api.limits import Limits


def test_a_window_begins_with_the_first_request_and_lasts_a_minute() -> None:
    now = [1000.0]
    limits = Limits(2, lambda: now[0])
    first = limits.count("mock")
    assert first
    assert (first.limit, first.remaining, first.reset, first.exceeded) == (2, 1, 1061, False)
    now[0] = 1059.0
    assert not limits.count("mock").exceeded  # type: ignore[union-attr]
    assert limits.count("mock").exceeded  # type: ignore[union-attr]
    assert not limits.count("mock-2").exceeded  # type: ignore[union-attr]
    now[0] = 1060.0
    assert not limits.count("mock").exceeded  # type: ignore[union-attr]


def test_zero_means_no_limit() -> None:
    assert Limits(0).count("mock") is None
