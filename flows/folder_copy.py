"""Copies of folders that somebody may be writing to, and sums by which a changed copy is known."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from schemas.durable import PART, force
from schemas.errors import SavepointError

LOG: Final = "_delta_log"
LAST_CHECKPOINT: Final = "_last_checkpoint"
ATTEMPTS: Final = 5
"""A table is copied anew where files of it went away meanwhile (a clean-up); that happens once at the end of a run."""


@dataclass(frozen=True)
class FileSum:
    """A file: its path in its folder, with `/`; its size in bytes; SHA-256, hexadecimal."""

    path: str
    size_bytes: int
    sha256: str


def sums_of(path: Path, name: str = "") -> tuple[FileSum, ...]:
    """The sums of a file, or of all files in a folder, ordered by path; paths begin with `name`."""
    if path.is_file():
        return (_sum(path, name),)
    files = sorted(p for p in path.rglob("*") if not p.is_dir())
    return tuple(_sum(p, "/".join((*filter(None, (name,)), p.relative_to(path).as_posix()))) for p in files)


def _sum(path: Path, name: str) -> FileSum:
    with path.open("rb") as f:
        return FileSum(name, os.fstat(f.fileno()).st_size, hashlib.file_digest(f, "sha256").hexdigest())


def copy_folder(source: Path, target: Path, leave_out: Collection[str]) -> None:
    """Copies what a folder holds into one that exists, except names at its top in `leave_out` and what is not complete (`.part`).

    Files may go away meanwhile. Those without a suffix are copied last in their folder: they are notes about the others, and a note
    that is newer than what it speaks of does no harm.
    """
    for path in sorted(source.iterdir(), key=lambda p: (p.suffix == "", p.name)):
        if path.name in leave_out or path.name.endswith(PART):
            continue
        if path.is_dir():
            (target / path.name).mkdir()
            copy_folder(path, target / path.name, ("lock",))
        else:
            with suppress(FileNotFoundError):
                shutil.copyfile(path, target / path.name)


def copy_lake(source: Path, target: Path) -> None:
    """Copies every Delta table of a lake, each as of one of its versions.

    Raises SavepointError where a table cannot be read, or does not hold still long enough to be copied.
    """
    target.mkdir()
    for table in sorted(p for p in source.iterdir() if (p / LOG).is_dir()):
        for _ in range(ATTEMPTS):
            if _copied(table, target / table.name):
                break
            shutil.rmtree(target / table.name, ignore_errors=True)
        else:
            msg = f"{table} changes faster than it can be copied; try again"
            raise SavepointError(msg)


def _copied(source: Path, target: Path) -> bool:
    """Whether a table was copied whole: the log up to its version now, and the files that version is made of."""
    try:
        table = DeltaTable(str(source))
    except TableNotFoundError:
        return True
    except (DeltaError, OSError) as e:
        msg = f"{source} cannot be read ({e}): the lake is damaged"
        raise SavepointError(msg) from e
    version = table.version()
    (target / LOG).mkdir(parents=True)
    try:
        for path in sorted((source / LOG).iterdir()):
            if _of_version(path, version):
                shutil.copyfile(path, target / LOG / path.name)
        for uri in table.file_uris():
            name = uri.rpartition("/")[2]
            shutil.copyfile(source / name, target / name)
        copied = DeltaTable(str(target)).version()
    except (FileNotFoundError, DeltaError):
        return False
    return bool(copied == version)


def _of_version(path: Path, version: int) -> bool:
    """Whether a file of a log speaks of nothing later than `version`."""
    if path.name == LAST_CHECKPOINT:
        with suppress(OSError, ValueError, KeyError):
            return int(json.loads(path.read_text())["version"]) <= version
        return False
    number = path.name.partition(".")[0]
    return number.isdecimal() and int(number) <= version


def synced(path: Path) -> None:
    """Forces a file, or a folder and everything in it, to the disk."""
    for at in (path, *(path.rglob("*") if path.is_dir() else ())):
        force(at)
