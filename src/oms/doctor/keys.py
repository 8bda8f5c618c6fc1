"""The keys as they are written, before anybody is asked."""

from __future__ import annotations

import re

from oms.doctor.finding import Finding, failed, ok, warning
from oms.settings import Settings, is_live

CHECK = "keys"
_KEY_ID = re.compile(r"[A-Z0-9]{16,40}")
_SECRET = re.compile(r"[A-Za-z0-9/+]{32,64}")


def key_findings(settings: Settings) -> list[Finding]:
    """Whether they are there, look as Alpaca's do, and which address they are for."""
    key, secret = settings.alpaca_api_key, settings.alpaca_api_secret
    if settings.is_mock:
        return [ok(CHECK, "a mock key: orders go to the paper broker")]
    if key is None:
        text = "no ALPACA_API_KEY: oms up trades against the built-in paper broker"
        if settings.paperbroker_url:
            return [failed(CHECK, "no ALPACA_API_KEY: signals are answered 503", "set it, or ALPACA_API_KEY=mock")]
        return [warning(CHECK, text, "set ALPACA_API_KEY and ALPACA_API_SECRET for Alpaca (docs/alpaca.md)")]
    if not secret:
        return [
            failed(CHECK, "ALPACA_API_KEY without its ALPACA_API_SECRET", "set both; APCA_* names are read in pairs")
        ]
    found = []
    if _KEY_ID.fullmatch(secret) and not _KEY_ID.fullmatch(key):
        return [failed(CHECK, "key and secret seem to have changed places", "the id is the short one in capitals")]
    for name, value, shape in (("ALPACA_API_KEY", key, _KEY_ID), ("ALPACA_API_SECRET", secret, _SECRET)):
        if re.search(r"\s|[\"']", value):
            found.append(failed(CHECK, f"{name} has blanks or quotes within", "copy it again"))
        elif not shape.fullmatch(value):
            found.append(
                warning(CHECK, f"{name} does not look like one of Alpaca's ({len(value)} characters)", "copy it again")
            )
    address = settings.alpaca_base_url
    if is_live(address):
        found.append(
            warning(CHECK, f"real money: orders go to {address}", "unset ALPACA_ALLOW_LIVE if it is not meant")
        )
    return found or [ok(CHECK, f"present; orders go to {address}")]
