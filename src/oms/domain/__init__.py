"""What is true whatever is outside: pure, synchronous, standard library only."""
