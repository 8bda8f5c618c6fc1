"""A paper broker that speaks the protocol of Alpaca; it knows nothing of the OMS.

Read it as the way of an order:

- `api`: HTTP and websockets: who asks, how often, and what goes over the wire (see its own docstring).
- `intake`: the JSON of a POST becomes an order request; `rules`: which requests make sense.
- `checks`: the request against the account: buying power, quantities at hand, wash trades.
- `orders`: an order; `statuses`: its statuses and events, and the one table of its transitions; `order_json` is how it
  looks on the wire.
- `desk`: takes orders, asks for cancels, goes on after a restart; `replacing`: PATCH.
- `ledger`: every account, and the one place where an order changes, is kept and told.
- `floor`: orders wait here for session or price, are filled, or end; `days` is time passing: expiry, fees, yesterday.
- `triggers`: what stops wait for; `groups`: brackets, OCO and OTO; `executions` books fills.
- `displayed`: the stricter fills, which respect the sizes of quotes.
- `matching`: the pure rules of it: what is marketable, at which price, how much of it, and the resting orders in
  price order.
- `fees`: what Alpaca takes for crypto, and how it is rounded.
- `positions`, `accounts`: what a fill does to a holding, to cash, to buying power and to what is held for open orders.
- `account_json`: an account and its positions on the wire.
- `activities`: fills and fees as Alpaca lists them.
- `updates`: what is told of an order; `trade_events`: every event of every order, kept for server-sent events.
- `equity`, `portfolio`: what accounts were worth, and the time series that is made of it.
- `watchlists`: named lists of assets.
- `assets`: what can be traded, with increments.
- `prices`: seeded random walks or a recorded tape, and the current quotes made of them.
- `clock`, `calendar`, `markets`, `timestamps`: the broker's time, the exchange's sessions, the phases of several
  markets, and how they are written.
- `money`: Decimals: reading, rounding and writing them.
- `store`: SQLite with group commit: nothing is told before it is kept; `tables` is what it keeps.
- `errors`: what is refused, with Alpaca's HTTP statuses and codes.
- `faults`: what a test wants to go wrong; `books`: what only the house can do; `testing`: both for Python tests.
- `ids`, `taken_ids`: making ids cheaply, and knowing which a client has used.
- `core`: the one function that wires all but the API.
- `settings`, `app`, `cli`: the options, the one function that wires everything, the command.
"""
