"""What a shard says (SliceOut without its ticks) on the wire: `application/vnd.spiketape.slices`. Any bytes decode or raise WireError.

The body of the envelope (schemas/envelope.py; magic `SPSO`), little endian, everything at a multiple of 8 bytes:

| part | content |
| --- | --- |
| head, 40 bytes | lo i8, hi i8, shard u4, signals u4, quotes u4, groups of rows u4, bytes of keys u4, 4 zero bytes |
| directory | for each group: table u2 (place in TABLE_CODES), bytes of its key u2, rows u4 |
| keys | the groups' keys in UTF-8, one after the other; zero bytes up to a multiple of 8 |
| signals, quotes, rows of each group | their records: tables.SIGNAL, ranges.SLICE_QUOTE, the table's dtype |

Records are copied as they are: nothing is done row by row. What stands in a decoded SliceOut are read-only views of the message.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.envelope import Part, body_of, enveloped
from schemas.errors import WireError
from schemas.ranges import SLICE_QUOTE, SliceOut
from schemas.tables import SIGNAL, TABLES, Rows

CONTENT_SLICES: Final = "application/vnd.spiketape.slices"
SLICE_WIRE_VERSION: Final = 1
TABLE_CODES: Final = (
    "signals",
    "verdicts",
    "orders",
    "executions",
    "positions",
    "equity",
    "dead_letters",
    "statistics",
    "skill",
    "quality",
)
"""A table's number on the wire is its place here; never changed, only added to."""

_WHAT: Final = "a message of slices"
_MAGIC: Final = b"SPSO"
_HEAD: Final = struct.Struct("<qqIIIII4x")
_GROUP: Final = struct.Struct("<HHI")


def encode_slice_out(out: SliceOut) -> bytes:
    """The wire form of what a shard says; its ticks (`gated`) stay behind. KeyError for rows of a table without a number."""
    keys = [r.key.encode() for r in out.rows]
    directory = b"".join(_GROUP.pack(TABLE_CODES.index(r.table), len(k), r.a.size) for r, k in zip(out.rows, keys, strict=True))
    names = b"".join(keys)
    head = _HEAD.pack(out.lo, out.hi, out.shard, out.signals.size, out.quotes.size, len(keys), len(names))
    parts = [head, directory, names + bytes(-len(names) % 8), _bytes(out.signals), _bytes(out.quotes)]
    parts += [_bytes(r.a) for r in out.rows]
    return enveloped(_MAGIC, SLICE_WIRE_VERSION, parts)


def decode_slice_out(data: bytes) -> SliceOut:
    """What a shard says, from the wire, `gated` None. WireError for anything else, with signals or quotes out of the slices too."""
    body = body_of(_WHAT, _MAGIC, SLICE_WIRE_VERSION, data)
    if len(body) < _HEAD.size:
        raise WireError("truncated", f"{_WHAT}: the body begins with {_HEAD.size} bytes, given {len(body)}")
    lo, hi, shard, signals, quotes, groups, named = _HEAD.unpack_from(body)
    if lo >= hi:
        raise WireError("range", f"{_WHAT}: slices [{lo}, {hi}) are none")
    names_at = _HEAD.size + groups * _GROUP.size
    at = names_at + named + -named % 8
    if at > len(body):
        raise WireError("length", f"{_WHAT}: a directory of {groups} groups and {named} bytes of keys in a body of {len(body)}")
    reader = _Reader(body, at)
    signal_rows = reader.take(SIGNAL, signals)
    quote_rows = reader.take(SLICE_QUOTE, quotes)
    for name, rows in (("signals", signal_rows), ("quotes", quote_rows)):
        if not in_slices(rows["slice"], lo, hi):
            raise WireError("slices", f"{_WHAT}: its {name} are not in the order of slices [{lo}, {hi})")
    rows_out = []
    for i in range(groups):
        code, length, count = _GROUP.unpack_from(body, _HEAD.size + i * _GROUP.size)
        if code >= len(TABLE_CODES):
            raise WireError("table", f"{_WHAT}: table {code} is none of {len(TABLE_CODES)}")
        table = TABLE_CODES[code]
        rows_out.append(Rows(table, _text(body, names_at, length), reader.take(TABLES[table], count)))
        names_at += length
    if reader.at != len(body) or names_at != _HEAD.size + groups * _GROUP.size + named:
        raise WireError("length", f"{_WHAT}: its parts make {reader.at} bytes, given {len(body)}")
    return SliceOut(shard, lo, hi, signal_rows, quote_rows, tuple(rows_out), None)


class _Reader:
    """Takes records off a body, one array after the other."""

    def __init__(self, body: memoryview, at: int) -> None:
        self._body = body
        self.at = at

    def take(self, dtype: np.dtype[np.void], count: int) -> npt.NDArray[np.void]:
        end = self.at + count * dtype.itemsize
        if end > len(self._body):
            raise WireError("length", f"{_WHAT}: {count} records end at byte {end} of a body of {len(self._body)}")
        rows: npt.NDArray[np.void] = np.frombuffer(self._body, dtype, count, self.at)
        self.at = end
        return rows


def in_slices(slices: npt.NDArray[np.int64], lo: int, hi: int) -> bool:
    """Whether slices never decrease and all stand in [lo, hi)."""
    if slices.size == 0:
        return True
    return bool(slices[0] >= lo and slices[-1] < hi and not (slices[1:] < slices[:-1]).any())


def _text(body: memoryview, at: int, length: int) -> str:
    try:
        return str(body[at : at + length], "utf-8")
    except UnicodeDecodeError as e:
        raise WireError("key", f"{_WHAT}: a key is not UTF-8: {bytes(body[at : at + length])[:64]!r}") from e


def _bytes(rows: npt.NDArray[np.void]) -> Part:
    """The records' bytes; nothing is copied where they stand one after the other."""
    return np.ascontiguousarray(rows).view(np.uint8).data
