"""What a backup says of itself; nothing secret is in it."""

from __future__ import annotations

import importlib.metadata
from datetime import datetime

import msgspec

FORMAT = 1
COUNTED = ("accounts", "orders", "order_events", "fills", "adjustments", "positions")


class Account(msgspec.Struct, frozen=True):
    """An account in the backup, up to which event."""

    name: str
    number: str
    broker_account_id: str
    event_seq: int


class Manifest(msgspec.Struct, frozen=True):
    """`schema` is the migration that the database was at, `counts` the rows of its tables at that moment."""

    made_at: datetime
    schema: str
    trademk1: str
    server: str
    accounts: list[Account]
    counts: dict[str, int]
    format: int = FORMAT


def program_version() -> str:
    """This program's version."""
    return importlib.metadata.version("trademk1")
