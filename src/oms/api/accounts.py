"""Which account the configured key belongs to, and whether signals can be taken for it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from oms.api.problems import Problem
from oms.api.refreshed import Refreshed
from oms.domain.errors import AccountUnknown
from oms.storage.queries import KeyState, Queries

AGE_S_MAX = 1.0
NOT_CONFIGURED = (
    "No broker is configured. Set ALPACA_API_KEY and ALPACA_API_SECRET in .env (a free paper account of "
    "https://alpaca.markets), or ALPACA_API_KEY=mock for the built-in paper broker, and start again."
)
UNAUTHORIZED = (
    "The broker refuses the keys. Set ALPACA_API_KEY and ALPACA_API_SECRET in .env to the id and the secret of a paper "
    "account (https://app.alpaca.markets → API Keys), or ALPACA_API_KEY=mock, and start again."
)
UNKNOWN = (
    "The broker has not been reached with these keys yet, so that the account is not known. It is being tried; "
    "/api/health/detailed says how it goes."
)


class Accounts:
    """The account of a key. `key_hash` is None where no complete key is configured."""

    def __init__(self, queries: Queries, key_hash: str | None, monotonic: Callable[[], float]) -> None:
        self._key_hash = key_hash
        self._queries = queries
        self._state = Refreshed(self._load, AGE_S_MAX, monotonic)

    @property
    def is_configured(self) -> bool:
        """Whether there is a key."""
        return self._key_hash is not None

    async def state(self) -> KeyState:
        """What is stored for the key, at most a second old. Raises StoreUnavailable."""
        return await self._state.get()

    async def load(self) -> KeyState:
        """What is stored for the key now. Raises StoreUnavailable."""
        return await self._state.fresh()

    async def current(self) -> UUID:
        """The account to show. Raises Problem `not_configured`, AccountUnknown, StoreUnavailable."""
        if self._key_hash is None:
            raise Problem("not_configured", NOT_CONFIGURED)
        state = await self._state.get()
        if state.account_id is None:
            state = await self._state.fresh()  # nobody is refused for what was true a second ago
        if state.account_id is None:
            if state.status == "unauthorized":
                raise Problem("unauthorized", UNAUTHORIZED)
            raise AccountUnknown(UNKNOWN)
        return state.account_id

    async def for_signals(self) -> UUID:
        """The account to trade for. Raises also Problem `unauthorized`: orders would wait for keys that do not work."""
        account_id = await self.current()
        if "unauthorized" == (await self._state.get()).status == (await self._state.fresh()).status:
            raise Problem("unauthorized", UNAUTHORIZED)
        return account_id

    async def _load(self) -> KeyState:
        return await self._queries.key(self._key_hash or "")
