"""Ticks by symbol: by reference where possible, merged from pieces, never mixed."""

from __future__ import annotations

import numpy as np
import pytest

from operators.execution import TickWindow
from schemas.ranges import GatedRange
from schemas.ticks import TICK_V1


def piece(shard, lo, hi, symbols, slices):
    ticks = np.zeros(len(symbols), TICK_V1)
    ticks["symbol"], ticks["seq"] = symbols, np.arange(len(symbols)) + 10 * lo
    return GatedRange(
        shard,
        lo,
        hi,
        ticks,
        np.array(slices, np.int64),
        np.arange(len(symbols)).astype(np.uint8),
        (),
        len(symbols),
        0,
    )


def test_a_shard_of_one_symbol_is_used_by_reference():
    g = piece(4, 0, 3, [1, 1], [0, 2])
    w = TickWindow(0, 3, [g], [9, 4], {9: 1, 4: 1})
    assert np.shares_memory(w.of(1).ticks, g.ticks)
    assert not w.of(1).ticks.flags.writeable
    assert g.ticks.flags.writeable
    assert len(w.of(0).ticks) == 0
    assert w.shards == (4,)


def test_symbols_of_one_shard_are_told_apart_over_pieces():
    pieces = [piece(4, 2, 3, [0, 1], [2, 2]), piece(4, 0, 2, [1, 0, 1], [0, 1, 1])]
    w = TickWindow(0, 3, pieces, [4, 4], {4: 2})
    assert w.of(0).slices.tolist() == [1, 2]
    assert w.of(1).slices.tolist() == [0, 1, 2]
    assert w.of(1).ticks["seq"].tolist() == [0, 2, 21]
    assert w.of(1).gate.tolist() == [0, 2, 1]
    assert w.of(1) is w.of(1)


def test_pieces_beyond_the_window_are_refused():
    with pytest.raises(ValueError, match=r"shard 4: ticks of slices \[0, 3\) do not belong to the window \[0, 2\)"):
        TickWindow(0, 2, [piece(4, 0, 3, [0], [0])], [4], {4: 1})
