"""The engine: the only writer of order state."""
