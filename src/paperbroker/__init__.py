"""A paper broker that speaks the protocol of Alpaca."""
