"""What a tape holds of each symbol, counted and hashed while it is written or verified."""

from __future__ import annotations

import numpy as np
import xxhash

from operators.sources.tape.format import TICK_BYTES, SymbolEntry, kind_name
from operators.sources.tape.kernels import group_by_symbol, take_count
from schemas.instruments import InstrumentList
from schemas.ticks import Ints, Ticks


class SymbolCounts:
    """What has been seen of each symbol of a tape: counts, and a running XXH3-128 of its records."""

    def __init__(self, symbols: int) -> None:
        self.rows, self.first_ts, self.last_ts, self.late, self.largest_late, self.gaps, self.missing = np.zeros((7, symbols), np.int64)
        self.kinds = np.zeros((symbols, 256), np.int64)
        self.hashes = [xxhash.xxh3_128() for _ in range(symbols)]
        self._ends = np.zeros(symbols, np.int64)

    def count(self, ticks: Ticks, last: Ints) -> tuple[int, int]:
        """Checks and counts records that continue `last` (int64: ts_ns, symbol); (IN_ORDER, -1) or what is wrong where."""
        wrong, place = take_count(
            ticks, last, self.rows, self.kinds, self.first_ts, self.last_ts, self.late, self.largest_late, self.gaps, self.missing
        )
        return int(wrong), int(place)

    def hash(self, ticks: Ticks, room: Ticks) -> None:
        """Adds records to the hashes of their symbols; `room`: TICK_V1, at least as many."""
        group_by_symbol(ticks, self._ends, room)
        data = room.view(np.uint8)
        start = 0
        for s in np.flatnonzero(np.diff(self._ends, prepend=0)):
            end = int(self._ends[s])
            self.hashes[s].update(data[start * TICK_BYTES : end * TICK_BYTES].data)
            start = end

    def entries(self, instruments: InstrumentList) -> tuple[SymbolEntry, ...]:
        """The manifest's entries."""
        return tuple(
            SymbolEntry(
                symbol=symbol,
                rows=int(self.rows[i]),
                kinds={kind_name(int(k)): int(self.kinds[i, k]) for k in np.flatnonzero(self.kinds[i])},
                first_ts_ns=int(self.first_ts[i]) if self.rows[i] else None,
                last_ts_ns=int(self.last_ts[i]) if self.rows[i] else None,
                late=int(self.late[i]),
                largest_late_ns=int(self.largest_late[i]),
                gaps=int(self.gaps[i]),
                missing=int(self.missing[i]),
                xxh3_128=self.hashes[i].hexdigest(),
            )
            for i, symbol in enumerate(instruments.symbols)
        )
