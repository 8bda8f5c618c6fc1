"""Which schema a database has and which this code needs; without Alembic, which is slow to import."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from oms.domain.errors import ConfigurationError
from oms.storage.database import Pool, connection

_FILE = re.compile(r"v(\d{4})_\w+\.py")


@cache
def known_schemas() -> tuple[str, ...]:
    """The schemas that this code can bring up to date; the first is the one that it needs."""
    files = (Path(__file__).parent / "migrations" / "versions").iterdir()
    return tuple(sorted((found[1] for file in files if (found := _FILE.fullmatch(file.name))), reverse=True))


def check_known(current: str | None) -> None:
    """Raise ConfigurationError for a schema of a later version."""
    if current is not None and current not in known_schemas():
        raise ConfigurationError(
            f"The database has schema {current}, which this version of Trademk1 does not know (it knows up to "
            f"{known_schemas()[0]}). Start the newer version, or restore a backup made with this one."
        )


async def check_schema(pool: Pool) -> None:
    """Raise ConfigurationError where the database has another schema than this code needs, saying what to do."""
    async with connection(pool) as db:
        has_one = await db.fetchval("select to_regclass('public.alembic_version') is not null")
        current = await db.fetchval("select version_num from public.alembic_version") if has_one else None
    check_known(current)
    if current != known_schemas()[0]:
        what = "no schema of Trademk1" if current is None else f"schema {current}"
        raise ConfigurationError(
            f"The database has {what}, this version needs {known_schemas()[0]}: run `oms db migrate` "
            "(`oms up` does so by itself)."
        )
