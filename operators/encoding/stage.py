"""Features to spikes of one shard: the code of operators/encoding/code.py, tick by tick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from operators.encoding import kernels as k
from operators.encoding.code import DELTAS, INPUTS, POPULATIONS, TABLE_CELLS, ZERO_CELL, word_table
from operators.timeline.stage import Migration, ShardPlace, State
from schemas.errors import SpiketapeError
from schemas.features import FEATURE_LIMIT, FEATURE_NAMES
from schemas.ranges import FeatureRange, SpikeBatch, SpikeRange

MOST_SPIKES: Final = 2 * len(POPULATIONS) + len(DELTAS)
"""Room for the spikes of one tick."""


class EncodingError(SpiketapeError):
    """A feature that cannot be encoded: not a number, or outside [-FEATURE_LIMIT, FEATURE_LIMIT]."""


class EncodingStage:
    """Encoder of one shard. State: `sent` float32 (symbols of the shard, send-on-delta pairs), the value sent so far."""

    version = 2
    migrations: Mapping[int, Migration] = {}
    inputs = INPUTS

    def __init__(self, place: ShardPlace) -> None:
        self._place = place
        self._population_column = np.array([FEATURE_NAMES.index(p.feature) for p in POPULATIONS], np.int64)
        self._delta_column = np.array([FEATURE_NAMES.index(d.feature) for d in DELTAS], np.int64)
        self._delta_first = np.array([d.first for d in DELTAS], np.int64)
        self._threshold = np.array([d.threshold for d in DELTAS], np.float32)
        self._table = word_table()
        self._population_zero = np.arange(len(POPULATIONS), dtype=np.int64) * TABLE_CELLS + ZERO_CELL

    def start(self) -> State:
        return {"sent": np.zeros((len(self._place.symbols), len(DELTAS)), np.float32)}

    def step(self, state: State, x: FeatureRange) -> tuple[State, SpikeRange]:
        """Spikes of the ticks of a range; none where `use` is 0. Raises EncodingError, before the state moved, for a value it refuses."""
        count = len(x.use)
        indptr = np.zeros(count + 1, np.int64)
        if count == 0:
            return state, SpikeRange(x.gated, x.use, SpikeBatch(indptr, np.empty(0, np.uint16)))
        neuron = np.empty(count * MOST_SPIKES + 2, np.uint16)
        sent = state["sent"].copy()
        wrong = k.encode_range(
            np.ascontiguousarray(x.x),
            np.ascontiguousarray(x.use),
            np.ascontiguousarray(x.gated.ticks["symbol"]),
            self._place.local,
            self._population_column,
            self._population_zero,
            self._table,
            self._delta_column,
            self._delta_first,
            self._threshold,
            sent,
            indptr,
            neuron,
        )
        if wrong >= 0:
            row = int(wrong)
            column = int(np.flatnonzero(~(np.abs(x.x[row]) <= FEATURE_LIMIT))[0])
            tick = x.gated.ticks[row]
            msg = (
                f"shard {self._place.shard}, slice {x.gated.slices[row]}, symbol {tick['symbol']}, sequence {tick['seq']}: feature "
                f"{FEATURE_NAMES[column]} is {x.x[row, column]}, expected a number in [-{FEATURE_LIMIT}, {FEATURE_LIMIT}]"
            )
            raise EncodingError(msg)
        state["sent"] = sent
        return state, SpikeRange(x.gated, x.use, SpikeBatch(indptr, neuron[: indptr[-1]].copy()))
