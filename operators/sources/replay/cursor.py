"""A cursor over a tape: the next batches of all partitions up to a common horizon, then a mark for every shard.

All partitions are read up to the same slice, so that no shard waits for a partition that lags. Where a batch is smaller than a
slice, its ticks are sent and the mark follows when the slice is over: batch boundaries never change what a stage sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from operators.sources.replay.kernels import count_by_shard, slices_of, split_by_shard
from operators.timeline.aligner import NOTHING_SENT
from schemas.ticks import END, FLAG_TIME_REFUSED, Mark, TickBatch, Ticks

Message = TickBatch | Mark


class ReadableTape(Protocol):
    """What a cursor needs of a tape."""

    def rows(self, partition: int) -> int: ...
    def read(self, partition: int, start: int, count: int) -> Ticks: ...
    def seek(self, partition: int, ts_ns: int) -> int: ...


@dataclass
class Position:
    """Where a cursor stands: next offset and running slice by partition.

    `closed`: the final mark, which closes the last slice, has been sent; `finished`: the mark END too, nothing follows.
    """

    offsets: list[int]
    running: list[int]
    closed: bool = False
    finished: bool = False

    VERSION = 1

    def snapshot(self) -> dict[str, Any]:
        return {
            "version": self.VERSION,
            "offsets": list(self.offsets),
            "running": list(self.running),
            "closed": self.closed,
            "finished": self.finished,
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Position:
        return cls(list(state["offsets"]), list(state["running"]), state["closed"], state["finished"])


@dataclass(frozen=True)
class _View:
    """The next rows of one partition, not yet sent."""

    partition: int
    ticks: Ticks
    slices: npt.NDArray[np.int64]
    more: bool


class TapeCursor:
    """Reads a tape from `from_ns` to before `to_ns` (None: all of it), slices of `slice_ns`.

    `shard_index`: int32 (symbols,): place of each symbol's shard in `shards`, -1 where the symbol is not read. `feeds`: for each place in
    `shards` the partitions that feed it (the static inputs of its gate).
    """

    def __init__(
        self,
        tape: ReadableTape,
        partitions: int,
        shards: Sequence[int],
        shard_index: npt.NDArray[np.int32],
        feeds: Sequence[Sequence[int]],
        slice_ns: int,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> None:
        self._tape = tape
        self._partitions = range(partitions)
        self._shards = tuple(shards)
        self._shard_index = np.ascontiguousarray(shard_index, np.int32)
        self._feeds = tuple(tuple(f) for f in feeds)
        self._slice_ns = slice_ns
        self._from = [0 if from_ns is None else tape.seek(p, from_ns) for p in self._partitions]
        self._end = [tape.rows(p) if to_ns is None else tape.seek(p, to_ns) for p in self._partitions]

    def start(self) -> Position:
        """The position before the first row."""
        return Position(list(self._from), [NOTHING_SENT // self._slice_ns] * len(self._partitions))

    def rows_read(self, position: Position) -> int:
        """Rows between the start and a position, over all partitions."""
        return sum(o - f for o, f in zip(position.offsets, self._from, strict=True))

    def times(self) -> tuple[int, int] | None:
        """First and last ts_ns of the rows in the range that this cursor reads; None where there are none."""
        filled = [p for p in self._partitions if self._from[p] < self._end[p]]
        if not filled:
            return None
        first = min(int(self._tape.read(p, self._from[p], 1)["ts_ns"][0]) for p in filled)
        return first, max(int(self._tape.read(p, self._end[p] - 1, 1)["ts_ns"][0]) for p in filled)

    @property
    def rows_total(self) -> int:
        """Rows that this cursor reads in all."""
        return sum(e - f for e, f in zip(self._end, self._from, strict=True))

    def first_slice(self, position: Position) -> int | None:
        """The first slice of the next batch; None where nothing is left."""
        firsts = [int(self._tape.read(p, o, 1)["ts_ns"][0]) // self._slice_ns for p, o in enumerate(position.offsets) if o < self._end[p]]
        return min(firsts, default=None)

    def next(self, position: Position, batch_ticks: int) -> tuple[Position, list[Message]]:
        """The next messages, at most about `batch_ticks` rows, and the position after them.

        Reads each partition's share ahead, takes what stands before the smallest slice that a share ends in, and marks that slice.
        Where not one whole slice fits, the shares of the partitions that hold the others back are sent without a mark.
        """
        live = [p for p in self._partitions if position.offsets[p] < self._end[p]]
        if not live:
            if position.finished:
                return position, []
            last = END if position.closed else max(position.running) + 1
            marks: list[Message] = [Mark(s, p, last) for i, s in enumerate(self._shards) for p in self._feeds[i]]
            return Position(list(position.offsets), list(position.running), True, position.closed), marks
        share = max(1, batch_ticks // len(live))
        views = [self._view(p, position, share) for p in live]
        horizons = [int(v.slices[-1]) for v in views if v.more]
        horizon = min(horizons) if horizons else max(int(v.slices[-1]) for v in views) + 1
        cuts = [int(np.searchsorted(v.slices, horizon)) for v in views]
        if not any(cuts):
            cuts = [len(v.slices) if v.more and int(v.slices[-1]) == horizon else 0 for v in views]
        after = Position(list(position.offsets), list(position.running))
        messages: list[Message] = []
        for v, n in zip(views, cuts, strict=True):
            if n:
                after.offsets[v.partition] += n
                after.running[v.partition] = int(v.slices[n - 1])
                messages += self._batches(v, n, position.offsets[v.partition])
        messages += [Mark(s, p, horizon) for i, s in enumerate(self._shards) for p in self._feeds[i]]
        return after, messages

    def _view(self, p: int, position: Position, share: int) -> _View:
        start, end = position.offsets[p], self._end[p]
        ticks = self._tape.read(p, start, min(share, end - start))
        slices = np.empty(ticks.size, np.int64)
        refused = ticks["flags"] & FLAG_TIME_REFUSED
        slices_of(ticks["ts_ns"], refused, self._slice_ns, position.running[p], slices)
        return _View(p, ticks, slices, start + ticks.size < end)

    def _batches(self, v: _View, n: int, first_offset: int) -> list[Message]:
        ticks, slices = v.ticks[:n], v.slices[:n]
        counts = np.zeros(len(self._shards), np.int64)
        symbol = ticks["symbol"]
        count_by_shard(symbol, self._shard_index, counts)
        used = np.flatnonzero(counts)
        if used.size == 1 and counts[used[0]] == n:
            return [TickBatch(self._shards[used[0]], v.partition, first_offset, slices, ticks)]
        ends = np.cumsum(counts)
        place = ends - counts
        out = np.empty((int(ends[-1]), 9), np.int64)
        out_slices = np.empty(int(ends[-1]), np.int64)
        words = ticks.view(np.int64).reshape(n, 9)
        split_by_shard(words, symbol, slices, self._shard_index, place, out, out_slices)
        records = out.view(ticks.dtype).reshape(-1)
        records.flags.writeable = False
        out_slices.flags.writeable = False
        messages: list[Message] = []
        for j in used:
            lo, hi = int(ends[j] - counts[j]), int(ends[j])
            messages.append(TickBatch(self._shards[j], v.partition, first_offset, out_slices[lo:hi], records[lo:hi]))
        return messages
