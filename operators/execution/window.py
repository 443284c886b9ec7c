"""The ticks of a range of slices as the venue reads them: per symbol, by reference where a shard holds one symbol only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.ranges import GatedRange
from schemas.ticks import TICK_V1, Ints, Ticks, rows_at, rows_joined


class SymbolTicks(NamedTuple):
    """One symbol's ticks of a window in tape order: `ticks` TICK_V1 (n,), `slices` int64 (n,), `gate` uint8 (n,); all read-only."""

    ticks: Ticks
    slices: Ints
    gate: npt.NDArray[np.uint8]


def _read_only(a: npt.NDArray[np.void], dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    view = np.ascontiguousarray(a, dtype).view()
    view.flags.writeable = False
    return view


def _symbol_ticks(ticks: Ticks, slices: Ints, gate: npt.NDArray[np.uint8]) -> SymbolTicks:
    return SymbolTicks(
        _read_only(ticks, TICK_V1),
        _read_only(slices, np.dtype(np.int64)),  # type: ignore[arg-type]
        _read_only(gate, np.dtype(np.uint8)),  # type: ignore[arg-type]
    )


class TickWindow:
    """Gated ticks of all shards over slices [lo, hi), grouped by symbol on demand.

    `gated`: pieces of any shards, each shard's without gaps; `shard_of_symbol` int (instruments,), `symbols_of_shard`: how many
    instruments each shard owns. A shard of one symbol is used by reference, of others a symbol's ticks are copied when first asked
    for; symbols that nobody asks for cost nothing. Raises ValueError for a piece that reaches beyond [lo, hi).
    """

    def __init__(
        self, lo: int, hi: int, gated: Sequence[GatedRange], shard_of_symbol: Sequence[int], symbols_of_shard: dict[int, int]
    ) -> None:
        self.lo = lo
        self.hi = hi
        self._shard_of_symbol = shard_of_symbol
        self._symbols_of_shard = symbols_of_shard
        self._pieces: dict[int, list[GatedRange]] = {}
        for g in gated:
            if g.lo < lo or g.hi > hi:
                msg = f"shard {g.shard}: ticks of slices [{g.lo}, {g.hi}) do not belong to the window [{lo}, {hi})"
                raise ValueError(msg)
            if len(g.ticks):
                self._pieces.setdefault(g.shard, []).append(g)
        self._shards: dict[int, SymbolTicks] = {}
        self._symbols: dict[int, SymbolTicks] = {}

    def shard(self, shard: int) -> SymbolTicks:
        """All ticks of a shard, of however many symbols."""
        found = self._shards.get(shard)
        if found is None:
            pieces = sorted(self._pieces.get(shard, []), key=lambda g: g.lo)
            if not pieces:
                found = _symbol_ticks(np.empty(0, TICK_V1), np.empty(0, np.int64), np.empty(0, np.uint8))
            elif len(pieces) == 1:
                found = _symbol_ticks(pieces[0].ticks, pieces[0].slices, pieces[0].gate)
            else:
                found = _symbol_ticks(
                    rows_joined([g.ticks for g in pieces]),
                    np.concatenate([g.slices for g in pieces]),
                    np.concatenate([g.gate for g in pieces]),
                )
            self._shards[shard] = found
        return found

    def of(self, symbol: int) -> SymbolTicks:
        """The ticks of one symbol."""
        found = self._symbols.get(symbol)
        if found is None:
            shard = self._shard_of_symbol[symbol]
            found = self.shard(shard)
            if self._symbols_of_shard[shard] > 1 and len(found.ticks):
                own = found.ticks["symbol"] == symbol
                found = _symbol_ticks(rows_at(found.ticks, own), found.slices[own], found.gate[own])
            self._symbols[symbol] = found
        return found

    @property
    def shards(self) -> tuple[int, ...]:
        """Shards that have a tick in the window, ascending."""
        return tuple(sorted(self._pieces))
