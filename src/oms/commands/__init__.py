"""What an operator runs beside the OMS: each command wires what it needs, does it and ends.

where   on which servers and with which keys: the settings', else those of the running `oms up`
disk    what the disk refuses, as one line
audit   `oms audit`
snapshot  `oms snapshot`
backup  `oms backup`, `oms restore`, and the backup before a migration
"""
