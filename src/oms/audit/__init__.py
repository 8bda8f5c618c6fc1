"""`oms audit`: works out orders and positions once more, from events, fills and adjustments, and compares.

findings    what an audit says: differences, what was under way, what was counted
trail       the events of an order as they are read
replay      an order built again from its events
orders      that order, and its fills, beside the rows
holdings    a position worked out straight from its steps
positions   that position beside its row
broker      open orders, positions and fills beside what the broker says, looked at more than once
reading     the few openings to the record
audit       all of it, in one pass

It shares nothing with the engine but the record: what computes there is written again here, in its own way.
"""
