"""REST: the signal route, orders, positions, portfolio, events, health; errors → HTTP in one place."""
