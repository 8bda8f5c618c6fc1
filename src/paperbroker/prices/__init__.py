"""Where prices come from and what they are now.

- `quotes`: what a quote, a trade and a bar are.
- `levels`: at which level, how lively and how wide each symbol trades in the generated market.
- `walk`: seeded random walks, a pure function of seed, symbol and time.
- `tape`: recorded prices, read in batches; `shift`: their times in terms of today's.
- `history`: what the past is asked for; `walk_history`, `tape_history` and `hand_history` answer, and `timeframes` cuts
  it into bars.
- `market`: the current quotes, the last trades, the running bars; tells those who listen.
- `feed`: the tasks that bring walk or tape to the market as time goes by.
"""
