"""Does the watermark move? And if it does not though it should: the process ends, so that its supervisor starts it again.

What counts as progress: `Live.done_slice`, or, in a process that has no last stage, the smallest watermark. It need not move

- while something outside is away (a component is failing): the process waits, and says for what;
- while a partition that holds the others back is silent, or one with what another process says: nothing can be joined without it;
- while everything read is done and nothing is left to read;
- once the flow has ended (`Live.over`): what it leaves may take as long as it takes, a tape to be merged or a spool to be sent.

Book and venue wait for each other's turns (`Live.awaited`); that is no excuse, because two that live and do not move would excuse each
other for ever. Such a process says what it waits for, and ends like any other that stands still.

Otherwise `health.stall_s` seconds without progress are a stall, and so is an epoch that lasts that much longer than it should (the worker
hangs). A process is watched from before it has reached its broker: a start that hangs with everything reached is a stall too.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog

from operators.timeline.live import FAILING, STARTING, Live

CONTROL: Final = "control"
"""The topic that nothing ever waits for."""
STALL_EXIT: Final = 6
"""Exit code of a process that the watchdog ended."""
FIRST_S: Final = 300.0
"""So long after its start, or after what it needs was away, a process that has done no slice yet is not stalled: the kernels of a new
release are being compiled."""
LOOKS: Final = 10
"""How often the watchdog looks in `stall_s`, and at least once a second."""


class Standing(Enum):
    """How a process gets on."""

    STARTING = "starting"
    MOVING = "moving"
    WAITING = "waiting"
    STALLED = "stalled"


@dataclass(frozen=True)
class Finding:
    """What a look at a `Live` found: `why` in words, `still_s` the seconds since it last moved or had a reason not to."""

    standing: Standing
    why: tuple[str, ...] = ()
    still_s: float = 0.0


class Progress:
    """Judges a `Live` from look to look. `stall_s`: seconds without progress that are a stall; 0: never."""

    def __init__(self, live: Live, stall_s: float) -> None:
        self._live = live
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._at: int | None = None
        self._fine_s = self._away_s = live.now_s()

    def look(self) -> Finding:
        """What is so now. May be called by several threads."""
        with self._lock:
            return self._look()

    def _look(self) -> Finding:
        live, now = self._live, self._live.now_s()
        failing = [f"{c.name}: {c.why}" for c in list(live.components.values()) if c.status is FAILING]
        if failing:
            self._fine_s = self._away_s = now
            return Finding(Standing.WAITING, tuple(failing))
        if live.over:
            self._fine_s = now
            return Finding(Standing.WAITING, ("the flow has ended: what it leaves is being finished",))
        began = live.epoch_began_s
        if began is not None and self._stall_s:
            epoch_age_s = now - max(began, self._away_s)
            if epoch_age_s > self._stall_s + live.epoch_s and not self._first(now):
                return Finding(Standing.STALLED, (f"no epoch has ended for {epoch_age_s:.0f} s: the worker hangs",), epoch_age_s)
        starting = [f"{c.name}: {c.why}" for c in list(live.components.values()) if c.status is STARTING]
        at, low = reached(live)
        if at is not None and at != self._at:  # smaller once: the first slice done, after the marks of what was read
            self._at, self._fine_s = at, now
            if not starting:
                return Finding(Standing.MOVING)
        awaited = live.awaited()
        reasons = tuple(starting) or _no_input(live, at, low, turns_excuse=awaited is None)
        if reasons:
            self._fine_s = now
            return Finding(Standing.STARTING if starting or self._at is None else Standing.WAITING, reasons)
        still_s = now - self._fine_s
        if self._stall_s and still_s > self._stall_s and not self._first(now):
            unread = sum(dict(live.lag_messages).values())
            why = f"nothing has moved past slice {at} for {still_s:.0f} s, with {unread} messages to read and marks up to slice {low}"
            if not _known(live):
                why = f"the start hangs: nothing is being read {still_s:.0f} s after all that is needed was reached"
            return Finding(Standing.STALLED, (why, awaited) if awaited else (why,), still_s)
        if self._at is None:
            return Finding(Standing.STARTING, ("no slice is done yet",), still_s)
        if awaited:
            return Finding(Standing.WAITING, (awaited,), still_s)
        return Finding(Standing.MOVING, (), still_s)

    def _first(self, now_s: float) -> bool:
        return self._live.done_slice is None and now_s - max(self._live.began_s, self._away_s) < FIRST_S


def reached(live: Live) -> tuple[int | None, int | None]:
    """The slice before which this process has done everything, and the one before which all its partitions have been read."""
    marks = dict(live.watermark)
    marked = {_topic(p) for p in marks}
    whole = all(p in marks for p in _known(live) if _topic(p) in marked)
    low = min(marks.values()) if marks and whole else None
    return (live.done_slice if live.done_slice is not None else low), low


def _known(live: Live) -> set[str]:
    """The partitions that must go on for the process to go on."""
    known = {*live.watermark.copy(), *live.lag_messages.copy(), *live.waiting_for.copy()}
    return {p for p in known if _topic(p) != CONTROL}


def _topic(partition: str) -> str:
    """Of a partition's name; empty for the topic of ticks."""
    return partition.rpartition("/")[0]


def _no_input(live: Live, at: int | None, low: int | None, *, turns_excuse: bool) -> tuple[str, ...]:
    """Why a process that does not move need not; empty where it should.

    A partition with marks holds everything back where its mark is the smallest. One of a topic without marks carries the turns of
    another process, which may be needed at any slice; `turns_excuse`: whether that they are missing is a reason not to move.
    """
    marks, known = dict(live.watermark), _known(live)
    marked = {_topic(p) for p in marks}
    behind = {p for p in known if marks.get(p) == low}
    turns = {p for p in known if turns_excuse and marks and _topic(p) not in marked}
    all_read = low is not None and at is not None and at < low
    holding = sorted((turns if all_read else turns | behind) & live.waiting_for.copy())
    if holding:
        return (f"silent: partition{'s' if len(holding) > 1 else ''} {', '.join(holding)}",)
    if known and not all_read and not sum(live.lag_messages.copy().values()):
        return ("nothing to read",)
    return ()


class Watchdog:
    """Looks in a thread of its own, and ends the process at a stall, after the log says why and where each thread stands.

    `end`: what ends it; another one only in tests.
    """

    def __init__(self, progress: Progress, stall_s: float, end: Callable[[int], None] = os._exit) -> None:
        self._progress = progress
        self._every_s = min(stall_s / LOOKS, 1.0)
        self._end = end
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch, not the process."""
        self._over.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            finding = self._progress.look()
            if finding.standing is Standing.STALLED:
                structlog.get_logger().critical("stalled", why=list(finding.why), still_s=round(finding.still_s, 1), exit_code=STALL_EXIT)
                self._last_words()
                self._end(STALL_EXIT)
                return

    def _last_words(self) -> None:
        """Where each thread stands, to where the log goes; then everything buffered."""
        out = sys.stderr
        for handler in logging.getLogger().handlers:
            handler.flush()
            if isinstance(handler, logging.StreamHandler):
                out = handler.stream
        with suppress(OSError, ValueError):  # a stream without a file has no room for this
            faulthandler.dump_traceback(out, all_threads=True)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
