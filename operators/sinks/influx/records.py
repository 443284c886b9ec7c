"""Records of the spool: lines under a checksum, in segments (files), so that what was torn or changed is found and never sent.

A record is a header of 32 bytes, then the lines: MAGIC (8), sequence u64, number of lines u32, length u32, XXH3-64 of sequence,
number, length and lines; little-endian. Sequences run up by one over all segments. A segment is named by its first sequence.
MAGIC cannot occur in lines, which are UTF-8, so that behind damage the next record can be found.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import xxhash

from operators.sinks.influx.lines import Lines

MAGIC: Final = b"\xff\xfeSPOOL1"
_NUMBERS: Final = struct.Struct("<QII")
_DIGEST: Final = struct.Struct("<Q")
HEADER_BYTES: Final = len(MAGIC) + _NUMBERS.size + _DIGEST.size
SUFFIX: Final = ".lines"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: its sequence, its segment, offset and length of the whole record in bytes, its number of lines."""

    sequence: int
    segment: Path
    offset: int
    length: int
    lines: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that are no record as it was written. `torn`: at the very end, as an interrupted write leaves it."""

    segment: Path
    offset: int
    content: bytes
    torn: bool


def packed(sequence: int, lines: Lines) -> bytes:
    """The record of lines."""
    numbers = _NUMBERS.pack(sequence, lines.count, len(lines.content))
    return b"".join((MAGIC, numbers, _DIGEST.pack(_digest(numbers, lines.content)), lines.content))


def unpacked(raw: bytes) -> tuple[int, Lines] | None:
    """Sequence and lines of the record that `raw` begins with; None where there is none, or not as it was written."""
    if len(raw) < HEADER_BYTES or not raw.startswith(MAGIC):
        return None
    numbers = raw[len(MAGIC) : len(MAGIC) + _NUMBERS.size]
    sequence, count, length = _NUMBERS.unpack(numbers)
    content = raw[HEADER_BYTES : HEADER_BYTES + length]
    if len(content) < length or _DIGEST.unpack_from(raw, len(MAGIC) + _NUMBERS.size)[0] != _digest(numbers, content):
        return None
    return sequence, Lines(count, content)


def _digest(numbers: bytes, content: bytes) -> int:
    digest = xxhash.xxh3_64(numbers)
    digest.update(content)
    return int(digest.intdigest())


def scanned(segment: Path) -> Iterator[Place | Damage]:
    """What a segment holds, in order; stretches that are no records between those that are."""
    raw = segment.read_bytes()
    at = 0
    while at < len(raw):
        found = _record_at(segment, raw, at)
        if found is not None:
            yield found
            at += found.length
            continue
        begin = at
        while found is None and (at := raw.find(MAGIC, at + 1)) >= 0:
            found = _record_at(segment, raw, at)
        if found is None:
            at = len(raw)
        yield Damage(segment, begin, raw[begin:at], torn=found is None)


def _record_at(segment: Path, raw: bytes, at: int) -> Place | None:
    header = raw[at : at + HEADER_BYTES]
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        return None
    length = HEADER_BYTES + _NUMBERS.unpack_from(header, len(MAGIC))[2]
    record = unpacked(raw[at : at + length])
    return None if record is None else Place(record[0], segment, at, length, record[1].count)
