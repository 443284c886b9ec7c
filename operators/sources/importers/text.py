"""Lines of recorded text files, plain or compressed, in blocks of bounded size; a damaged file ends with one refusal.

A file that is cut off gives every whole line before its end; the rest counts as one row read and refused. A compressed file that is
corrupt (its checksum or its code is wrong) is refused whole before a row is read (`corruption`): where it went wrong cannot be told, and
wrong digits may look right.
"""

from __future__ import annotations

import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Final, cast

import numpy as np
import numpy.typing as npt

from operators.sources.tape.merge import ImportReport
from schemas.ticks import Ints

BLOCK_LINES: Final = 65_536
READ_BYTES: Final = 1 << 22
LONGEST_LINE: Final = 1 << 22
TEXT_MAX: Final = 1 << 16

_DAMAGE: Final = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError)
"""What the standard library raises for damaged, truncated, encrypted or unreadable compressed files."""


_CUT_OFF: Final = "the file is damaged or cut off here, rows after this one are missing"


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines. `data` uint8; line i is data[starts[i]:ends[i]], without its end of line; its number is first + i (from 1)."""

    file: str
    first: int
    data: npt.NDArray[np.uint8]
    starts: Ints
    ends: Ints

    @property
    def size(self) -> int:
        return int(self.starts.size)

    def bytes_of(self, i: int) -> bytes:
        """A line's bytes."""
        return self.data[self.starts[i] : self.ends[i]].tobytes()

    def text(self, i: int) -> str:
        """A line as text for the report, at most TEXT_MAX bytes of it."""
        return self.data[self.starts[i] : min(self.ends[i], self.starts[i] + TEXT_MAX)].tobytes().decode("utf-8", "replace")


def opening(path: Path, size: int = 4096) -> bytes:
    """The first bytes of a file's text, b"" where it is damaged: for telling its format."""
    try:
        with open_text(path) as (_, stream):
            return stream.read(size)
    except _DAMAGE:
        return b""


def member_name(path: Path) -> str:
    """The name of a zip file's only member (or the file's own name): LEAN writes symbol and kind into it."""
    try:
        with zipfile.ZipFile(path) as z:
            return z.namelist()[0]
    except (*_DAMAGE, IndexError):
        return path.name


@contextmanager
def open_text(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """A file's decompressed bytes; gzip, zip (its first member) and xz are told by their first bytes, never by name."""
    with path.open("rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(raw) as unpacked:
                yield path.name, cast("IO[bytes]", unpacked)
        elif magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            with zipfile.ZipFile(raw) as z:
                names = [n for n in z.namelist() if not n.endswith("/")]
                if len(names) != 1:
                    msg = f"expected one file in the archive, found {len(names)}: unpack it and import the files"
                    raise zipfile.BadZipFile(msg)
                with z.open(names[0]) as stream:
                    yield path.name, stream
        elif magic == b"\xfd7zXZ\x00":
            with lzma.open(raw) as unpacked_xz:
                yield path.name, cast("IO[bytes]", unpacked_xz)
        else:
            yield path.name, raw


def line_blocks(path: Path, report: ImportReport | None, skip: int = 0, count_lines: bool = True) -> Iterator[Block]:
    """The lines of a file but the first `skip`, in blocks of at most BLOCK_LINES. Tells `report` the rows read and any damage.

    `report` None: a first look at a file that is read again for its rows; damage then only ends it. `count_lines` False: a line may
    hold several rows, the caller counts them.
    """
    counted = report if count_lines else None
    file, line, carry, damage, chunks = str(path), 1, b"", "", 0
    try:
        with open_text(path) as (_, stream):
            while True:
                data, cut_off = _fill(stream)
                if not data and not cut_off:
                    break
                chunks += 1
                carry += data
                for block in _cut(file, line, carry):
                    line = block.first + block.size
                    yield from _counted(block, skip, counted)
                carry = carry[carry.rfind(b"\n") + 1 :]
                if cut_off:
                    damage = f"{_CUT_OFF}: {cut_off}"
                    break
                if len(carry) > LONGEST_LINE:
                    damage = f"no end of line in {LONGEST_LINE} bytes: not a text file"
                    break
    except _DAMAGE as e:
        damage = f"{_CUT_OFF}: {e}"
    if damage or not chunks:
        if report is not None:
            report.read(1)
            report.refuse(file, line, damage or "the file is empty", carry[:TEXT_MAX].decode("utf-8", "replace"))
    elif carry:
        for block in _cut(file, line, carry + b"\n"):
            yield from _counted(block, skip, counted)


def _fill(stream: IO[bytes]) -> tuple[bytes, str]:
    """The next READ_BYTES, or fewer at the end; and what stopped the reading, where something did."""
    parts: list[bytes] = []
    size = 0
    try:
        while size < READ_BYTES and (part := stream.read1(READ_BYTES - size)):  # type: ignore[attr-defined]
            parts.append(part)
            size += len(part)
    except _DAMAGE as e:
        return b"".join(parts), str(e) or type(e).__name__
    return b"".join(parts), ""


def corruption(path: Path) -> str | None:
    """What is wrong with a compressed file whose content cannot be trusted; None for a sound, a plain or a merely cut off one."""
    try:
        with open_text(path) as (_, stream):
            if not isinstance(stream, BufferedReader):
                while stream.read(READ_BYTES):
                    pass
    except EOFError:
        return None
    except _DAMAGE as e:
        return f"the file is damaged or cut off, none of its rows can be trusted: {e}"
    return None


def _counted(block: Block, skip: int, report: ImportReport | None) -> Iterator[Block]:
    drop = max(0, min(block.size, skip + 1 - block.first))
    if drop:
        block = Block(block.file, block.first + drop, block.data, block.starts[drop:], block.ends[drop:])
    if block.size:
        if report is not None:
            report.read(block.size)
        yield block


def _cut(file: str, line: int, text: bytes) -> Iterator[Block]:
    data = np.frombuffer(text, np.uint8)
    newline = np.flatnonzero(data == 10)
    starts = np.empty_like(newline)
    if newline.size:
        starts[0] = 0
        starts[1:] = newline[:-1] + 1
        newline = newline - ((newline > starts) & (data[newline - 1] == 13))
    for a in range(0, newline.size, BLOCK_LINES):
        yield Block(file, line + a, data, starts[a : a + BLOCK_LINES], newline[a : a + BLOCK_LINES])
