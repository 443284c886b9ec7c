"""What to say when the disk fails while a tape is written."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import SpiketapeError


@contextmanager
def writing(tape: Path) -> Iterator[None]:
    """Errors of the disk inside become a SpiketapeError that names the tape."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            msg = f"the disk is full while writing the tape {tape}; nothing of it was kept: make room, or write elsewhere"
        else:
            msg = f"the tape {tape} cannot be written: {e.strerror or e}; nothing of it was kept"
        raise SpiketapeError(msg) from e
