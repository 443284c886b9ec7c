"""The guard against times that cannot be true.

Slices and effective times are running maxima, so one absurd time would pin them for good. With M the largest time believed so
far, a tick with time t is believed

    at once                           if t <= M + jump,
    if confirmed                      otherwise, and for the first tick of a feed: each of the next c ticks in file order has a
                                      time >= t - jump.

A tick that is not believed never moves M. Where the input ends with fewer than c followers, those that are left must not
contradict; a tick that jumps ahead and has no follower at all is not believed, a feed's only tick is. Times outside
[0, 2**62) ns (years 1970 to 2116) are never believed. A time in the past is no danger: it is merely late.

The guard looks at whole ticks in file order only, so what it decides does not depend on how the input was cut.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.timeline.guard_kernels import judge_times
from schemas.settings.sections import TimeGuardSettings
from schemas.ticks import Ints

LARGEST_TIME_NS: Final = 2**62


class TimeGuard:
    """The guard of one feed (a recorded file, a partition of a stream).

    `undecided`: how many of the latest ticks wait for their followers, at most `confirmations`. The caller keeps these ticks.
    """

    VERSION: Final = 1

    def __init__(self, settings: TimeGuardSettings) -> None:
        self._jump = np.uint64(settings.jump_s * 1_000_000_000)
        self._confirmations = settings.confirmations
        self._latest = 0
        self._known = False
        self._waiting: Ints = np.empty(0, np.int64)

    @property
    def undecided(self) -> int:
        return int(self._waiting.size)

    def judge(self, ts_ns: Ints, final: bool = False) -> npt.NDArray[np.uint8]:
        """Takes the next ticks of the feed and says which are believed.

        Returns uint8 (m,), 1 believed, 0 not: for the ticks that were undecided, then for those just given, up to the first that
        is undecided now. With `final` nothing follows and all are decided.
        """
        times = np.concatenate((self._waiting, ts_ns)) if self._waiting.size else np.ascontiguousarray(ts_ns, np.int64)
        believed = np.empty(times.size, np.uint8)
        decided, latest, known = judge_times(
            times, self._jump, self._confirmations, self._latest, self._known, final, LARGEST_TIME_NS, believed
        )
        self._latest, self._known = int(latest), bool(known)
        self._waiting = times[decided:].copy()
        return believed[:decided]

    def snapshot(self) -> dict[str, Any]:
        """The guard's state as a value."""
        return {"version": self.VERSION, "latest": self._latest, "known": self._known, "waiting": self._waiting.copy()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a snapshot."""
        if state["version"] != self.VERSION:
            msg = f"a time guard's state of version {state['version']} cannot be read, this code knows version {self.VERSION}"
            raise ValueError(msg)
        self._latest, self._known, self._waiting = state["latest"], state["known"], state["waiting"].copy()
