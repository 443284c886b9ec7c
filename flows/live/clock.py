"""Whether the machine's clock can be right: compared with the monotonic clock, and with the times in the data.

No data depends on the clock, so nothing fails here; whoever looks at a process is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from operators.timeline.live import OK, Live

DIFFERS: Final = "differs"
AHEAD_S: Final = 60.0
"""Event time this far ahead of the clock cannot be: nobody has seen the future."""
BEHIND_S: Final = 86_400.0
"""Event time this far behind the clock is that of a played tape, or the clock is wrong."""
STEP_S: Final = 1.0
"""A difference of the two clocks since the start that no drift explains: somebody has set one."""


@dataclass(frozen=True)
class ClockLook:
    """What a look found: `status` OK or DIFFERS, and `why` in words."""

    status: str
    why: str = ""


class Clock:
    """The wall clock of this machine beside the monotonic one of `live`, from the start of the process on. `wall_s`: seconds since 1970."""

    def __init__(self, live: Live, wall_s: Callable[[], float] = time.time) -> None:
        self._live = live
        self._wall_s = wall_s
        self._began_s = wall_s() - live.now_s()

    def look(self) -> ClockLook:
        """What is so now."""
        wall_s = self._wall_s()
        why = []
        step_s = wall_s - self._live.now_s() - self._began_s
        if abs(step_s) > STEP_S:
            why.append(f"this machine's clock was set {_span(step_s)} {'ahead' if step_s > 0 else 'back'} since the process began")
        newest_ns = max(self._live.event_ns.copy().values(), default=None)
        if newest_ns is not None:
            ahead_s = newest_ns / 1e9 - wall_s
            if ahead_s > AHEAD_S:
                why.append(f"the data are {_span(ahead_s)} ahead of this machine's clock: one of them is wrong")
            elif -ahead_s > BEHIND_S:
                why.append(f"the data are {_span(ahead_s)} behind this machine's clock: a tape is played, or one of them is wrong")
        return ClockLook(DIFFERS if why else OK, "; ".join(why))


def _span(seconds: float) -> str:
    """A span without its sign, in whole seconds and days."""
    return str(timedelta(seconds=round(abs(seconds))))
