"""Room on the disk of the data folder, as health and doctor tell of it."""

from __future__ import annotations

from pathlib import Path

from oms.room import free_bytes, trouble_of


def test_there_is_room_or_it_says_what_to_do(tmp_path: Path) -> None:
    free = free_bytes(tmp_path)
    assert trouble_of(tmp_path, little_bytes=free // 2) == ""
    soon = trouble_of(tmp_path, little_bytes=free * 2, too_little_bytes=free // 2)
    assert soon.endswith("make room soon")
    assert str(tmp_path) in soon
    assert "make room at once" in trouble_of(tmp_path, little_bytes=free * 4, too_little_bytes=free * 2)


def test_a_folder_that_is_not_there_yet_counts_where_it_would_be_made(tmp_path: Path) -> None:
    assert trouble_of(tmp_path / "not" / "yet", little_bytes=0) == ""
