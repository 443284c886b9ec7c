"""What the process around a flow shares with its steps: drain, credit for back-pressure, and meters. None of it reaches a stage."""

from __future__ import annotations

import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from operators.timeline.aligner import NOTHING_SENT
from schemas.errors import DrainedError


class Drain:
    """Asks the sources to end after their batch. Snapshots are exact then, nothing is closed that is not complete."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.signal: int | None = None

    def ask(self, signum: int | None = None) -> None:
        """Sources raise StopIteration at their next call."""
        self.signal = signum
        self._asked.set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def left(self, message: str) -> DrainedError:
        """The error of whoever waits for something outside and gives up because an end was asked."""
        return DrainedError(message, self.signal or signal.SIGTERM)

    @contextmanager
    def on_signals(self) -> Iterator[Drain]:
        """SIGTERM and SIGINT ask for a drain while the block runs; a second SIGINT interrupts at once. Main thread only."""

        def handle(signum: int, _frame: FrameType | None) -> None:
            if self.asked and signum == signal.SIGINT:
                raise KeyboardInterrupt
            self.ask(signum)

        before = {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


class Credit:
    """Bound on how far a source may run ahead of the last stage, so that what is buffered in between stays bounded.

    A source may send a batch that begins at most `max_open_slices` after what is done, or while fewer than `open_batches` of its
    batches are under way.
    """

    def __init__(self, max_open_slices: int, open_batches: int = 3) -> None:
        self.max_open_slices = max_open_slices
        self.open_batches = open_batches
        self._done = NOTHING_SENT
        self._sent: dict[int, list[int]] = {}

    def done(self, k: int) -> None:
        """Every slice before k has left the last stage."""
        self._done = max(self._done, k)

    def sent(self, source: int, k: int) -> None:
        """`source` has sent a batch that ends before slice k."""
        self._sent.setdefault(source, []).append(k)

    def may_send(self, source: int, first_slice: int) -> bool:
        """Whether `source` may send a batch whose first tick stands in `first_slice`."""
        under_way = self._sent.setdefault(source, [])
        while under_way and under_way[0] <= self._done:
            under_way.pop(0)
        if len(under_way) < self.open_batches:
            return True
        return first_slice <= self._done + self.max_open_slices


@dataclass
class Meter:
    """CPU seconds of the calling thread and items of one step and key. Read by the driver after the run, never by a stage."""

    step: str
    cpu_s: float = 0.0
    items: int = 0

    @contextmanager
    def measure(self, items: int) -> Iterator[None]:
        begin = time.thread_time()
        try:
            yield
        finally:
            self.cpu_s += time.thread_time() - begin
            self.items += items


@dataclass
class Meters:
    """All meters of a process."""

    meters: list[Meter] = field(default_factory=list)

    def new(self, step: str) -> Meter:
        meter = Meter(step)
        self.meters.append(meter)
        return meter

    def by_step(self) -> dict[str, dict[str, float | int]]:
        """CPU seconds and items by step, steps in the order in which they first appeared."""
        out: dict[str, dict[str, float | int]] = {}
        for m in self.meters:
            total = out.setdefault(m.step, {"cpu_s": 0.0, "items": 0})
            total["cpu_s"] += m.cpu_s
            total["items"] += m.items
        return out


def peak_rss_mb() -> float:
    """The largest resident memory of this process so far, in MiB.

    From /proc where there is one: what `getrusage` says was at least what the parent process had when it started this one.
    """
    try:
        with open("/proc/self/status") as f:
            kib = next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib / 1024
