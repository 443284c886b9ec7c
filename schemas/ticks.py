"""Ticks: the record every stage reads, and the two messages that carry it, TickBatch and Mark.

`TICK_V1`, 72 bytes, little endian, quotes and trades share fields:

| field | dtype | quote | trade | depth level |
| --- | --- | --- | --- | --- |
| ts_ns | i8 | effective time, ns UTC: the running maximum of the symbol's event time | same | same |
| late_ns | i8 | effective time less original event time, >= 0 | same | same |
| seq | u8 | sequence within the symbol, from 0 without gaps on a tape | same | same |
| price | i8 | bid | price | level price |
| size | i8 | bid size | size | level size (0 removes) |
| ask | i8 | ask | 0 | 0 |
| ask_size | i8 | ask size | 0 | 0 |
| symbol | u4 | id in the tape's instrument list | same | same |
| conditions | u4 | flags (low 24 bits), letter of the ask's exchange (top 8; 0: the bid's) | venue's condition flags | 0 |
| gap | u4 | venue sequence numbers missing just before this row, saturating | same | same |
| kind | u1 | QUOTE | TRADE | DEPTH |
| side | i1 | 0 | aggressor +1 buy, -1 sell, 0 unknown | +1 bid, -1 ask |
| venue | u1 | ASCII code of the exchange letter, of the bid's where the sides differ, 0 unknown | same | same |
| flags | u1 | FLAG_* | same | same |

Prices and sizes are fixed point: integers times 10**-exponent of the instrument (schemas/instruments.py).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

TICK_V1: Final = np.dtype(
    [
        ("ts_ns", "<i8"),
        ("late_ns", "<i8"),
        ("seq", "<u8"),
        ("price", "<i8"),
        ("size", "<i8"),
        ("ask", "<i8"),
        ("ask_size", "<i8"),
        ("symbol", "<u4"),
        ("conditions", "<u4"),
        ("gap", "<u4"),
        ("kind", "u1"),
        ("side", "i1"),
        ("venue", "u1"),
        ("flags", "u1"),
    ]
)
TICK_VERSION: Final = 1

QUOTE: Final = 1
TRADE: Final = 2
DEPTH: Final = 3
KIND_NAMES: Final = {QUOTE: "quote", TRADE: "trade", DEPTH: "depth"}

ASK_VENUE_SHIFT: Final = 24
"""A quote's `conditions >> ASK_VENUE_SHIFT` is the ASCII code of the ask's exchange letter, 0 where it is the bid's."""

FLAG_SNAPSHOT: Final = 1  # part of a depth snapshot
FLAG_SUSPICIOUS: Final = 2  # the recorder marked the row as suspicious
FLAG_TIME_REFUSED: Final = 4  # set by the source: a time that cannot be true; the gate makes it a dead letter
FLAG_CORPORATE_ACTION: Final = 8  # a split or the like takes effect here

END: Final = 2**62
"""The mark after the final one: nothing ever follows. What measures can wait no longer; an account does not live through it."""

Ticks = npt.NDArray[np.void]
"""One-dimensional array of dtype TICK_V1."""

Ints = npt.NDArray[np.int64]


def read_only(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A contiguous read-only view, so that a compiled pass has one signature."""
    view = np.ascontiguousarray(a).view()
    view.flags.writeable = False
    return view


def rows_at(a: Ticks, index: npt.NDArray[Any]) -> Ticks:
    """`a[index]` of a contiguous array of records, copied row by row as bytes: NumPy copies records field by field, twenty times slower."""
    picked: Ticks = a.view(f"V{a.itemsize}")[index].view(a.dtype)
    return picked


def rows_joined(parts: Sequence[Ticks]) -> Ticks:
    """Contiguous arrays of records of one layout, one after the other, copied as bytes."""
    opaque = f"V{parts[0].itemsize}"
    joined: Ticks = np.concatenate([a.view(opaque) for a in parts]).view(parts[0].dtype)
    return joined


def shard_of(symbol: str, shards: int) -> int:
    """The shard of a symbol: CRC-32 of its UTF-8 name modulo `shards`. Stable over processes, hosts and releases."""
    return zlib.crc32(symbol.encode()) % shards


def shard_key(shard: int) -> str:
    """The Bytewax key of a shard, such as `s07`."""
    return f"s{shard:02d}"


def lead_key(partition: int, shard: int) -> str:
    """The Bytewax key of a leading shard read on behalf of the followers in one partition, such as `p3.s45`."""
    return f"p{partition}.{shard_key(shard)}"


@dataclass(frozen=True, slots=True)
class TickBatch:
    """Ticks of one shard as read from one partition, in the partition's order.

    `ticks`: read-only array of TICK_V1, shape (n,). `slices`: int64 (n,), the slice of each tick, never decreasing.
    `first_offset`: offset in the partition of the first row that was read for this batch (rows of other shards count too).
    """

    shard: int
    partition: int
    first_offset: int
    slices: Ints
    ticks: Ticks

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (TICK_VERSION, self.shard, self.partition, self.first_offset, self.slices.tobytes(), self.ticks.tobytes())


def _rebuild(version: int, shard: int, partition: int, first_offset: int, slices: bytes, ticks: bytes) -> TickBatch:
    if version != TICK_VERSION:
        msg = f"a TickBatch of layout version {version} cannot be read, this code knows version {TICK_VERSION}"
        raise ValueError(msg)
    return TickBatch(shard, partition, first_offset, np.frombuffer(slices, "<i8"), np.frombuffer(ticks, TICK_V1))


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything of `shard` before slice `k` has been sent by partition `source`."""

    shard: int
    source: int
    k: int
