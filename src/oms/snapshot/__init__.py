"""`oms snapshot`: positions and orders as files that people and spreadsheets read.

files   one table as JSON and as CSV, written row by row
shelf   the folder of snapshots: each appears whole, under its time; old ones go
"""
