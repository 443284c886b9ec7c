"""A population of leaky integrate-and-fire neurons on a time grid: the general step, for circuits and benchmarks.

What it is. Delta-current LIF with exact leak over a step dt, 64 neurons at a time: float32 potentials, an int8 refractory counter,
spikes as a word of bits (lif_kernels.py).

Equations, for every neuron at every step:

    V' = V * exp(-dt / tau) + R I (1 - exp(-dt / tau)) + input        where not refractory, else V' = V_reset
    spike where V' >= V_th and not refractory; then V' = V_reset and the neuron is refractory for the next n_ref steps

Numerics. float32 state, no contraction, so the same bits on every instruction set. Boundary: V(t_k) < V_th and V(t_{k+1}) >= V_th puts
the spike at t_{k+1}; ISI on the grid is dt * (n_ref + ceil((ISI_exact - t_ref) / dt)).

| parameter | unit | meaning |
| --- | --- | --- |
| decay | - | exp(-dt / tau_m) |
| drive | mV | R I (1 - decay): constant drive of a step |
| threshold, reset | mV above rest | V_th, V_reset |
| refractory_steps | steps | n_ref = t_ref / dt, 0 to 126 |

| state | dtype, shape | meaning |
| --- | --- | --- |
| v | float32 (N,) | membrane potential above rest, mV; N a multiple of 64 |
| pending | float32 (N,) | input of the coming step, mV; emptied by it |
| refractory | int8 (N,) | n_ref + 1 at a spike, counts down to 0 |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.spiking.lif_kernels import BLOCK, run_delta, step_delta
from schemas.exact import exp64

MOST_REFRACTORY = 126
LINE = 64
"""Bytes of a cache line: vectors that lie across two of them cost a tenth of the step."""


@dataclass(frozen=True)
class LifParameters:
    """One population. Times in ms, potentials in mV above rest; `drive_mv` is R I."""

    tau_m_ms: float = 10.0
    threshold_mv: float = 10.0
    reset_mv: float = 0.0
    refractory_ms: float = 5.0
    drive_mv: float = 0.0
    dt_ms: float = 0.1

    def __post_init__(self) -> None:
        steps = round(self.refractory_ms / self.dt_ms)
        if not (self.tau_m_ms > 0 and self.dt_ms > 0 and self.threshold_mv > self.reset_mv and 0 <= steps <= MOST_REFRACTORY):
            msg = f"expected tau_m_ms, dt_ms > 0, threshold above reset, refractory time of 0 to {MOST_REFRACTORY} steps, given {self}"
            raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class LifState:
    """State of a population of `size` neurons, padded to a multiple of 64; the padding never fires."""

    size: int
    v: npt.NDArray[np.float32]
    pending: npt.NDArray[np.float32]
    refractory: npt.NDArray[np.int8]
    spikes: npt.NDArray[np.uint32]


def lif_state(size: int) -> LifState:
    """All neurons at rest. The arrays lie one after the other in one piece of memory, each on a cache line's boundary."""
    padded = -(-size // BLOCK) * BLOCK
    memory = np.zeros(13 * padded + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    v, pending, spikes, refractory = (memory[first + a * padded : first + b * padded] for a, b in ((0, 4), (4, 8), (8, 12), (12, 13)))
    return LifState(size, v.view(np.float32), pending.view(np.float32), refractory.view(np.int8), spikes.view(np.uint32))


class LifPopulation:
    """Steps a population. Immutable; the state is the caller's."""

    def __init__(self, parameters: LifParameters) -> None:
        p = parameters
        decay = exp64(-p.dt_ms / p.tau_m_ms)
        self._arguments = (
            np.float32(decay),
            np.float32(p.drive_mv * (1.0 - decay)),
            np.float32(p.threshold_mv),
            np.float32(p.reset_mv),
            np.int8(round(p.refractory_ms / p.dt_ms) + 1),
        )

    def step(self, state: LifState) -> npt.NDArray[np.uint32]:
        """One step in place. Returns the neurons that fired, ascending (a view that the next step overwrites)."""
        count = step_delta(state.v, state.pending, state.refractory, state.spikes, state.size, *self._arguments)
        return state.spikes[:count]

    def run(self, state: LifState, steps: int) -> npt.NDArray[np.int64]:
        """Many steps in place, in one compiled call. Returns how many neurons fired at each, int64 (steps,)."""
        counts = np.zeros(steps, np.int64)
        run_delta(state.v, state.pending, state.refractory, state.spikes, state.size, *self._arguments, counts)
        return counts
