"""The pre-trade controls: one pure function each, and the gate that runs them all."""
