"""A tape's ticks dealt to the partitions of the topic `ticks`, window by window in time, each partition in the tape's order.

A symbol's partition is that of its shard: shard_of(symbol, shards) % partitions. A tape that is laid out in the same way is dealt as it is;
from any other the rows of each partition are picked and put in order (ts_ns, symbol, seq).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.sources.tape import Tape
from schemas.settings import Settings
from schemas.ticks import TICK_V1, Ticks, rows_at, rows_joined, shard_of


@dataclass(frozen=True)
class Window:
    """The next ticks by partition of the topic. `until_ns`: every tick before this time is dealt; None: the whole tape is."""

    ticks: list[Ticks]
    until_ns: int | None

    @property
    def rows(self) -> int:
        return sum(t.size for t in self.ticks)


class DealtTape:
    """Deals a tape from its beginning."""

    def __init__(self, tape: Tape, settings: Settings) -> None:
        self._tape = tape
        self._at = [0] * tape.partitions
        self._rows = [tape.rows(p) for p in range(tape.partitions)]
        self._partitions = settings.partitions
        names = tape.instruments.symbols
        self._partition_of = np.array([shard_of(s, settings.shards) % settings.partitions for s in names], np.int64)
        layout = np.array([tape.partition_of(s) for s in names], np.int64)
        self._as_it_is = tape.partitions == settings.partitions and bool(np.array_equal(layout, self._partition_of))

    @property
    def done(self) -> bool:
        """Whether the whole tape is dealt."""
        return self._at == self._rows

    def next(self, most: int, before_ns: int | None = None) -> Window:
        """About `most` ticks more, all before the window's `until_ns`; none that are not before `before_ns`."""
        live = [p for p, n in enumerate(self._rows) if self._at[p] < n]
        if not live:
            return Window(self._dealt({}), None)
        share = max(1, most // len(live))
        while True:
            views = {p: self._view(p, share) for p in live}
            ends = [int(v["ts_ns"][-1]) for p, v in views.items() if self._at[p] + v.size < self._rows[p]]
            bounds = ends + ([] if before_ns is None else [before_ns])
            until_ns = min(bounds, default=None)
            cuts = {p: v.size if until_ns is None else int(np.searchsorted(v["ts_ns"], until_ns)) for p, v in views.items()}
            if any(cuts.values()) or until_ns is None or until_ns == before_ns:
                break
            share *= 2
        for p, n in cuts.items():
            self._at[p] += n
        return Window(self._dealt({p: views[p][:n] for p, n in cuts.items() if n}), None if self.done else until_ns)

    def _view(self, p: int, share: int) -> Ticks:
        start, parts = self._at[p], []
        end = min(start + share, self._rows[p])
        while start < end:
            parts.append(self._tape.read(p, start, end - start))
            start += parts[-1].size
        return parts[0] if len(parts) == 1 else rows_joined(parts)

    def _dealt(self, of_tape: dict[int, Ticks]) -> list[Ticks]:
        nothing = np.empty(0, TICK_V1)
        if self._as_it_is:
            return [of_tape.get(p, nothing) for p in range(self._partitions)]
        out = []
        for q in range(self._partitions):
            picked = [rows_at(t, np.flatnonzero(self._partition_of[t["symbol"]] == q)) for t in of_tape.values()]
            picked = [t for t in picked if t.size]
            if len(picked) > 1:
                joined = rows_joined(picked)
                picked = [rows_at(joined, np.lexsort((joined["seq"], joined["symbol"], joined["ts_ns"])))]
            out.append(picked[0] if picked else nothing)
        return out
