"""`oms up` on real servers with stand-ins for API and engine, so that it can be tested by itself.

    python up_driver.py DATA_FOLDER usual|free SERVER,SERVER

Prints `UP {json}` with the addresses once everything runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from oms.domain.errors import OmsError
from oms.settings import Settings
from oms.up.child import ChildSpec
from oms.up.console import Console
from oms.up.plan import Plan
from oms.up.supervisor import Supervisor

ENGINE = """
import os, signal, time
def stop(*_):
    os.write(1, b"engine finishes\\n")
    time.sleep(0.3)
    os.write(1, b"engine finished\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
os.write(1, b"OMS execution engine started\\n")
while True: time.sleep(0.1)
"""
STUBBORN = ENGINE.replace("os._exit(0)", "pass")
API = "import time\nwhile True: time.sleep(1)"


def children(settings: Settings) -> list[ChildSpec]:
    engine = STUBBORN if os.environ.get("STUBBORN") else ENGINE
    return [
        ChildSpec("api", (sys.executable, "-c", API)),
        ChildSpec("engine", (sys.executable, "-c", engine), stops_first=True),
    ]


async def no_migration(_settings: Settings, _console: Console, _patience_s: float) -> None:
    return


async def announce(settings: Settings) -> str:
    found = {"postgres": settings.database_url, "valkey": settings.redis_url, "questdb": settings.questdb_pg_url}
    return "UP " + json.dumps(found)


def main() -> int:
    plan = Plan(Settings(data=Path(sys.argv[1])), tuple(sys.argv[3].split(",")), with_broker=False)
    console = Console()
    supervisor = Supervisor(
        plan,
        console,
        children=children,
        migrate=no_migration,
        announce=announce,
        fixed_ports=sys.argv[2] == "usual",
    )
    try:
        return asyncio.run(supervisor.run())
    except OmsError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        console.close()


if __name__ == "__main__":
    sys.exit(main())
