"""All rows: importing this module enters them into the matrix."""

from __future__ import annotations

from tests.faults import engines, flood, full_disk, killed, market, orders, requests, servers, updates
from tests.faults.matrix import MATRIX

MODULES = (killed, requests, updates, engines, servers, full_disk, market, orders, flood)

__all__ = ["MATRIX", "MODULES"]
