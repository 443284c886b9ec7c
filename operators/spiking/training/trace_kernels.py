"""Compiled passes of training: hidden spikes of every tick, and what the read-out sees at chosen ticks."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import njit

from operators.spiking.kernels import advance, working_arrays
from operators.spiking.model import CALM_TICKS
from schemas.exact import exp64

_NEVER = -(2**63)


@njit(nogil=True, cache=True)
def record_spikes(ticks, use, indptr, neuron, local, model, state, scratch, forget, h_indptr, h_neuron):
    """Hidden spikes of each tick as compressed rows: fills h_indptr (n + 1,), and h_neuron up to its room.

    Returns the ticks done; fewer than there are if the room ended (h_indptr is right up to there).
    """
    w_in, theta, inv_tau, w_read, scale = model
    v, r, n, last_ns, score = state
    drive, fired, spikes, total, factor = working_arrays(scratch)
    h_indptr[0] = 0
    for t in range(ticks.size):
        count = 0
        if use[t]:
            if h_indptr[t] + fired.size > h_neuron.size:
                return t
            s = local[ticks[t].symbol]
            ts = ticks[t].ts_ns
            h = np.int64(-1)
            if last_ns[s] != _NEVER and not forget:
                h = ts - last_ns[s]
            last_ns[s] = ts
            count = advance(
                s, h, neuron, indptr[t], indptr[t + 1], w_in, theta, inv_tau, w_read, scale, v, r, n, score, drive, fired,
                spikes, total, factor,
            )  # fmt: skip
            for k in range(count):
                h_neuron[h_indptr[t] + k] = spikes[k]
        h_indptr[t + 1] = h_indptr[t] + count
    return ticks.size


@njit(nogil=True, cache=True)
def collect_traces(
    ticks, use, indptr, neuron, h_indptr, h_neuron, inputs, local, inv_tau, forget, rows, plus, minus, trace, count, last, out
):
    """Normalised traces at the ticks `rows` (ascending): out[m, g * pairs + p] = (trace_g[plus[p]] - trace_g[minus[p]]) / (N_g + c_g).

    Trace 0 holds the spikes of the last tick that drove the network. Work space: trace float32 (S, G + 1, neurons) and count
    float64 (S, G + 1), at the start 0; last int64 (S,), at the start NEVER.
    """
    traces = inv_tau.size + 1
    pairs = plus.size
    m = 0
    for t in range(ticks.size):
        s = local[ticks[t].symbol]
        if use[t]:
            h = np.int64(-1)
            if last[s] != _NEVER and not forget:
                h = ticks[t].ts_ns - last[s]
            last[s] = ticks[t].ts_ns
            for g in range(traces):
                f = exp64(-h * inv_tau[g - 1]) if h >= 0 and g > 0 else 0.0
                f32 = np.float32(f)
                for k in range(trace.shape[2]):
                    trace[s, g, k] *= f32
                count[s, g] = count[s, g] * f + 1.0
                for k in range(indptr[t], indptr[t + 1]):
                    trace[s, g, neuron[k]] += np.float32(1.0)
                for k in range(h_indptr[t], h_indptr[t + 1]):
                    trace[s, g, inputs + h_neuron[k]] += np.float32(1.0)
        if m < rows.size and rows[m] == t:
            for g in range(traces):
                calm = CALM_TICKS if g > 0 else 0.0
                inverse = np.float32(1.0 / (count[s, g] + calm)) if count[s, g] > 0.0 else np.float32(0.0)
                for p in range(pairs):
                    out[m, g * pairs + p] = (trace[s, g, plus[p]] - trace[s, g, minus[p]]) * inverse
            m += 1
    return m
