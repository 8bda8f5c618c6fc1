"""What all tests share."""

import contextlib
import os

import pytest

pytest_plugins = ["tests.servers"]

with contextlib.suppress(ModuleNotFoundError):  # it is not in the image, where tests/test_oms.py runs
    from hypothesis import settings

    settings.register_profile("no deadline", deadline=None)  # how long an example takes says how busy the machine is
    settings.load_profile("no deadline")

# Whoever runs the tests may have an OMS beside them, as in compose's container `app`, where DATABASE_URL and the keys
# are those of the running account. Nothing of it may reach a test, nor what a test starts.
_AROUND = ("ALERT_", "ALPACA_", "APCA_", "OMS_", "PAPERBROKER_", "DATABASE_URL", "REDIS_URL", "QUESTDB_")
for _name in [name for name in os.environ if name.startswith(_AROUND) and name != "OMS_CACHE"]:
    del os.environ[_name]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--answers`, for acceptance tests that run in several processes."""
    help_ = "the file for what paper brokers answer in acceptance tests, judged by openapi/test_every_answer.py"
    parser.addoption("--answers", metavar="FILE", help=help_)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a test that takes minutes come first, so that of several processes none ends long after the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
