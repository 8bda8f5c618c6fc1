"""All rows: importing this module enters them into the matrix."""

from __future__ import annotations

from tests.faults import killed, requests
from tests.faults.matrix import MATRIX

__all__ = ["MATRIX", "killed", "requests"]
