"""What Alpaca's refusals mean, and what a person does about them: said with the refusal, where it is read."""

from __future__ import annotations

from urllib.parse import urlsplit

_KEYS_PAGE = "https://app.alpaca.markets (API Keys)"
_OF_STREAM = {
    405: "the data plan takes fewer symbols: the most important are streamed, the others asked for by REST",
    406: "another program holds the one data connection that Alpaca allows these keys: stop it, or let it be; "
    "prices are asked for by REST meanwhile",
    409: "the data plan does not include this feed: set ALPACA_FEED=iex, or subscribe to it; "
    "prices are asked for by REST meanwhile",
}
_SUBSCRIPTION = "the data plan does not include this feed: set ALPACA_FEED=iex, or subscribe to it"


def about_keys(address: str, key_id: str) -> str:
    """Why the keys may be refused at this address: paper and live accounts have keys and addresses of their own."""
    host = urlsplit(address).hostname or ""
    if host.startswith("api.") and key_id.startswith("PK"):
        return (
            f"these are a paper account's keys (PK…), and {address} is the live address: leave ALPACA_BASE_URL out, "
            "or use the live account's keys"
        )
    if not host.startswith(("api.", "data.")) and key_id.startswith("AK"):
        return (
            f"these look like a live account's keys (AK…), which do not work at {address}: use the paper account's "
            "(PK…), or, for real money, ALPACA_BASE_URL=https://api.alpaca.markets with ALPACA_ALLOW_LIVE=yes"
        )
    return (
        f"check ALPACA_API_KEY and ALPACA_API_SECRET: mistyped, made anew since, or a live account's keys at the paper "
        f"address or the other way round; {_KEYS_PAGE} shows and makes them"
    )


def about_stream(code: int | None) -> str:
    """What a data stream's refusal asks for; empty where the text says enough."""
    return _OF_STREAM.get(code or 0, "")


def about_prices(message: str) -> str:
    """What the data API's refusal asks for; empty where the text says enough."""
    return _SUBSCRIPTION if "subscription" in message.lower() else ""
