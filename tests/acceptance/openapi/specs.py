"""Alpaca's OpenAPI files out of the installed package, with their known mistakes mended.

Runs in the environment `clients-openapi`; as a script it writes one of them (first argument) to a file (second).
"""

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any


def load(name: str) -> dict[str, Any]:
    """`trading-api` or `market-data-api`.

    An activity by type is said to be one of TradingActivities and NonTradeActivities but not both; as neither requires
    a field, every fill of Alpaca's is both. The list of all activities says anyOf, which is meant here, too. And
    closing all positions tells of what was refused in the place of an order, as Alpaca's Go SDK and alpaca-py read it.
    """
    document: dict[str, Any] = json.loads(files("alpaca_mcp_server").joinpath("specs", f"{name}.json").read_text())
    by_type = document["paths"].get("/v2/account/activities/{activity_type}")
    if by_type:
        items = by_type["get"]["responses"]["200"]["content"]["application/json"]["schema"]["items"]
        items["anyOf"] = items.pop("oneOf")
        closed = document["components"]["schemas"]["PositionClosedResponse"]["properties"]
        closed["body"] = {"anyOf": [closed["body"], {"$ref": "#/components/schemas/Error"}]}
    return document


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(load(sys.argv[1])))
