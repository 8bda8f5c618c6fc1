"""`/v2/watchlists`, by id and by name."""

from paperbroker.api.endpoint import Call, Reply, Routes
from paperbroker.api.parameters import plain_id
from paperbroker.assets import Asset, Assets
from paperbroker.errors import invalid, malformed, not_found, unprocessable
from paperbroker.timestamps import rfc3339
from paperbroker.watchlists import Watchlist, Watchlists

LONGEST_NAME = 64
MOST_SYMBOLS = 1000


class WatchlistPages:
    """The handlers of watchlists. An id in the path or a name in the query tells which one is meant."""

    def __init__(self, watchlists: Watchlists, assets: Assets) -> None:
        self._watchlists = watchlists
        self._assets = assets

    def routes(self) -> Routes:
        one, named = "/v2/watchlists/{id}", "/v2/watchlists:by_name"
        return [
            ("/v2/watchlists", "GET", self.listed),
            ("/v2/watchlists", "POST", self.create),
            *(
                (path, method, handler)
                for path in (one, named)
                for method, handler in (
                    ("GET", self.get),
                    ("PUT", self.update),
                    ("POST", self.add),
                    ("DELETE", self.delete),
                )
            ),
            (f"{one}/{{symbol:path}}", "DELETE", self.remove),
            (f"{named}/{{symbol:path}}", "DELETE", self.remove),
        ]

    def listed(self, call: Call) -> Reply:
        return Reply([_head(found) for found in self._watchlists.of(call.account.id)])

    def create(self, call: Call) -> Reply:
        fields = _fields(call)
        if "name" not in fields:
            raise invalid("watchlist name is required")
        name, symbols = self._name(call, fields, None), self._symbols(fields.get("symbols") or [])
        return self._full(self._watchlists.create(call.account.id, name, symbols))

    def get(self, call: Call) -> Reply:
        return self._full(self._find(call))

    def update(self, call: Call) -> Reply:
        """PUT: the name, the symbols, or both are exchanged."""
        watchlist, fields = self._find(call), _fields(call)
        if fields.get("name") is None and fields.get("symbols") is None:
            raise invalid("name or symbols is required")
        name = None if fields.get("name") is None else self._name(call, fields, watchlist)
        symbols = None if fields.get("symbols") is None else self._symbols(fields["symbols"])
        self._watchlists.change(watchlist, name=name, symbols=symbols)
        return self._full(watchlist)

    def add(self, call: Call) -> Reply:
        """POST of a `symbol`: it becomes the last one of the list."""
        watchlist, given = self._find(call), _fields(call).get("symbol")
        if not isinstance(given, str) or not given:
            raise invalid("symbol is required")
        symbol = self._asset(given).symbol
        if symbol in watchlist.symbols:
            raise unprocessable("duplicated symbol")
        if len(watchlist.symbols) >= MOST_SYMBOLS:
            raise unprocessable(f"a watchlist holds at most {MOST_SYMBOLS} symbols")
        self._watchlists.change(watchlist, symbols=[*watchlist.symbols, symbol])
        return self._full(watchlist)

    def remove(self, call: Call) -> Reply:
        watchlist, spelling = self._find(call), call.path["symbol"]
        asset = self._assets.find(spelling)
        if asset is None or asset.symbol not in watchlist.symbols:
            raise not_found(f"symbol not found: {spelling[:64]}")
        self._watchlists.change(watchlist, symbols=[s for s in watchlist.symbols if s != asset.symbol])
        return self._full(watchlist)

    def delete(self, call: Call) -> Reply:
        self._watchlists.delete(self._find(call))
        return Reply(None, 204)

    def _find(self, call: Call) -> Watchlist:
        watchlist_id = call.path.get("id")
        if watchlist_id is None:
            found = self._watchlists.named(call.account.id, call.query.get("name", ""))
        else:
            found = self._watchlists.find(call.account.id, plain_id(watchlist_id))
        if found is None:
            raise not_found("watchlist not found")
        return found

    def _name(self, call: Call, fields: dict[str, object], own: Watchlist | None) -> str:
        name = fields["name"]
        if not isinstance(name, str) or not name.strip():
            raise invalid("watchlist name is required")
        if len(name) > LONGEST_NAME:
            raise invalid(f"watchlist name must be no more than {LONGEST_NAME} characters")
        if self._watchlists.named(call.account.id, name) not in (None, own):
            raise unprocessable("watchlist name must be unique")
        return name

    def _symbols(self, given: object) -> list[str]:
        if not isinstance(given, list) or not all(isinstance(symbol, str) for symbol in given):
            raise malformed("symbols must be a list of strings")
        if len(given) > MOST_SYMBOLS:
            raise unprocessable(f"a watchlist holds at most {MOST_SYMBOLS} symbols")
        return list(dict.fromkeys(self._asset(symbol).symbol for symbol in given))

    def _asset(self, spelling: str) -> Asset:
        asset = self._assets.find(spelling)
        if asset is None:
            raise unprocessable(f'asset "{spelling[:64]}" not found')
        return asset

    def _full(self, watchlist: Watchlist) -> Reply:
        return Reply({**_head(watchlist), "assets": [self._assets[s].json() for s in watchlist.symbols]})


def _fields(call: Call) -> dict[str, object]:
    if not isinstance(call.body, dict):
        raise malformed()
    return call.body


def _head(watchlist: Watchlist) -> dict[str, object]:
    return {
        "id": watchlist.id,
        "account_id": watchlist.account_id,
        "created_at": rfc3339(watchlist.created_ns),
        "updated_at": rfc3339(watchlist.updated_ns),
        "name": watchlist.name,
    }
