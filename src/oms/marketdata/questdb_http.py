"""QuestDB's `/exec`: a statement in, rows out. Numbers come as Decimal, by their text."""

from __future__ import annotations

import json
from decimal import Decimal

import aiohttp

from oms.domain.errors import OmsError, Unavailable

Rows = list[dict[str, object]]


class StatementRefused(OmsError):
    """QuestDB answered that the statement is wrong, or names a table that is not there."""

    @property
    def is_missing_table(self) -> bool:
        """Whether the table does not exist."""
        return "does not exist" in str(self)


class QuestQueries:
    """Statements over HTTP, each bounded by `timeout_s`. Raises Unavailable, StatementRefused."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def run(self, statement: str) -> Rows:
        """The rows of a statement, by column name; none for one that defines."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.get(
                f"{self._url}/exec", params={"query": statement, "timings": "false"}
            ) as response:
                status, text = response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"QuestDB does not answer at {self._url}: {error or type(error).__name__}") from error
        return _rows(status, text)

    async def close(self) -> None:
        """Close the connections; may be used again afterwards."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _rows(status: int, text: str) -> Rows:
    try:
        # A double's decimal text is what its writer meant; its binary expansion is not.
        answer = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise Unavailable(f"QuestDB answered {status} with no JSON: {text[:200]!r}") from error
    if not isinstance(answer, dict):
        raise Unavailable(f"QuestDB answered {status}: {text[:200]!r}")
    if "error" in answer:
        if status >= 500:
            raise Unavailable(f"QuestDB: {answer['error']}")
        raise StatementRefused(str(answer["error"]))
    if status != 200:
        raise Unavailable(f"QuestDB answered {status}: {text[:200]!r}")
    names = [str(column["name"]) for column in answer.get("columns", ())]
    return [dict(zip(names, row, strict=True)) for row in answer.get("dataset", ())]
