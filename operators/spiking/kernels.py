"""Compiled form of the tick network (operators/spiking/model.py has the equations and the meaning of every array)."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np
from numba import njit

from operators.spiking.model import HEAD_WIDTH, HEADS, HIDDEN
from operators.spiking.vector_kernels import row_adder, spiking_places
from schemas.exact import exp64

_NEVER = -(2**63)
_ZERO = np.float32(0.0)
_add_input_rows = row_adder(HIDDEN, 16)
_add_read_rows = row_adder(HEADS * HEAD_WIDTH, 32)
SCRATCH_BYTES = 15 * HIDDEN + 4 * HEADS * HEAD_WIDTH + 8 * HEAD_WIDTH


@njit(nogil=True, cache=True)
def working_arrays(scratch):
    """The working arrays (drive, fired, spikes, total, factor, leak) in one block of bytes: one argument costs less than six."""
    a = 8 * HIDDEN
    b = a + 4 * HIDDEN
    c = b + 2 * HIDDEN
    d = c + HIDDEN
    e = d + 4 * HEADS * HEAD_WIDTH
    return (
        scratch[b:c].view(np.int16),
        scratch[c:d],
        scratch[0:a].view(np.int64),
        scratch[d:e].view(np.int32),
        scratch[e : e + 8 * HEAD_WIDTH].view(np.float64),
        scratch[a:b].view(np.float32),
    )


@njit(nogil=True, cache=True)
def advance(s, h, inputs, begin, end, w_in, theta, inv_tau, w_read, scale, v, r, n, score, drive, fired, spikes, total, factor, leak):
    """A tick of symbol s with inputs[begin:end]; h: ns since its last one, negative for none. Returns how many neurons fired.

    Rows of the state are reached by [s, j], not as views: a view costs two atomic reference counts, eight of them a third of the tick.
    """
    groups = inv_tau.size
    width = leak.size // groups
    for g in range(groups):
        f = 1.0 if h == 0 else 0.0 if h < 0 else exp64(-h * inv_tau[g])
        factor[g] = f
        f32 = np.float32(f)
        for j in range(width):
            leak[g * width + j] = f32
    for j in range(drive.size):
        drive[j] = 0
    for k in range(total.size):
        total[k] = 0
    _add_input_rows(w_in, 0, inputs, begin, end, drive)
    _add_read_rows(w_read, 0, inputs, begin, end, total)
    for j in range(leak.size):
        potential = max(v[s, j] * leak[j] + np.float32(drive[j]), -theta[j])
        spike = potential >= theta[j]
        fired[j] = spike
        v[s, j] = _ZERO if spike else potential
    count = spiking_places(fired, 1, spikes)
    _add_read_rows(w_read, w_in.shape[0], spikes, 0, count, total)
    n[s, 0] = 1.0
    r[s, 0] = total[0]
    r[s, HEAD_WIDTH] = total[HEAD_WIDTH]
    first = r[s, 0]
    second = r[s, HEAD_WIDTH]
    for g in range(groups):
        f = factor[g]
        ticks = n[s, g + 1] * f + 1.0
        now = r[s, g + 1] * f + total[g + 1]
        later = r[s, HEAD_WIDTH + g + 1] * f + total[HEAD_WIDTH + g + 1]
        n[s, g + 1] = ticks
        r[s, g + 1] = now
        r[s, HEAD_WIDTH + g + 1] = later
        weight = 1.0 / ticks
        first += now * weight
        second += later * weight
    score[s, 0] = np.float32(first * scale)
    score[s, 1] = np.float32(second * scale)
    return count


@njit(nogil=True, cache=True)
def run_ticks(ticks, use, indptr, neuron, local, model, state, scratch, forget, out_score, out_now, out_in, out_hidden):
    """The network over a range of ticks in their order. Changes `state`, fills the `out_` arrays (all of shape (n,)).

    model: (w_in, theta, inv_tau, w_read, scale); state: (v, r, n, last_ns, score); scratch: SCRATCH_BYTES bytes.
    With `forget` each tick finds its symbol's state as at the start.
    """
    w_in, theta, inv_tau, w_read, scale = model
    v, r, n, last_ns, score = state
    drive, fired, spikes, total, factor, leak = working_arrays(scratch)
    for t in range(ticks.size):
        s = local[ticks[t].symbol]
        hidden = 0
        begin = indptr[t]
        end = indptr[t + 1]
        if use[t]:
            h = np.int64(-1)
            ts = ticks[t].ts_ns
            if last_ns[s] != _NEVER and not forget:
                h = ts - last_ns[s]
            last_ns[s] = ts
            hidden = advance(
                s, h, neuron, begin, end, w_in, theta, inv_tau, w_read, scale, v, r, n, score, drive,
                fired, spikes, total, factor, leak,
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
    drive, fired, spikes, total, factor, leak = working_arrays(scratch)
    h = np.int64(-1)
    if last_ns[symbol] != _NEVER:
        h = ts_ns - last_ns[symbol]
    last_ns[symbol] = ts_ns
    advance(
        symbol, h, inputs, 0, inputs.size, w_in, theta, inv_tau, w_read, scale, v, r, n, score, drive,
        fired, spikes, total, factor, leak,
    )  # fmt: skip
    return score[symbol, 1]
