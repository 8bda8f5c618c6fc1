"""What all tests share."""

import contextlib
import os

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
