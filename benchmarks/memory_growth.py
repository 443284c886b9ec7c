"""Growth of a replay's memory after its warm-up, in MB per 100 million ticks.

The simulated tape is played again and again, moved on by whole days, as one long tape. Memory is what the process holds of its own
(resident less shared pages of /proc/self/statm): pages of the mapped tape belong to the file and go whenever they are wanted. Batches and
commits make it swing by tens of MB, so the least that was held during each pass over the tape is compared: the growth is the median of
the slopes between all pairs of passes (Theil 1950, Sen 1968).
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.figure import Figure, figure
from benchmarks.place import in_fresh_process, plain_settings, simulated, workplace
from benchmarks.run import main
from flows.replay import Execution, replay
from operators.sources.tape import Tape
from schemas.instruments import InstrumentList
from schemas.ticks import Ticks

NAME = "memory_growth"
GOAL_MB = 1
PER_TICKS = 100_000_000
TAPE_TICKS = 2_000_000
LOOPS = 15
WARM_LOOPS = 5
DAY_NS = 86_400 * 10**9
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class LoopedTape(Tape):
    """A tape whose rows come `loops` times, each time whole days later; sequences go on, sessions come again."""

    def __init__(self, tape: Tape, loops: int) -> None:
        super().__init__(tape.path, tape.manifest)
        entries = [s for s in tape.manifest.symbols if s.first_ts_ns is not None and s.last_ts_ns is not None]
        self._loops = loops
        self._first = min(int(s.first_ts_ns or 0) for s in entries)
        last = max(int(s.last_ts_ns or 0) for s in entries)
        self._period = ((last - self._first) // DAY_NS + 1) * DAY_NS
        self._counts = np.array([s.rows for s in tape.manifest.symbols], np.uint64)
        listed = tape.manifest.instruments
        sessions = {
            name: tuple(
                (o + i * self._period, c + i * self._period) for i in range(loops) for o, c in spans if o <= last and c > self._first
            )
            for name, spans in listed.sessions.items()
        }
        self._listed = InstrumentList(instruments=listed.instruments, sessions=sessions)

    @property
    def instruments(self) -> InstrumentList:
        return self._listed

    def rows(self, partition: int) -> int:
        return super().rows(partition) * self._loops

    def read(self, partition: int, start: int, count: int) -> Ticks:
        once = super().rows(partition)
        if not once:
            return super().read(partition, 0, 0)
        loop, row = divmod(start, once)
        if loop >= self._loops:
            return super().read(partition, once, 0)
        ticks = super().read(partition, row, count)
        if loop == 0:
            return ticks
        moved = ticks.copy()
        moved["ts_ns"] += loop * self._period
        moved["seq"] += np.uint64(loop) * self._counts[ticks["symbol"]]
        moved.flags.writeable = False
        return moved


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark: one long run, so it has no spread but that of the slopes, in the note."""
    tape = simulated(TAPE_TICKS, say)
    with workplace(NAME) as place:
        ticks, megabytes, shared = in_fresh_process(watched, tape, place / "run", LOOPS)
    least = least_by_pass(ticks, megabytes, TAPE_TICKS)[WARM_LOOPS:]
    growths = slopes(least)
    middle = statistics.median(growths)
    quarters = statistics.quantiles(growths, n=4)
    note = (
        f"{least.size} passes over {TAPE_TICKS:,} ticks after {WARM_LOOPS} to warm up, lake and recovery on; half of the slopes "
        f"between passes lie in {quarters[0]:+.1f} to {quarters[2]:+.1f}; least held in a pass {least[0]:.1f} MB at first, "
        f"{least[-1]:.1f} MB at last; at most {megabytes.max():.0f} MB of its own and {shared:.0f} MB of mapped files; one run"
    )
    return {NAME: figure([middle], "MB per 100 M ticks", "under", GOAL_MB, note)}


def watched(tape: Path, out: Path, loops: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], float]:
    """Rows read and own memory in MB after each batch of a looped replay, and the MB of shared pages at the end."""
    seen: list[tuple[int, float]] = []

    def note(rows: int, _total: int) -> None:
        resident, shared = own_pages()
        seen.append((rows, (resident - shared) * PAGE_MB))

    replay(LoopedTape(Tape.open(tape), loops), plain_settings(), None, out, Execution(), fresh=True, on_rows=note)
    return np.array([r for r, _ in seen]), np.array([m for _, m in seen]), own_pages()[1] * PAGE_MB


def own_pages() -> tuple[int, int]:
    """Resident pages of this process, and how many of them are shared with files."""
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return int(resident), int(shared)


def least_by_pass(ticks: npt.NDArray[np.int64], megabytes: npt.NDArray[np.float64], each: int) -> npt.NDArray[np.float64]:
    """The least memory seen in each pass over `each` ticks."""
    passes = (ticks - 1) // each
    return np.array([megabytes[passes == i].min() for i in range(int(passes.max()) + 1)])


def slopes(least: npt.NDArray[np.float64], each: int = TAPE_TICKS) -> list[float]:
    """Growth per PER_TICKS ticks between all pairs of passes of `each` ticks."""
    pairs = combinations(range(least.size), 2)
    return [float(least[j] - least[i]) / ((j - i) * each) * PER_TICKS for i, j in pairs]


if __name__ == "__main__":
    main(NAME)
