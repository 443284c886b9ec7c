"""Compiled form of the tick network (operators/spiking/model.py has the equations and the meaning of every array)."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np
from numba import njit

from operators.spiking.lane_kernels import LANES, decay_factors, read_out, step_membranes
from operators.spiking.model import HEAD_WIDTH, HEADS, HIDDEN
from operators.spiking.vector_kernels import marked_row_adder, row_summer

_NEVER = -(2**63)
assert HIDDEN == 128, "`decayed` steps two blocks of 64 neurons"
_sum_rows = row_summer(HIDDEN, 16, HEADS * HEAD_WIDTH, 32)
_add_spiking_rows = marked_row_adder(HEADS * HEAD_WIDTH, 32)
AHEAD = 16
"""Ticks whose decay factors are worked out together: they need no state, so the CPU does not wait for one exponential after another."""
SCRATCH_BYTES = 11 * HIDDEN + 4 * HEADS * HEAD_WIDTH + 8 * HEAD_WIDTH * AHEAD


@njit(nogil=True, cache=True)
def working_arrays(scratch):
    """The working arrays (drive, fired, spikes, total, factor) in one block of bytes: one argument costs less than five."""
    a = 8 * HIDDEN
    b = a + 2 * HIDDEN
    c = b + HIDDEN
    d = c + 4 * HEADS * HEAD_WIDTH
    return (
        scratch[a:b].view(np.int16),
        scratch[b:c],
        scratch[0:a].view(np.int64),
        scratch[c:d].view(np.int32),
        scratch[d : d + 8 * HEAD_WIDTH * AHEAD].view(np.float64),
    )


@njit(nogil=True, cache=True)
def advance(s, h, inputs, begin, end, w_in, theta, inv_tau, w_read, scale, v, r, n, score, drive, fired, spikes, total, factor):
    """A tick of symbol s with inputs[begin:end]; h: ns since its last one, negative for none. Returns how many neurons fired.

    All of `fired` is set: 1 where a neuron fired. Their places are the first of `spikes`. Arrays are handed on whole, with the row's
    number: a view of a row costs two atomic reference counts, eight of them a third of the tick.
    """
    groups = inv_tau.size
    decay_factors(inv_tau, groups, h, factor, 0)
    return decayed(s, inputs, begin, end, w_in, theta, groups, w_read, scale, v, r, n, score, drive, fired, spikes, total, factor, 0)


@njit(nogil=True, cache=True)
def decayed(s, inputs, begin, end, w_in, theta, groups, w_read, scale, v, r, n, score, drive, fired, spikes, total, factor, at):
    """The rest of `advance`, the tick's decay factors being factor[at : at + HEAD_WIDTH]."""
    _sum_rows(w_in, w_read, inputs, begin, end, drive, total)
    low = fired_of(s, 0, theta, groups, v, drive, fired, factor, at)
    high = fired_of(s, 64, theta, groups, v, drive, fired, factor, at)
    count = _add_spiking_rows(w_read, w_in.shape[0], low, high, total, spikes)
    read_out(factor, at, groups, total, n, r, score, s, scale)
    return count


@njit(nogil=True, cache=True)
def fired_of(s, block, theta, groups, v, drive, fired, factor, at):
    """Steps neurons block..block+64 of symbol s; bit k of the result is set where neuron block + k fired.

    Both halves are stepped before the spikes of either are counted: how many there are no CPU foresees, and it should guess wrong late.
    """
    word = np.uint64(0)
    for first in range(block, block + 64, LANES):
        mask = step_membranes(v, s * HIDDEN + first, drive, theta, fired, first, factor[at + 1 + first * groups // HIDDEN])
        word |= np.uint64(mask) << np.uint64(first - block)
    return word


@njit(nogil=True, cache=True)
def run_ticks(ticks, use, indptr, neuron, local, model, state, scratch, forget, out_score, out_now, out_in, out_hidden):
    """The network over a range of ticks in their order. Changes `state`, fills the `out_` arrays (all of shape (n,)).

    model: (w_in, theta, inv_tau, w_read, scale); state: (v, r, n, last_ns, score); scratch: SCRATCH_BYTES bytes.
    With `forget` each tick finds its symbol's state as at the start.
    """
    w_in, theta, inv_tau, w_read, scale = model
    v, r, n, last_ns, score = state
    drive, fired, spikes, total, factor = working_arrays(scratch)
    groups = inv_tau.size
    for first in range(0, ticks.size, AHEAD):
        last = min(first + AHEAD, ticks.size)
        for t in range(first, last):
            if use[t]:
                s = local[ticks[t].symbol]
                h = np.int64(-1)
                ts = ticks[t].ts_ns
                if last_ns[s] != _NEVER and not forget:
                    h = ts - last_ns[s]
                last_ns[s] = ts
                decay_factors(inv_tau, groups, h, factor, (t - first) * HEAD_WIDTH)
        for t in range(first, last):
            s = local[ticks[t].symbol]
            hidden = 0
            begin = indptr[t]
            end = indptr[t + 1]
            if use[t]:
                hidden = decayed(
                    s, neuron, begin, end, w_in, theta, groups, w_read, scale, v, r, n, score, drive,
                    fired, spikes, total, factor, (t - first) * HEAD_WIDTH,
                )  # fmt: skip
                out_in[t] = end - begin
            else:
                out_in[t] = 0
            out_hidden[t] = hidden
            out_now[t] = score[s, 0]
            out_score[t] = score[s, 1]


@njit(nogil=True, cache=True)
def infer_tick(symbol, ts_ns, inputs, model, state, scratch):
    """One tick of local symbol `symbol`: as run_ticks with use = 1. Returns the score of the second head (float32)."""
    w_in, theta, inv_tau, w_read, scale = model
    v, r, n, last_ns, score = state
    drive, fired, spikes, total, factor = working_arrays(scratch)
    h = np.int64(-1)
    if last_ns[symbol] != _NEVER:
        h = ts_ns - last_ns[symbol]
    last_ns[symbol] = ts_ns
    advance(
        symbol, h, inputs, 0, inputs.size, w_in, theta, inv_tau, w_read, scale, v, r, n, score, drive,
        fired, spikes, total, factor,
    )  # fmt: skip
    return score[symbol, 1]
