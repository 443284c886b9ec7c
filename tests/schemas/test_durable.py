"""What is written whole: where that fails the old file stands, and nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.durable import write_whole


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"longer than the next", b"next", b""):
        write_whole(path, content)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(small_disk: Callable[[str], Path]) -> None:
    path = small_disk("64k") / "a.json"
    write_whole(path, b"old")
    with pytest.raises(OSError, match="No space left on device"):
        write_whole(path, bytes(1 << 20))
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_name_that_a_folder_has_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "a", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
