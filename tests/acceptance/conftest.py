"""Whatever a paper broker answers in an acceptance test is recorded; `openapi/test_every_answer.py` judges it last."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stack import RECORD

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file into which every paper broker of the acceptance tests writes its answers."""
    path = tmp_path_factory.mktemp("recorded") / "answers.jsonl"
    path.touch()
    os.environ[RECORD] = str(path)
    yield path
    os.environ.pop(RECORD, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The judge comes after all other acceptance tests."""
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    last = [item for item in ours if item.path.name == "test_every_answer.py"]
    if last:
        end = max(items.index(item) for item in ours) + 1
        items[:] = [i for i in items[:end] if i not in last] + last + items[end:]
