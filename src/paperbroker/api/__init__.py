"""The broker over HTTP and websockets.

- `endpoint`: what every request goes through: who asks, how often, the body, the answer, refusals made HTTP in one
  place.
- `limits`: requests a minute for a key.
- `parameters`: reading query parameters.
- `trading`: account, clock, calendar, assets, positions. `orders`, `activities`: what their names say.
- `closing`: positions are closed; `portfolio`, `watchlists`, `markets`: history, watchlists, clock and calendar v3.
- `events`: server-sent events.
- `quotes`: the latest market data by REST, `history` the past; `quotes_json` is how it looks there and on the streams.
- `control`: `/paper/v1`, what a real broker does not have: faults, prices, the clock, the log of fills and of requests.
- `mischief`, `late_updates`: what faults do to requests and to the updates of the trade stream.
- `connection`: a websocket's outgoing queue, and the two codecs.
- `trade_stream`: `/stream`; `data_stream`: the market data streams; `stream_events`: what they tell, encoded once.
"""
