"""`/v2/account/activities`: fills and fees, paged by the id of the last one seen."""

from datetime import date, timedelta

from paperbroker.api.endpoint import Call, Reply
from paperbroker.api.parameters import instant, one_of, whole_number, words
from paperbroker.api.where import Where
from paperbroker.errors import unprocessable
from paperbroker.store import Store
from paperbroker.timestamps import at, new_york_date, parse

MOST = 100
_CATEGORIES = {"trade_activity": "type = 'FILL'", "non_trade_activity": "type <> 'FILL'"}


class Activities:
    """The handlers of activities."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def listed(self, call: Call) -> Reply:
        """By `activity_types` or `category`, `order_id`, `date`, `after`, `until`.

        Newest first unless `direction=asc`.
        """
        return self._list(call, words(call.query, "activity_types"))

    def listed_of_type(self, call: Call) -> Reply:
        return self._list(call, [call.path["type"]])

    def _list(self, call: Call, types: list[str]) -> Reply:
        query = call.query
        where = Where("account_id = ?", call.account.id)
        category = one_of(query, "category", ("", *_CATEGORIES), "")
        if category and types:
            raise unprocessable("only one of activity_types and category is accepted")
        if types:
            kinds = [kind.upper() for kind in types]
            where.among("type", kinds + ["CFEE"] * ("MISC" in kinds))  # MISC: all but fills, dividends and cash
        if category:
            where.add(_CATEGORIES[category])
        if order_id := query.get("order_id"):
            where.add("order_id = ?", order_id.lower())
        self._add_times(call, where)
        direction = one_of(query, "direction", ("asc", "desc"), "desc")
        if token := query.get("page_token"):
            self._continue_after(token, direction, where)
        size = whole_number(query, "page_size", MOST, MOST)
        sql = f"select body from activities where {where} order by ns {direction}, seq {direction} limit {size}"  # noqa: S608
        return Reply(
            b"[" + b",".join(body for (body,) in self._store.read(sql, where.values) if isinstance(body, bytes)) + b"]"
        )

    def _add_times(self, call: Call, where: Where) -> None:
        """`date` is a day of New York; `after` and `until` are exclusive."""
        if day := call.query.get("date"):
            instant(call.query, "date")  # refuses what is no date
            chosen = date.fromisoformat(day) if len(day) == 10 else new_york_date(parse(day))
            where.add("ns >= ? and ns < ?", at(chosen, 0), at(chosen + timedelta(days=1), 0))
        for name, sign in (("after", ">"), ("until", "<")):
            if (ns := instant(call.query, name)) is not None:
                where.add(f"ns {sign} ?", ns)

    def _continue_after(self, token: str, direction: str, where: Where) -> None:
        rows = self._store.read("select ns, seq from activities where id = ?", (token,))
        if not rows:
            raise unprocessable("page_token is not the id of an activity")
        where.add(f"(ns, seq) {'>' if direction == 'asc' else '<'} (?, ?)", *rows[0])
