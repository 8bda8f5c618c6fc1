"""What state the engine is in, in the words of `execution_engine_status`."""

from __future__ import annotations

from enum import StrEnum


class EngineStatus(StrEnum):
    """Each with what happens to signals meanwhile."""

    STARTING = "starting"  # catching up; signals wait
    RUNNING = "running"
    RECONNECTING = "reconnecting"  # the broker does not answer; signals wait until they are stale
    CANCEL_ONLY = "cancel_only"  # no update stream, or too many lost answers: cancels pass, signals wait until stale
    HALTED = "halted"  # signals are rejected
    NOT_CONFIGURED = "not_configured"  # no keys: signals get 503
    UNAUTHORIZED = "unauthorized"  # the broker refuses the keys: signals get 503
    STANDBY = "standby"  # another engine has the account
    STOPPED = "stopped"
