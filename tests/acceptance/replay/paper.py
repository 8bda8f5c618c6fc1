"""The paper broker's own word, asked without the OMS."""

from __future__ import annotations

from typing import Any

from tests.stack import ask


class Broker:
    """One account at the paper broker."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": "none"}

    def get(self, path: str) -> Any:
        """The JSON of a GET that must answer 200."""
        answer = ask("GET", self._url + path, headers=self._headers)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    def quotes(self, symbols: list[str]) -> dict[str, Any]:
        """The latest quotes as they are sent."""
        quotes: dict[str, Any] = self.get(f"/v2/stocks/quotes/latest?symbols={','.join(symbols)}")["quotes"]
        return quotes

    def fills(self) -> list[dict[str, str]]:
        """The whole log of fills, oldest first."""
        log: list[dict[str, str]] = []
        while page := self.get(f"/paper/v1/fills?limit=1000&after={log[-1]['seq'] if log else 0}"):
            log += page
        return log

    def orders(self) -> list[dict[str, Any]]:
        """Every order, oldest first."""
        found: dict[str, dict[str, Any]] = {}
        after = ""
        while True:
            page = self.get(f"/v2/orders?status=all&direction=asc&limit=500{after}")
            if all(order["id"] in found for order in page):
                return list(found.values())
            found |= {order["id"]: order for order in page}
            after = f"&after_order_id={page[-1]['id']}"
