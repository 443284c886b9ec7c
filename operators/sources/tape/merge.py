"""From feeds to a tape: order, effective time and sequence, in bounded memory.

A feed is what a source says about one symbol, in the order in which it was said. With m the running maximum of a feed's own times
(after the time guard), its rows have the key m. A symbol's rows are ordered by

    (m, trades before quotes and depth, feed in the order given, place in the feed)

and m is their effective time: the running maximum of the symbol's times in the order in which they became known. late_ns = m less the
original time, seq counts from 0. All symbols are then merged by (m, symbol id, seq) (spec/realism.md section 1). The
first tick of a symbol at or after one of its corporate actions is flagged.

Two passes, so that one source file is open at a time and memory does not grow with the number of feeds: each feed is read once and
spilled into at most two sorted runs (trades, others); then the runs are merged, each opened only when its first row is due. Feeds
that follow one another, such as consecutive days, therefore simply chain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from operators.sources.tape.disk import writing
from operators.sources.tape.format import IMPORT_REPORT, Manifest
from operators.sources.tape.kernels import merge_runs, split_feed
from operators.sources.tape.report import ImportReport
from operators.sources.tape.writer import TapeWriter
from operators.timeline.guard import LARGEST_TIME_NS, TimeGuard
from schemas.instruments import InstrumentList
from schemas.settings.sections import TimeGuardSettings
from schemas.ticks import FLAG_CORPORATE_ACTION, TICK_V1, Ints, Ticks

__all__ = ["Feed", "FeedChunk", "ImportReport", "Progress", "write_feeds"]

TIME_REFUSED: Final = "a time that cannot be true: far ahead of its feed and not confirmed by the rows after it"
_WINDOW_ROWS: Final = 16_384
_WINDOWS_BYTES: Final = 64 * 1024 * 1024
_OUT_ROWS: Final = 65_536
_SPILL: Final = "spill"
_SPILL_BUFFER: Final = 1 << 20

Progress = Callable[[str, int], None]
"""Called with what is being done, "read" or "merge", and how many ticks are done."""


@dataclass(frozen=True)
class FeedChunk:
    """The next ticks of a feed, in arrival order.

    `ticks`: TICK_V1 (n,) with the ORIGINAL time in ts_ns; late_ns, seq and symbol are ignored. `line`: int64 (n,), line numbers in
    `file` (default: the feed's source), for the report.
    """

    ticks: Ticks
    line: Ints
    file: str = ""


@dataclass(frozen=True)
class Feed:
    """What one source says about one symbol. `source` names it in the report; `chunks()` reads it from the start."""

    symbol: str
    source: str
    chunks: Callable[[], Iterator[FeedChunk]]


@dataclass(frozen=True)
class _Run:
    """A sorted run that was spilled: `rank` orders runs at equal time."""

    path: Path
    rank: int
    rows: int
    first_ts_ns: int
    last_ts_ns: int


class _Spill:
    """A run while it is written; no file before its first tick."""

    def __init__(self, path: Path, rank: int) -> None:
        self._path = path
        self._rank = rank
        self._rows = 0
        self._first_ts_ns = self._last_ts_ns = 0
        self._file: IO[bytes] | None = None

    def add(self, ticks: Ticks) -> None:
        if not len(ticks):
            return
        if self._file is None:
            self._file = self._path.open("ab", buffering=_SPILL_BUFFER)
        if not self._rows:
            self._first_ts_ns = int(ticks["ts_ns"][0])
        self._file.write(ticks.view(np.uint8).data)
        self._last_ts_ns = int(ticks["ts_ns"][-1])
        self._rows += len(ticks)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def runs(self) -> list[_Run]:
        """The run; none where no tick came."""
        return [_Run(self._path, self._rank, self._rows, self._first_ts_ns, self._last_ts_ns)] if self._rows else []


def write_feeds(
    feeds: Sequence[Feed],
    out: Path,
    instruments: InstrumentList,
    partitions: int = 4,
    shards: int = 64,
    origin: Mapping[str, Any] | None = None,
    report: ImportReport | None = None,
    progress: Progress | None = None,
    time_guard: TimeGuardSettings | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Merges feeds into the tape `out`, with `import_report.json` and `rejected.jsonl` in its folder. Returns its manifest.

    A report that is given must be the one that the feeds count their rows in; without one, each tick of a feed counts as a row.
    While it works it takes the room of two tapes on the disk. Raises RefusedError where `out` is taken, InstrumentError where a
    feed's symbol is not in `instruments`, SpiketapeError where the disk is full or the report does not add up; what a feed raises
    ends the import. In all these cases there is no tape.
    """
    counted = report is None
    report = ImportReport() if report is None else report
    guard = TimeGuardSettings() if time_guard is None else time_guard
    ids = [instruments.id_of(feed.symbol) for feed in feeds]
    by_symbol = sorted(range(len(feeds)), key=lambda i: (ids[i], i))
    with TapeWriter(out, instruments, partitions, shards, origin, overwrite) as tape:
        spill = tape.folder / _SPILL
        with writing(out):
            spill.mkdir()
        report.keep_rejected_in(tape.folder, out)
        try:
            readings: list[_FeedReading] = []
            done = 0
            for i in by_symbol:
                rank = 2 * len(feeds) * ids[i] + i
                spills = (_Spill(spill / f"{i}-0", rank), _Spill(spill / f"{i}-1", rank + len(feeds)))
                reading = _FeedReading(feeds[i], ids[i], guard, report, counted, out, spills)
                reading.read(done, progress)
                done += reading.rows
                readings.append(reading)
            reached = max((r.latest for r in readings), default=0)
            runs = [run for r in readings for run in r.finish(reached)]
            report.actions = len(instruments.actions)
            report.actions_outside = _outside(instruments, runs)
            report.ticks = _merge(runs, tape, progress)
            report.check()
        finally:
            report.close()
        with writing(out):
            spill.rmdir()
            (tape.folder / IMPORT_REPORT).write_text(json.dumps(report.summary(), indent=1) + "\n")
        return tape.close()


class _FeedReading:
    """One pass over a feed: the time guard, effective times, and the split into two sorted runs.

    The last tick of a feed has no follower that could confirm it, so where it jumps ahead the guard refuses it. It is held until all
    feeds are read, and kept if another feed of the import has come to its time too (a last trade long after the one before it).
    """

    def __init__(
        self,
        feed: Feed,
        symbol: int,
        guard: TimeGuardSettings,
        report: ImportReport,
        counted: bool,
        out: Path,
        spills: tuple[_Spill, _Spill],
    ) -> None:
        self._feed = feed
        self._symbol = symbol
        self._guard = TimeGuard(guard)
        self._jump = guard.jump_s * 1_000_000_000
        self._report = report
        self._counted = counted
        self._out = out
        self._trades, self._others = spills
        self._waiting: list[FeedChunk] = []
        self._held: FeedChunk | None = None
        self._room = (np.empty(0, TICK_V1), np.empty(0, TICK_V1))
        self.latest = 0
        self.rows = 0

    def read(self, done: int, progress: Progress | None) -> None:
        """Reads the feed from start to end."""
        for chunk in self._feed.chunks():
            if self._counted:
                self._report.read(len(chunk.ticks))
            self._take(chunk)
            if progress is not None:
                progress("read", done + self.rows)
        self._take(FeedChunk(np.empty(0, TICK_V1), np.empty(0, np.int64)), final=True)
        self._room = (np.empty(0, TICK_V1), np.empty(0, TICK_V1))
        with writing(self._out):
            self._trades.close()
            self._others.close()

    def finish(self, reached: int) -> list[_Run]:
        """Decides on a last tick that was held; `reached`: the latest time believed in any feed. Returns the runs."""
        if self._held is not None:
            confirmed = int(self._held.ticks["ts_ns"][0]) <= reached + self._jump
            self._keep(self._held, np.full(1, confirmed, np.uint8))
            with writing(self._out):
                self._trades.close()
                self._others.close()
        return self._trades.runs() + self._others.runs()

    def _take(self, chunk: FeedChunk, final: bool = False) -> None:
        believed = self._guard.judge(np.ascontiguousarray(chunk.ticks["ts_ns"]), final)
        chunks = [*self._waiting, chunk] if len(chunk.ticks) else self._waiting
        self._waiting = []
        if final and len(believed) and not believed[-1] and int(chunks[-1].ticks["ts_ns"][-1]) < LARGEST_TIME_NS:
            last = chunks[-1]
            self._held = FeedChunk(last.ticks[-1:].copy(), last.line[-1:].copy(), last.file)
            chunks[-1] = FeedChunk(last.ticks[:-1], last.line[:-1], last.file)
            believed = believed[:-1]
        for c in chunks:
            decided = believed[: len(c.ticks)]
            believed = believed[len(decided) :]
            self._keep(c, decided)
            if len(decided) < len(c.ticks):
                self._waiting.append(FeedChunk(c.ticks[len(decided) :].copy(), c.line[len(decided) :].copy(), c.file))

    def _keep(self, c: FeedChunk, believed: npt.NDArray[np.uint8]) -> None:
        n = len(believed)
        if n > len(self._room[0]):
            self._room = (np.empty(n, TICK_V1), np.empty(n, TICK_V1))
        ticks = np.ascontiguousarray(c.ticks[:n])
        n_trades, n_others, latest = split_feed(ticks, believed, self._symbol, self.latest, *self._room)
        self.latest = int(latest)
        with writing(self._out):
            self._trades.add(self._room[0][:n_trades])
            self._others.add(self._room[1][:n_others])
        self.rows += n_trades + n_others
        for i in np.flatnonzero(believed == 0):
            self._report.refuse(c.file or self._feed.source, int(c.line[i]), TIME_REFUSED, _text(ticks[i]))


def _text(tick: np.void) -> str:
    names = TICK_V1.names or ()
    return " ".join(f"{name}={tick[name]}" for name in names if name not in ("late_ns", "seq", "symbol") and tick[name])


class _Slots:
    """The runs that are open in the merge: a window of each, and the heap over them."""

    def __init__(self, count: int) -> None:
        rows = max(64, min(_WINDOW_ROWS, _WINDOWS_BYTES // (TICK_V1.itemsize * count)))
        self.windows = np.empty((count, rows), TICK_V1)
        self.place, self.length, self.rank, self.heap, self.key = np.zeros((5, count), np.int64)
        self.size = 0
        self._free = list(range(count))[::-1]
        self._files: dict[int, tuple[_Run, FileIO]] = {}

    def open(self, run: _Run) -> None:
        slot = self._free.pop()
        self._files[slot] = (run, run.path.open("rb", buffering=0))
        self.rank[slot] = run.rank
        self.heap[self.size] = slot
        self.size += 1
        self._fill(slot)

    def refill(self, slot: int) -> None:
        """The next window of a run that is used up; its slot is free where the run is over."""
        if self._fill(slot):
            return
        run, file = self._files.pop(slot)
        file.close()
        run.path.unlink()
        used = [int(s) for s in self.heap[: self.size] if s != slot]
        self.size = len(used)
        self.heap[: self.size] = used
        self._free.append(slot)

    def _fill(self, slot: int) -> bool:
        n = self._files[slot][1].readinto(self.windows[slot].view(np.uint8).data)
        self.place[slot], self.length[slot] = 0, n // TICK_V1.itemsize
        return n > 0


def _outside(instruments: InstrumentList, runs: Sequence[_Run]) -> int:
    """How many corporate actions are not between two ticks of the tape."""
    first = min((r.first_ts_ns for r in runs), default=0)
    last = max((r.last_ts_ns for r in runs), default=0)
    return sum(not first < a.ts_ns <= last for a in instruments.actions)


class _ActionFlags:
    """Marks the first tick of a symbol at or after each of its corporate actions, where the symbol has one before it too."""

    def __init__(self, instruments: InstrumentList) -> None:
        self._due = {s: [a.ts_ns for a in instruments.actions_of(s)] for s in range(len(instruments.symbols)) if instruments.actions_of(s)}
        self._seen: set[int] = set()

    def mark(self, ticks: Ticks) -> None:
        """Ticks in the tape's order, changed in place."""
        for symbol, due in self._due.items():
            rows = np.flatnonzero(ticks["symbol"] == symbol) if due else np.zeros(0, np.int64)
            if not rows.size:
                continue
            times = ticks["ts_ns"][rows]
            while due and due[0] <= times[-1]:
                at = int(np.searchsorted(times, due.pop(0)))
                if at or symbol in self._seen:
                    ticks["flags"][rows[at]] |= FLAG_CORPORATE_ACTION
            self._seen.add(symbol)


def _merge(runs: Sequence[_Run], tape: TapeWriter, progress: Progress | None) -> int:
    """Merges runs into the tape; returns the number of ticks."""
    flags = _ActionFlags(tape.instruments)
    due = sorted(runs, key=lambda r: (r.first_ts_ns, r.rank), reverse=True)
    if not due:
        return 0
    slots = _Slots(_most_open(runs))
    next_seq = np.zeros(len(tape.instruments.symbols), np.int64)
    out = np.empty(_OUT_ROWS, TICK_V1)
    filled = done = 0
    while due or slots.size:
        before = due[-1].first_ts_ns if due else LARGEST_TIME_NS
        n, used_up = merge_runs(
            slots.windows, slots.place, slots.length, slots.rank, slots.heap, slots.size, slots.key, before, next_seq, out[filled:]
        )
        filled += n
        with writing(tape.path):
            if used_up >= 0:
                slots.refill(int(used_up))
            elif filled < len(out):
                slots.open(due.pop())
        if filled == len(out) or not (due or slots.size):
            flags.mark(out[:filled])
            tape.append(out[:filled])
            done += filled
            filled = 0
            if progress is not None:
                progress("merge", done)
    return done


def _most_open(runs: Sequence[_Run]) -> int:
    """The largest number of runs that are open at once: those that span the first time of another."""
    first = np.sort(np.array([r.first_ts_ns for r in runs], np.int64))
    last = np.sort(np.array([r.last_ts_ns for r in runs], np.int64))
    return int(np.max(np.searchsorted(first, first, "right") - np.searchsorted(last, first, "left")))
