"""The topic `ticks` as batches and marks: what a tape cursor gives of the same ticks, by partition and as they arrive.

Slices are the running maximum of a partition's believed times, as on a tape (operators/sources/replay). A shard is fed by one partition:
`shard % partitions`. A partition's mark moves when its ticks or heartbeats reach a new slice; a partition that has ended follows the
slowest of the others; when all have ended the final mark closes the last slice of all, and END follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.sources.kafka.feed import Taken, TickFeed
from operators.sources.kafka.stream import Keyed, Message, State, keyed
from operators.sources.replay.kernels import count_by_shard, slices_of, split_by_shard
from operators.timeline.aligner import NOTHING_SENT
from operators.timeline.live import Live
from schemas.instruments import InstrumentList
from schemas.settings import Settings
from schemas.ticks import END, Ints, Mark, TickBatch, Ticks, shard_key, shard_of
from schemas.topics import TICKS


def feeds_of(shards: Sequence[int], partitions: int) -> dict[int, tuple[int, ...]]:
    """For each shard the partitions of the topic that feed it: one."""
    return {s: (s % partitions,) for s in shards}


def carried_by(instruments: InstrumentList, settings: Settings, partition: int) -> npt.NDArray[np.bool_]:
    """bool (symbols,): whether a partition of the topic carries a symbol's ticks."""
    return np.array([shard_of(s, settings.shards) % settings.partitions == partition for s in instruments.symbols], np.bool_)


class _Partition:
    """One partition: its feed, its shards, where it stands."""

    def __init__(self, feed: TickFeed, shards: tuple[int, ...], index: npt.NDArray[np.int32], running: int) -> None:
        self.feed = feed
        self.shards = shards
        self.index = index
        self.running = running
        self.marked = running

    def sliced(self, taken: Taken, slice_ns: int) -> Ints:
        """The slice of each tick; moves the running one."""
        slices = np.empty(taken.times.size, np.int64)
        self.running = int(slices_of(taken.times, taken.refused, slice_ns, self.running, slices))
        return taken.ticks_only(slices)

    def batches(self, number: int, first: int, ticks: Ticks, slices: Ints) -> list[TickBatch]:
        """The ticks by shard; of symbols that are not read nothing."""
        if not self.shards or not ticks.size:
            return []
        counts = np.zeros(len(self.shards), np.int64)
        symbol = ticks["symbol"]
        count_by_shard(symbol, self.index, counts)
        used = np.flatnonzero(counts)
        if used.size == 1 and counts[used[0]] == ticks.size:
            slices.flags.writeable = False
            return [TickBatch(self.shards[used[0]], number, first, slices, ticks)]
        ends = np.cumsum(counts)
        place = ends - counts
        out = np.empty((int(ends[-1]), ticks.itemsize // 8), np.int64)
        out_slices = np.empty(int(ends[-1]), np.int64)
        split_by_shard(ticks.view(np.int64).reshape(ticks.size, -1), symbol, slices, self.index, place, out, out_slices)
        records = out.view(ticks.dtype).reshape(-1)
        records.flags.writeable = out_slices.flags.writeable = False
        spans = ((int(ends[j] - counts[j]), int(ends[j]), j) for j in used)
        return [TickBatch(self.shards[j], number, first, out_slices[lo:hi], records[lo:hi]) for lo, hi, j in spans]


class TickStream:
    """Batches and marks of the shards that `shards` names, from the partitions `partitions` of the topic.

    `shards`: those that own an instrument that is read, of these partitions. Items are keyed by shard, poison by its place in the log.
    """

    topic = TICKS
    version = TickFeed.VERSION

    def __init__(
        self, settings: Settings, instruments: InstrumentList, shards: Sequence[int], partitions: Sequence[int], live: Live | None = None
    ) -> None:
        self.partitions = tuple(partitions)
        self._slice_ns = settings.slice_ns
        self._live = Live() if live is None else live
        self._closed = self._finished = False
        self._was: dict[int, tuple[bool, bool]] = {}
        self._at: dict[int, _Partition] = {}
        for p in self.partitions:
            mine = tuple(s for s in shards if s % settings.partitions == p)
            place = {s: i for i, s in enumerate(mine)}
            owner = [shard_of(name, settings.shards) for name in instruments.symbols]
            index = np.array([place.get(s, -1) for s in owner], np.int32)
            feed = TickFeed(TICKS, settings.time_guard, carried_by(instruments, settings, p))
            self._at[p] = _Partition(feed, mine, index, NOTHING_SENT // self._slice_ns)

    @property
    def finished(self) -> bool:
        return self._finished

    def decode(self, partition: int, messages: Sequence[Message]) -> list[Keyed]:
        """Poison, batches, then marks where the partition has reached a new slice."""
        at = self._at[partition]
        taken = at.feed.take(messages)
        slices = at.sliced(taken, self._slice_ns)
        out: list[Keyed] = [keyed(p) for p in taken.poison]
        out += [(shard_key(b.shard), b) for b in at.batches(partition, taken.sequence, taken.ticks, slices)]
        out += self._marks(partition, at.running)
        self._show(partition, messages, taken)
        return out

    def settled(self) -> list[Keyed]:
        """Marks of the partitions that have ended; when all have, the final ones, END at the next call."""
        live = [a.running for a in self._at.values() if not a.feed.ended]
        if live:
            slowest = min(live)
            return [m for p, a in self._at.items() if a.feed.ended for m in self._marks(p, slowest)]
        if self._finished:
            return []
        k = END if self._closed else max(a.running for a in self._at.values()) + 1
        self._closed, self._finished = True, self._closed
        return [m for p in self.partitions for m in self._marks(p, k)]

    def ended(self, partition: int) -> bool:
        return self._at[partition].feed.ended

    def slice_of(self, partition: int) -> int:
        return self._at[partition].running

    def time_of(self, message: Message) -> int | None:
        return self._at[self.partitions[0]].feed.time_of(message)

    def snapshot(self, partition: int, offset: int) -> State:
        at = self._at[partition]
        return {**at.feed.snapshot(offset), "running": at.running, "marked": at.marked, "closed": self._closed, "finished": self._finished}

    def restore(self, partition: int, state: Mapping[str, Any]) -> None:
        at = self._at[partition]
        at.feed.restore(state)
        at.running, at.marked = state["running"], state["marked"]
        self._was[partition] = (state["closed"], state["finished"])
        self._closed, self._finished = (all(flags) for flags in zip(*self._was.values(), strict=True))

    def _marks(self, partition: int, k: int) -> list[Keyed]:
        at = self._at[partition]
        if k <= at.marked:
            return []
        at.marked = k
        self._live.mark(partition, k)
        return [(shard_key(s), Mark(s, partition, k)) for s in at.shards]

    def _show(self, partition: int, messages: Sequence[Message], taken: Taken) -> None:
        latest = int(taken.times[taken.refused == 0].max(initial=-1)) if taken.times.size else -1
        self._live.arrived(partition, len(messages), taken.ticks.size, sum(map(len, messages)), latest if latest >= 0 else None)
        self._live.duplicates += taken.duplicates
        self._live.sequence_holes += taken.missing
        for poison in taken.poison:
            self._live.dead_letter(poison.reason)
