"""What must outlive a power failure."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

PART: Final = ".part"
"""How a name ends as long as what it names is not complete."""


def force(path: Path) -> None:
    """What is in a file, or the names in a folder, is on the disk when this returns. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, and to the disk. Raises OSError, and leaves nothing incomplete then."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    force(path.parent)


def write_at(file: int, content: bytes, offset: int) -> None:
    """Writes all of `content` to an open file from `offset` on, also where the system takes it in pieces. Raises OSError."""
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
