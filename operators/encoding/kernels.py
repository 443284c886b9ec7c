"""The compiled pass from features to spikes: one table lookup a population, one comparison a send-on-delta pair."""

from __future__ import annotations

import numpy as np
from numba import njit

from operators.encoding.code import CELLS
from schemas.features import FEATURE_LIMIT


@njit(nogil=True, cache=True)
def encode_range(
    x: np.ndarray,
    use: np.ndarray,
    symbol: np.ndarray,
    local: np.ndarray,
    population_column: np.ndarray,
    population_zero: np.ndarray,
    table: np.ndarray,
    delta_column: np.ndarray,
    delta_first: np.ndarray,
    threshold: np.ndarray,
    sent: np.ndarray,
    indptr: np.ndarray,
    neuron: np.ndarray,
) -> int:
    """Writes the spikes of each tick, ascending, into `neuron` uint16 and where they end into `indptr` int64 (n + 1,).

    `sent` float32 (symbols, deltas) moves. Returns -1, or the row of the first tick in use with a value that is no number in
    [-FEATURE_LIMIT, FEATURE_LIMIT]; then the output is worthless.
    """
    none, one = np.uint64(0), np.uint64(1)
    byte, eight, sixteen = np.uint32(255), np.uint32(8), np.uint32(16)
    m = none
    indptr[0] = 0
    limit = np.float32(FEATURE_LIMIT)
    cells = np.float32(CELLS)
    zero = np.float32(0.0)
    for i in range(use.size):
        if use[i] != 0:
            wrong = 0
            for f in range(x.shape[1]):
                wrong += not abs(x[i, f]) <= limit
            if wrong:
                return i
            for p in range(population_column.size):
                cell = np.int64(x[i, population_column[p]] * cells)
                word = table[np.uint64(population_zero[p] + cell)]
                neuron[m] = word & byte
                neuron[m + one] = (word >> eight) & byte
                m += np.uint64(word >> sixteen)
            s = local[symbol[i]]
            for d in range(delta_column.size):
                away = x[i, delta_column[d]] - sent[s, d]
                rises = away >= threshold[d]
                falls = away <= -threshold[d]
                neuron[m] = delta_first[d] + rises
                m += one if rises or falls else none
                step = threshold[d] if rises else (-threshold[d] if falls else zero)
                sent[s, d] += step
        indptr[i + 1] = m
    return -1
