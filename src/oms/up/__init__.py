"""`oms up`: everything in one process tree, watched, and gone when it goes.

plan         what the settings ask for: which servers, which broker, on which addresses
supervisor   starts, watches, restarts, stops
child        a program of ours with its output passed on and logged
console      what the terminal shows; a stopped terminal stops nobody
banner       where to look, once the API is ready
"""
