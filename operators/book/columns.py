"""What all shards say about a range of slices, merged by slice: the columns that the compiled scan walks over."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.book.entrance import Wish
from operators.book.scan_kernels import merge
from schemas.ranges import SLICE_QUOTE, SliceOut
from schemas.tables import SIGNAL

SPARSE: Final = 8
"""With more slices than this for each row, rows are put in order by sorting; else by counting, which takes one step a slice."""
NOTHING_SAID: Final = -(2**62)


class Said(NamedTuple):
    """The columns that the scan walks over, and how far it has read; fields as of Columns."""

    quotes: npt.NDArray[np.void]
    quote_order: npt.NDArray[np.int64]
    signal_slices: npt.NDArray[np.int64]
    signal_symbols: npt.NDArray[np.int64]
    actions: npt.NDArray[np.int8]
    place: npt.NDArray[np.int64]


@dataclass(slots=True)
class Columns:
    """Quotes and signals of all shards over slices [lo, hi), and how far they were read. Signals stand in order.

    `quotes` SLICE_QUOTE (n,) with their `quote_order` int64 (n,); signals (m,) by (slice, shard, place): `signal_slices` int64,
    `signal_symbols` int64, `actions` int8, `confidence_e6` int64; `place` int64 (2,): quotes and signals that the scan has read.
    """

    lo: int
    hi: int
    quotes: npt.NDArray[np.void]
    quote_order: npt.NDArray[np.int64]
    signal_slices: npt.NDArray[np.int64]
    signal_symbols: npt.NDArray[np.int64]
    actions: npt.NDArray[np.int8]
    confidence_e6: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]

    @classmethod
    def of(cls, x: tuple[SliceOut, ...], lo: int, hi: int) -> Columns:
        """The columns of one range of every shard, each over [lo, hi)."""
        quotes, quote_order = _merged([o.quotes for o in x], SLICE_QUOTE, lo, hi)
        signals, signal_order = _merged([o.signals for o in x], SIGNAL, lo, hi)
        signals = signals[signal_order]
        return cls(
            lo,
            hi,
            quotes,
            quote_order,
            np.ascontiguousarray(signals["slice"]),
            signals["symbol"].astype(np.int64),
            np.ascontiguousarray(signals["action"]),
            np.ascontiguousarray(signals["confidence_e6"]),
            np.zeros(2, np.int64),
        )

    def stored(self) -> dict[str, Any]:
        """The columns as they stand in a state; `Columns(**stored)` has them back. Nothing is copied."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def said(self) -> Said:
        """What the scan walks over."""
        return Said(self.quotes, self.quote_order, self.signal_slices, self.signal_symbols, self.actions, self.place)

    @property
    def first(self) -> int:
        """The first slice in which a shard has a quote or a signal; NOTHING_SAID where there is none."""
        said = [int(self.quotes["slice"][self.quote_order[0]])] if self.quotes.size else []
        if self.signal_slices.size:
            said.append(int(self.signal_slices[0]))
        return min(said, default=NOTHING_SAID)

    @property
    def largest_symbol(self) -> int:
        """The largest symbol id that is named, -1 where there is none."""
        named = [int(c.max()) for c in (self.quotes["symbol"], self.signal_symbols) if c.size]
        return max(named, default=-1)

    def wishes(self, k: int) -> list[Wish]:
        """The last action of each symbol in slice k, which the scan has just read."""
        at = self.place.item(1) - 1
        last: dict[int, Wish] = {}
        while at >= 0 and self.signal_slices.item(at) == k:
            symbol = self.signal_symbols.item(at)
            last.setdefault(symbol, Wish(symbol, self.actions.item(at), self.confidence_e6.item(at)))
            at -= 1
        return [last[s] for s in sorted(last)]


def _merged(
    parts: list[npt.NDArray[np.void]], dtype: np.dtype[np.void], lo: int, hi: int
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """Rows of all shards over slices [lo, hi), one after the other, and their order by (slice, shard, place)."""
    bare = f"V{dtype.itemsize}"
    whole = np.concatenate([np.ascontiguousarray(p).view(bare) for p in parts]).view(dtype)
    if hi - lo > SPARSE * whole.size:
        return whole, np.argsort(whole["slice"], kind="stable")
    order = np.empty(whole.size, np.int64)
    merge(whole["slice"], lo, np.zeros(hi - lo + 1, np.int64), order)
    return whole, order
