"""A paper broker of the tests' own, beside the OMS."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from tests.stack import ask, eventually, free_port


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    port = free_port()
    data = tmp_path_factory.mktemp("broker")
    log = (data / "log").open("wb")
    command = [
        sys.executable,
        "-m",
        "paperbroker.cli",
        "--port",
        str(port),
        "--data",
        str(data),
        "--requests-per-minute",
        "0",
    ]
    process = subprocess.Popen(command, env={**os.environ}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    headers = {"APCA-API-KEY-ID": "mock"}

    def answers() -> bool:
        try:
            return ask("GET", f"{url}/v2/clock", headers=headers).status == 200
        except OSError:
            return False

    eventually(answers)
    yield url
    process.terminate()
    process.wait(60)
