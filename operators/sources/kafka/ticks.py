"""The topic `ticks` as batches and marks: what a tape cursor gives of the same ticks, by partition and as they arrive.

Slices are the running maximum of a partition's believed times, as on a tape (operators/sources/replay). A shard is fed by one partition:
`shard % partitions`. A partition's mark moves when its ticks or heartbeats reach a new slice; a partition that has ended follows the
slowest of the others; when all have ended the final mark closes the last slice of all, and END follows.

A process that owns some of the partitions also reads the ticks of those symbols in any partition that lead one of its own. What is read for
the followers in a partition has a place of its own in that partition's snapshot, so that it goes with it when the partition moves to
another process; read it is only once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.sources.kafka.feed import Taken, TickFeed
from operators.sources.kafka.stream import Keyed, Message, State, keyed
from operators.sources.replay.kernels import count_by_shard, slices_of, split_by_shard
from operators.timeline.aligner import NOTHING_SENT
from operators.timeline.live import Live
from operators.timeline.sparing import Sparing
from schemas.errors import StateMismatchError
from schemas.instruments import InstrumentList
from schemas.settings import Settings
from schemas.ticks import END, Ints, Mark, TickBatch, Ticks, lead_key, shard_key, shard_of
from schemas.topics import TICKS


def feeds_of(shards: Sequence[int], partitions: int) -> dict[int, tuple[int, ...]]:
    """For each shard the partitions of the topic that feed it: one."""
    return {s: (s % partitions,) for s in shards}


def carried_by(instruments: InstrumentList, settings: Settings, partition: int) -> npt.NDArray[np.bool_]:
    """bool (symbols,): whether a partition of the topic carries a symbol's ticks."""
    return np.array([shard_of(s, settings.shards) % settings.partitions == partition for s in instruments.symbols], np.bool_)


@dataclass(frozen=True)
class _Reader:
    """For whom a partition is read: the partition's own shards, or its shards that lead followers in the partition `followers`."""

    followers: int | None
    shards: frozenset[int]

    def told(self, values: Iterable[TickBatch | Mark]) -> list[Keyed]:
        """What of a reading concerns this reader, as items."""
        mine = (v for v in values if v.shard in self.shards)
        if self.followers is None:
            return [(shard_key(v.shard), v) for v in mine]
        return [(lead_key(self.followers, v.shard), (self.followers, v)) for v in mine]


class _Track:
    """One reading of a partition: its feed, where it stands, and the readers for whom it is read.

    Readers that stand at the same place share a track. After partitions have moved between processes, what they brought along
    may stand at different places: then the log is read from the earliest, and the others take what comes from `next_offset` on.
    """

    def __init__(self, feed: TickFeed, readers: Sequence[_Reader], symbol_shards: Sequence[int], nowhere: int) -> None:
        self.feed = feed
        self._symbol_shards = symbol_shards
        self._read_for(readers)
        self.running = self.marked = nowhere
        self.next_offset = 0

    def restored(self, state: Mapping[str, Any]) -> _Track:
        """Goes on from a snapshot."""
        self.feed.restore(state)
        self.running, self.marked, self.next_offset = state["running"], state["marked"], state["offset"]
        return self

    def snapshot(self, offset: int) -> State:
        """Where it stands. `offset`: of the message after all that were decoded."""
        return {**self.feed.snapshot(max(offset, self.next_offset)), "running": self.running, "marked": self.marked}

    def joined_by(self, readers: Iterable[_Reader]) -> None:
        """Others who stand at the same place read along from now on."""
        self._read_for((*self.readers, *readers))

    def _read_for(self, readers: Sequence[_Reader]) -> None:
        self.readers = tuple(readers)
        self.shards = tuple(sorted({s for r in readers for s in r.shards}))
        place = {s: i for i, s in enumerate(self.shards)}
        self._index = np.array([place.get(s, -1) for s in self._symbol_shards], np.int32)

    @property
    def owned(self) -> bool:
        """Whether this is the reading for the partition's own shards."""
        return any(r.followers is None for r in self.readers)

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
        count_by_shard(symbol, self._index, counts)
        used = np.flatnonzero(counts)
        if used.size == 1 and counts[used[0]] == ticks.size:
            slices.flags.writeable = False
            return [TickBatch(self.shards[used[0]], number, first, slices, ticks)]
        ends = np.cumsum(counts)
        place = ends - counts
        out = np.empty((int(ends[-1]), ticks.itemsize // 8), np.int64)
        out_slices = np.empty(int(ends[-1]), np.int64)
        split_by_shard(ticks.view(np.int64).reshape(ticks.size, -1), symbol, slices, self._index, place, out, out_slices)
        records = out.view(ticks.dtype).reshape(-1)
        records.flags.writeable = out_slices.flags.writeable = False
        spans = ((int(ends[j] - counts[j]), int(ends[j]), j) for j in used)
        return [TickBatch(self.shards[j], number, first, out_slices[lo:hi], records[lo:hi]) for lo, hi, j in spans]

    def marks(self, number: int, k: int) -> list[Mark]:
        """Marks at slice k, where the track has not said so much yet."""
        if k <= self.marked:
            return []
        self.marked = k
        return [Mark(s, number, k) for s in self.shards]


class TickStream:
    """Batches and marks of the shards that `shards` names, from the partitions `partitions` of the topic.

    `shards`: those that own an instrument that is read, of these partitions. `leaders`: by partition with followers, the shards that lead
    there, of any partition. Items are keyed by shard, poison by its place in the log; those of leaders are
    `(lead key, (partition of the followers, TickBatch | Mark))`. Poison of other partitions is left to whoever owns them.
    """

    topic = TICKS
    version = TickFeed.VERSION

    def __init__(
        self,
        settings: Settings,
        instruments: InstrumentList,
        shards: Sequence[int],
        partitions: Sequence[int],
        live: Live | None = None,
        leaders: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        count = settings.partitions
        self.owned = tuple(partitions)
        self._settings = settings
        self._instruments = instruments
        self._slice_ns = settings.slice_ns
        self._live = Live() if live is None else live
        self._missed = Sparing(self._live, "warning", "records missing")
        self._closed = self._finished = False
        self._symbol_shards = [shard_of(name, settings.shards) for name in instruments.symbols]
        self._own = {p: _Reader(None, frozenset(s for s in shards if s % count == p)) for p in self.owned}
        self._leading = {
            p: {q: _Reader(p, frozenset(s for s in led if s % count == q)) for q in sorted({s % count for s in led})}
            for p, led in (leaders or {}).items()
        }
        self.partitions = tuple(sorted({*self.owned, *(q for read in self._leading.values() for q in read)}))
        self._at = {q: [self._track(q, self._readers(q))] for q in self.partitions}

    @property
    def finished(self) -> bool:
        return self._finished

    def decode(self, partition: int, messages: Sequence[Message]) -> list[Keyed]:
        """Poison, batches, then marks where the partition has reached a new slice."""
        out: list[Keyed] = []
        for track in self._at[partition]:
            first = track.next_offset
            new = messages if messages and messages[0].offset() >= first else [m for m in messages if m.offset() >= first]
            if new:
                out += self._decoded(partition, track, new)
        return out

    def settled(self) -> list[Keyed]:
        """Marks of the partitions that have ended; when all have, the final ones, END at the next call."""
        tracks = [(q, track) for q, tracks in self._at.items() for track in tracks]
        live = [track.running for _, track in tracks if not track.feed.ended]
        if live:
            slowest = min(live)
            return [m for q, track in tracks if track.feed.ended for m in self._marks(q, track, slowest)]
        if self._finished:
            return []
        k = END if self._closed else max(track.running for _, track in tracks) + 1
        self._closed, self._finished = True, self._closed
        return [m for q, track in tracks for m in self._marks(q, track, k)]

    def ended(self, partition: int) -> bool:
        return all(track.feed.ended for track in self._at[partition])

    def slice_of(self, partition: int) -> int:
        return min(track.running for track in self._at[partition])

    def time_of(self, message: Message) -> int | None:
        return self._at[self.partitions[0]][0].feed.time_of(message)

    def snapshot(self, offsets: Mapping[int, int]) -> dict[int, State]:
        """By owned partition where it stands, and under `leaders` where the partitions stand that are read for its followers."""
        self._missed.due()
        states: dict[tuple[int, _Reader], State] = {}
        for q, tracks in self._at.items():
            standing = [(track, track.snapshot(offsets[q])) for track in tracks]
            self._at[q] = _united(standing)
            states |= {(q, reader): state for track, state in standing for reader in track.readers}
        flags = {"closed": self._closed, "finished": self._finished}
        out = {p: {**states[p, reader], **flags} for p, reader in self._own.items()}
        for p, read in self._leading.items():
            out[p]["leaders"] = {str(q): states[q, reader] for q, reader in read.items()}
        return out

    def restore(self, states: Mapping[int, State]) -> dict[int, int]:
        """Goes on from a snapshot. Raises StateMismatchError where it was taken with other leaders than this flow has."""
        flags = [(state["closed"], state["finished"]) for state in states.values()]
        self._closed, self._finished = (all(of) for of in zip(*flags, strict=True))
        at: dict[tuple[int, _Reader], State] = {(p, self._own[p]): state for p, state in states.items()}
        for p, state in states.items():
            led, read = state.get("leaders", {}), self._leading.get(p, {})
            if sorted(map(int, led)) != sorted(read):
                msg = (
                    f"partition {p} of {self.topic}: the store knows of leaders in partitions {sorted(map(int, led))}, the instruments "
                    f"have them in {sorted(read)}; run it with the instruments that it was begun with, or start over with --fresh"
                )
                raise StateMismatchError(msg)
            at |= {(q, reader): led[str(q)] for q, reader in read.items()}
        for q in self.partitions:
            standing = [(self._track(q, [reader]).restored(at[q, reader]), at[q, reader]) for reader in self._readers(q)]
            self._at[q] = _united([(track, track.snapshot(track.next_offset)) for track, _ in standing])
        return {q: min(track.next_offset for track in tracks) for q, tracks in self._at.items()}

    def readings(self, partition: int) -> tuple[int, ...]:
        """How often a partition is decoded now: for each reading, how many it is read for."""
        return tuple(len(track.readers) for track in self._at[partition])

    def _readers(self, partition: int) -> list[_Reader]:
        own = [self._own[partition]] if partition in self._own else []
        return own + [read[partition] for read in self._leading.values() if partition in read]

    def _track(self, partition: int, readers: Sequence[_Reader]) -> _Track:
        settings = self._settings
        feed = TickFeed(TICKS, settings.time_guard, carried_by(self._instruments, settings, partition))
        return _Track(feed, readers, self._symbol_shards, NOTHING_SENT // self._slice_ns)

    def _decoded(self, partition: int, track: _Track, messages: Sequence[Message]) -> list[Keyed]:
        taken = track.feed.take(messages)
        slices = track.sliced(taken, self._slice_ns)
        out: list[Keyed] = [keyed(p) for p in taken.poison] if track.owned else []
        batches = track.batches(partition, taken.sequence, taken.ticks, slices)
        for reader in track.readers:
            out += reader.told(batches)
        out += self._marks(partition, track, track.running)
        self._show(partition, messages, taken, counted=track.owned)
        return out

    def _marks(self, partition: int, track: _Track, k: int) -> list[Keyed]:
        marks = track.marks(partition, k)
        low = min(t.marked for t in self._at[partition])
        if marks and low >= 0:  # all readings of the partition have said something
            self._live.mark(partition, low)
        return [item for reader in track.readers for item in reader.told(marks)]

    def _show(self, partition: int, messages: Sequence[Message], taken: Taken, *, counted: bool) -> None:
        """What is read for leaders only is counted by the process that owns the partition; that it has come is shown here too."""
        latest = int(taken.times[taken.refused == 0].max(initial=-1)) if taken.times.size else -1
        event_ns = latest if latest >= 0 else None
        if not counted:
            self._live.arrived(partition, 0, event_ns=event_ns)
            return
        self._live.arrived(partition, len(messages), taken.ticks.size, sum(map(len, messages)), event_ns)
        self._live.duplicates += taken.duplicates
        self._live.sequence_holes += taken.missing
        if taken.missing:
            reached = taken.sequence + taken.ticks.size
            self._missed.note({"partition": partition}, taken.missing, before=reached, slice=self.slice_of(partition))
        for poison in taken.poison:
            self._live.dead_letter(poison.reason)


def _united(standing: Sequence[tuple[_Track, State]]) -> list[_Track]:
    """The readings of one partition, those that stand at the same place as one."""
    out: list[tuple[_Track, State]] = []
    for track, state in standing:
        same = next((other for other, there in out if there == state), None)
        if same is None:
            out.append((track, state))
        else:
            same.joined_by(track.readers)
    return [track for track, _ in out]
