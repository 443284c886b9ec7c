"""Folders copied while somebody writes to them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.folder_copy import copy_folder, sums_of


def test_a_note_is_copied_after_what_it_speaks_of_and_what_goes_away_meanwhile_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the spool is written: segments `0.lines`, `1.lines`, and `sent`, which says that everything below its number may be gone."""
    spool = tmp_path / "run" / "spool"
    spool.mkdir(parents=True)
    for n in range(4):
        (spool / f"{n}.lines").write_text(str(n))
    (spool / "sent").write_text("0")
    (spool / "lock").write_text("")
    (tmp_path / "run" / "half.json.part").write_text("{")
    copyfile = shutil.copyfile

    def while_it_is_sent(source: Path, target: Path) -> Path:
        if source.name == "1.lines":
            source.unlink()
            (spool / "sent").write_text("2")
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", while_it_is_sent)
    (tmp_path / "copy").mkdir()
    copy_folder(tmp_path / "run", tmp_path / "copy", ())
    copied = {p.relative_to(tmp_path / "copy").as_posix(): p.read_text() for p in (tmp_path / "copy").rglob("*") if p.is_file()}
    sent = int(copied.pop("spool/sent"))
    there = {int(name.removeprefix("spool/").partition(".")[0]) for name in copied}
    assert there >= set(range(sent, 4))


def test_the_sum_of_a_folder_names_every_file_once(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"abc")
    (tmp_path / "a").write_bytes(bytes(5))
    sums = sums_of(tmp_path)
    assert [(s.path, s.size_bytes) for s in sums] == [("a", 5), ("b/x", 3)]
    assert sums[1].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert [s.path for s in sums_of(tmp_path / "b", "in")] == ["in/x"]
    assert [s.path for s in sums_of(tmp_path / "a", "a")] == ["a"]
