"""What the broker refuses, as Alpaca words it.

    Refusal                     any answer of 4xx; carries HTTP status, code, message and extras
    StreamError                 what a data stream answers instead: a code of its own and a message

HTTP status and code are stable, the text is not (Alpaca's documentation). The functions make the refusals that need
extras or are made in several places; they are the one list of their texts.
"""

from decimal import Decimal

from paperbroker.money import text


class Refusal(Exception):
    """Answered as `{"code", "message", ...extras}`; `code` None leaves the code out, as Alpaca's 401 does."""

    def __init__(self, status: int, code: int | None, message: str, **extras: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.extras = extras

    def body(self) -> dict[str, object]:
        head: dict[str, object] = {} if self.code is None else {"code": self.code}
        return {**head, "message": self.message, **self.extras}


class StreamError(Exception):
    """Sent as `[{"T":"error","code","msg"}]`; the connection is closed after it when `final`."""

    def __init__(self, code: int, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.final = final


def unauthorized() -> Refusal:
    return Refusal(401, None, "unauthorized.")


def malformed(message: str = "request body format is invalid") -> Refusal:
    return Refusal(400, 40010000, message)


def invalid(message: str) -> Refusal:
    """A request that lacks something or contradicts itself."""
    return Refusal(422, 40010001, message)


def unprocessable(message: str, **extras: object) -> Refusal:
    """A request that is understood and not possible."""
    return Refusal(422, 42210000, message, **extras)


def forbidden(message: str, **extras: object) -> Refusal:
    return Refusal(403, 40310000, message, **extras)


def not_found(message: str) -> Refusal:
    return Refusal(404, 40410000, message)


def endpoint_not_found() -> Refusal:
    return not_found("endpoint not found")


def too_large() -> Refusal:
    return Refusal(413, 41310000, "request body is too large")


def rate_limited() -> Refusal:
    return Refusal(429, 42910000, "rate limit exceeded")


def insufficient_buying_power(available: Decimal, cost_basis: Decimal) -> Refusal:
    return forbidden("insufficient buying power", buying_power=text(available), cost_basis=text(cost_basis))


def insufficient_qty(
    symbol: str, requested: Decimal, available: Decimal, existing: Decimal, held: Decimal, related_orders: list[str]
) -> Refusal:
    """`related_orders`: the ids of those that hold the quantity; left out when there are none."""
    related: dict[str, object] = {"related_orders": related_orders} if related_orders else {}
    return forbidden(
        f"insufficient qty available for order (requested: {text(requested)}, available: {text(available)})",
        available=text(available),
        existing_qty=text(existing),
        held_for_orders=text(held),
        symbol=symbol,
        **related,
    )


def insufficient_balance(
    coin: str, quote_currency: str, requested: Decimal, balance: Decimal, available: Decimal
) -> Refusal:
    """What a pair takes from the account is not there; `symbol` is the currency it is quoted in."""
    return forbidden(
        f"insufficient balance for {coin} (requested: {text(requested)}, available: {text(available)})",
        balance=text(balance),
        available=text(available),
        symbol=quote_currency,
    )


def wash_trade(existing_order_id: str, reason: str) -> Refusal:
    return forbidden(
        "potential wash trade detected. use complex orders",
        existing_order_id=existing_order_id,
        reject_reason=reason,
    )


def not_to_be_replaced(status: str) -> Refusal:
    """A PATCH of an order in a status in which there is nothing, or not yet anything, to replace."""
    words = {"replaced": "order already replaced", "pending_replace": "order already pending replacement"}
    if status in {"accepted", "pending_new", "pending_cancel"}:
        return unprocessable(f"cannot replace order in {status} status")
    return unprocessable(words.get(status, "order is not open"))


def already_in(status: str) -> Refusal:
    return unprocessable(f'order is already in "{status}" state')
