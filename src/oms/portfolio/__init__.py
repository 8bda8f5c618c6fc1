"""Positions valued. Fills are applied by the engine, in the transaction that books them."""
