"""Whatever a paper broker answers in an acceptance test is recorded; `openapi/test_every_answer.py` judges it last.

Where the tests run in several processes, as in `make test`, `--answers FILE` has them all write to one file, and the
judge gets the same file in a run of its own.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stack import RECORD

HERE = Path(__file__).parent
RECORDED = pytest.StashKey[str]()


@pytest.fixture(scope="session", autouse=True)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file into which every paper broker of the acceptance tests writes its answers."""
    given = request.config.getoption("--answers")
    path = Path(given).absolute() if given else tmp_path_factory.mktemp("recorded") / "answers.jsonl"
    path.touch()
    os.environ[RECORD] = request.config.stash[RECORDED] = str(path)
    yield path
    os.environ.pop(RECORD, None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Record again; the first time the fixture sees to it."""
    if RECORDED in item.config.stash:
        os.environ[RECORD] = item.config.stash[RECORDED]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Record nothing of other tests, which ask for what the contract does not have."""
    if nextitem is None or not nextitem.path.is_relative_to(HERE):
        os.environ.pop(RECORD, None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The judge comes after all other acceptance tests, and not at all beside them in another process."""
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    last = [item for item in ours if item.path.name == "test_every_answer.py"]
    if hasattr(config, "workerinput"):
        items[:] = [item for item in items if item not in last]
    elif last:
        end = max(items.index(item) for item in ours) + 1
        items[:] = [i for i in items[:end] if i not in last] + last + items[end:]
