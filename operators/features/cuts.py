"""Where the features of a range restart because a corporate action takes effect: the range is cut there, the kernel knows nothing of it.

An action of a symbol falls before its first tick at or after the action's time, one of a leader before the first of its moves that is known
then. What had been seen of it is forgotten in between, by the marks that the kernel takes for a start after a silence. Whether an action
is still to come is told by the time of what was last seen, so nothing of it stands in the state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from operators.features import kernels as k
from operators.timeline.stage import ShardPlace, State
from schemas.ranges import GatedRange, LeadSeries

LONG_AGO: Final = -(2**62)
"""In the place of a symbol's last time: every silence since is too long."""
LONG_AHEAD: Final = 2**62


@dataclass
class Cut:
    """A cut before tick `row` of a range, and before entry `entries[l]` of each leader's path; which symbols and leaders forget there."""

    row: int
    entries: tuple[int, ...]
    symbols: list[int] = field(default_factory=list)
    leaders: list[int] = field(default_factory=list)

    def forget(self, state: State) -> None:
        """What was seen before is not compared with what comes."""
        for s in self.symbols:
            state["whole"][s, k.TS] = LONG_AGO
        for leader in self.leaders:
            state["lead_whole"][leader, k.LEAD_MID2] = 0


class Cuts:
    """The actions that a shard's symbols and their leaders have. False where there are none, which is nearly always."""

    def __init__(self, place: ShardPlace) -> None:
        listed = place.instruments
        self._slice_ns = place.settings.slice_ns
        self._own = [(n, s, a.ts_ns) for n, s in enumerate(place.symbols) for a in listed.actions_of(s)]
        self._leading = [(n, a.ts_ns) for n, s in enumerate(place.leaders) for a in listed.actions_of(s)]

    def __bool__(self) -> bool:
        return bool(self._own or self._leading)

    def find(self, state: State, gated: GatedRange, leads: tuple[LeadSeries, ...]) -> list[Cut]:
        """The cuts of a range, in order."""
        ticks, times = gated.ticks, gated.ticks["ts_ns"]
        known = np.maximum(times, gated.slices * self._slice_ns)
        symbols: dict[int, list[int]] = {}
        leaders: dict[int, dict[int, int]] = {}
        for n, symbol, time in self._own:
            if state["whole"][n, k.TS] >= time:
                continue
            after = np.flatnonzero((times >= time) & (ticks["symbol"] == symbol))
            if after.size:
                symbols.setdefault(int(after[0]), []).append(n)
        for n, time in self._leading:
            path = leads[n].ts_ns
            entry = int(np.searchsorted(path, time))
            if entry < path.size and state["lead_whole"][n, k.LEAD_TS] < time:
                row = int(np.searchsorted(known, path[entry], side="right"))
                leaders.setdefault(row, {})[n] = entry
        cuts = []
        for row in sorted({*symbols, *leaders}):
            until = known[row] if row < known.size else LONG_AHEAD
            acting = leaders.get(row, {})
            entries = tuple(acting.get(n, int(np.searchsorted(x.ts_ns, until))) for n, x in enumerate(leads))
            cuts.append(Cut(row, entries, symbols.get(row, []), list(acting)))
        return cuts
