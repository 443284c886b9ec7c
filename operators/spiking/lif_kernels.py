"""Compiled LIF population step (operators/spiking/lif.py has the equations)."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np
from numba import njit

from operators.spiking.vector_kernels import spiking_places

_ZERO = np.float32(0.0)
_ONE = np.int8(1)


@njit(nogil=True, cache=True)
def step_delta(v, pending, refractory, spikes, size, decay, drive, threshold, reset, steps):
    """One step of all neurons; `steps` is refractory steps + 1. Returns how many fired; their places are in `spikes`."""
    for i in range(v.size):
        left = refractory[i]
        potential = v[i] * decay + drive + pending[i]
        held = left > _ONE
        spike = (potential >= threshold) & (not held)
        v[i] = reset if held | spike else potential
        refractory[i] = steps if spike else np.int8(max(left - 1, 0))
        pending[i] = _ZERO
    for i in range(v.size - size):
        v[size + i] = reset
        refractory[size + i] = 0
    return spiking_places(refractory, steps, spikes)


@njit(nogil=True, cache=True)
def run_delta(v, pending, refractory, spikes, size, decay, drive, threshold, reset, steps, counts):
    """As many steps as `counts` (int64) has places, each place the number of neurons that fired; returns their sum."""
    total = 0
    for k in range(counts.size):
        counts[k] = step_delta(v, pending, refractory, spikes, size, decay, drive, threshold, reset, steps)
        total += counts[k]
    return total
