"""What stages hand to each other: everything one shard says about a range of slices [lo, hi), columnar.

A range is complete: nothing of the shard before `hi` comes later, so each range is its own mark. Ranges of a shard follow
each other without gaps (the next one's `lo` is this one's `hi`). Arrays are never changed after they were handed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.tables import Rows
from schemas.ticks import Ints, Ticks

OWN: Final = -1
"""The input of a shard's features that is its own ticks; every other input is a leading symbol's id."""

# Bits of GatedRange.gate, one byte a tick: what later stages may use the tick for.
IN_SESSION: Final = 1  # inside the instrument's continuous session
FEATURES: Final = 2  # may feed features (and so the network)
VOLUME: Final = 4  # counts as volume
FILLS: Final = 8  # a print that may fill resting orders: lit, regular conditions, in session
LIT: Final = 16  # printed on an exchange, not the trade reporting facility
LOCKED: Final = 32  # bid equals ask: valid, fills nothing
CROSSED: Final = 64  # let through by setting, never used for fills
DECIDES: Final = 128  # at or after the decision start (`--from`; before it: warm-up, state moves, nothing is decided)

SLICE_QUOTE: Final = np.dtype(
    [
        ("slice", "<i8"),
        ("ts_ns", "<i8"),
        ("bid", "<i8"),
        ("ask", "<i8"),
        ("bid_size", "<i8"),
        ("ask_size", "<i8"),
        ("symbol", "<u4"),
        ("gate", "u1"),
        ("venue", "u1"),
        ("pad", "<u2"),
    ]
)
"""Last quote of a symbol in a slice in which it had one. Sorted by (slice, symbol)."""


def _cut_rows(rows: tuple[Rows, ...], k: int) -> tuple[tuple[Rows, ...], tuple[Rows, ...]]:
    """Rows of slices before k, and from k on. Slices never decrease within a `Rows`."""
    before: list[Rows] = []
    after: list[Rows] = []
    for r in rows:
        i = int(np.searchsorted(r.a["slice"], k))
        if i:
            before.append(Rows(r.table, r.key, r.a[:i]))
        if i < r.a.size:
            after.append(Rows(r.table, r.key, r.a[i:]))
    return tuple(before), tuple(after)


@dataclass(frozen=True, slots=True)
class LeadSeries:
    """Price path of a leading symbol over [lo, hi): one entry per change. Used as of strictly earlier times only.

    `ts_ns` int64 (m,) never decreasing; `price2` int64 (m,): bid + ask, or twice the trade price where it has no quotes;
    `slices` int64 (m,): the slice of each entry.
    """

    symbol: int
    lo: int
    hi: int
    ts_ns: Ints
    price2: Ints
    slices: Ints

    def cut(self, k: int) -> tuple[LeadSeries | None, LeadSeries | None]:
        """What stands before slice k and from k on; None where the range has no slice there."""
        if self.hi <= k:
            return self, None
        if self.lo >= k:
            return None, self
        i = int(np.searchsorted(self.slices, k))
        return (
            LeadSeries(self.symbol, self.lo, k, self.ts_ns[:i], self.price2[:i], self.slices[:i]),
            LeadSeries(self.symbol, k, self.hi, self.ts_ns[i:], self.price2[i:], self.slices[i:]),
        )


@dataclass(frozen=True, slots=True)
class GatedRange:
    """Ticks that passed the gate, ordered by (slice, ts_ns, symbol, seq), with what was refused.

    `ticks` (n,), `slices` int64 (n,), `gate` uint8 (n,) bits above; `rows`: dead letters, and of the table `quality` those whose ten
    seconds ended in the range; `read`: ticks that came in; `late`: ticks with late_ns > 0.
    """

    shard: int
    lo: int
    hi: int
    ticks: Ticks
    slices: Ints
    gate: npt.NDArray[np.uint8]
    rows: tuple[Rows, ...]
    read: int
    late: int

    def cut(self, k: int) -> tuple[GatedRange | None, GatedRange | None]:
        """What stands before slice k and from k on; None where the range has no slice there."""
        if self.hi <= k:
            return self, None
        if self.lo >= k:
            return None, self
        i = int(np.searchsorted(self.slices, k))
        before, after = _cut_rows(self.rows, k)
        late = int(np.count_nonzero(self.ticks["late_ns"][:i]))
        dead = sum(r.a.size for r in before if r.table == "dead_letters")
        return (
            GatedRange(self.shard, self.lo, k, self.ticks[:i], self.slices[:i], self.gate[:i], before, i + dead, late),
            GatedRange(
                self.shard,
                k,
                self.hi,
                self.ticks[i:],
                self.slices[i:],
                self.gate[i:],
                after,
                self.read - i - dead,
                self.late - late,
            ),
        )


@dataclass(frozen=True, slots=True)
class FeatureRange:
    """Features of each tick. `x`: float32 (n, F), finite; `use`: uint8 (n,), 1 where the tick drives the network."""

    gated: GatedRange
    x: npt.NDArray[np.float32]
    use: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SpikeBatch:
    """For each tick the input neurons that spiked, as compressed rows: `indptr` int64 (n+1,), `neuron` uint8/uint16 (m,)."""

    indptr: Ints
    neuron: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class SpikeRange:
    """Input spikes of each tick."""

    gated: GatedRange
    use: npt.NDArray[np.uint8]
    spikes: SpikeBatch


@dataclass(frozen=True, slots=True)
class ScoreRange:
    """The network's read-out after each tick.

    `score`: float32 (n,), positive means up, as of the tick (unchanged where `use` is 0); `hidden_spikes`: uint16 (n,)
    how many hidden neurons fired at the tick; `input_spikes`: uint16 (n,). `score` is the read-out for the headline delay
    (150 ms), `score_now` float32 (n,) the one for no delay.
    """

    gated: GatedRange
    use: npt.NDArray[np.uint8]
    score: npt.NDArray[np.float32]
    input_spikes: npt.NDArray[np.uint16]
    hidden_spikes: npt.NDArray[np.uint16]
    score_now: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SliceOut:
    """What one shard says about slices [lo, hi): signals (tables.SIGNAL), last quotes (SLICE_QUOTE), table rows.

    `signals` are also among `rows` (the table's form); here they stand sorted by (slice, ts_ns, symbol) for the book.
    `gated` is the shard's ticks by reference, for the venue in the same process; None where the venue is another flow.
    """

    shard: int
    lo: int
    hi: int
    signals: npt.NDArray[np.void]
    quotes: npt.NDArray[np.void]
    rows: tuple[Rows, ...]
    gated: GatedRange | None

    def cut(self, k: int) -> tuple[SliceOut | None, SliceOut | None]:
        """What stands before slice k and from k on; None where the range has no slice there."""
        if self.hi <= k:
            return self, None
        if self.lo >= k:
            return None, self
        s = int(np.searchsorted(self.signals["slice"], k))
        q = int(np.searchsorted(self.quotes["slice"], k))
        rows_before, rows_after = _cut_rows(self.rows, k)
        gated_before, gated_after = (None, None) if self.gated is None else self.gated.cut(k)
        return (
            SliceOut(self.shard, self.lo, k, self.signals[:s], self.quotes[:q], rows_before, gated_before),
            SliceOut(self.shard, k, self.hi, self.signals[s:], self.quotes[q:], rows_after, gated_after),
        )
