"""Nanoseconds of CPU time per neuron and step of the LIF population, 1 thousand to 1 million neurons, beside the same loop in C.

The neurons are driven to fire at 40 Hz or so (0.4% in a step of 0.1 ms). Steps run in one compiled loop: a call from Python for each
step would cost 0.5 us more.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from benchmarks.figure import Figure, figure
from benchmarks.lif_peers import c_steps, numpy_steps
from benchmarks.run import main
from operators.spiking.lif import lif_state
from operators.spiking.lif_kernels import step_delta
from schemas.exact import exp64

NAME = "lif_step"
GOAL_NS = 0.2
SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1M": 1_000_000}
NEURON_STEPS = 400_000_000
NUMPY_SHARE = 100
RUNS = 5
DT_MS, TAU_MS, THRESHOLD_MV, DRIVE_MV, REFRACTORY_STEPS = 0.1, 10.0, 10.0, 12.0, 50


@njit(nogil=True, cache=True)
def step_often(
    v: Any,
    pending: Any,
    refractory: Any,
    spikes: Any,
    size: int,
    decay: Any,
    drive: Any,
    threshold: Any,
    reset: Any,
    held: Any,
    often: int,
) -> int:
    """`often` steps. Returns how many spikes there were."""
    total = 0
    for _ in range(often):
        total += step_delta(v, pending, refractory, spikes, size, decay, drive, threshold, reset, held)
    return total


def population_of(neurons: int, seed: int) -> tuple[Any, ...]:
    """The arguments of a step: state with random potentials, and the parameters. `neurons` is rounded up to a multiple of 64."""
    state = lif_state(-(-neurons // 64) * 64)
    state.v[:] = np.random.default_rng(seed).uniform(0, THRESHOLD_MV, state.size)
    decay = exp64(-DT_MS / TAU_MS)
    numbers = (
        np.float32(decay),
        np.float32(DRIVE_MV * (1 - decay)),
        np.float32(THRESHOLD_MV),
        np.float32(0),
        np.int8(REFRACTORY_STEPS + 1),
    )
    return state.v, state.pending, state.refractory, state.spikes, state.size, *numbers


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark; ours and the peer take turns."""
    found = c_steps()
    if found is None:
        say("no C compiler: the peer is NumPy")
    peer, peer_steps = found or ("NumPy", numpy_steps)
    out = {}
    for part, neurons in SIZES.items():
        often = NEURON_STEPS // neurons // RUNS
        peer_often = often if found else max(often // NUMPY_SHARE, 2)
        ns_per_step(step_often, neurons, 2)
        ns_per_step(peer_steps, neurons, 2)
        ours, theirs = [], []
        for _ in range(RUNS):
            ours.append(ns_per_step(step_often, neurons, often))
            theirs.append(ns_per_step(peer_steps, neurons, peer_often))
        note = f"{neurons:,} neurons, thread CPU time of one compiled loop of {often:,} steps"
        out[f"{NAME}.{part}"] = figure(ours, "ns per neuron-step", "at most", GOAL_NS, note, peer, statistics.median(theirs))
    return out


def ns_per_step(steps: Callable[..., int], neurons: int, often: int) -> float:
    """Thread CPU time of one neuron's step."""
    arguments = population_of(neurons, seed=1)
    began = time.thread_time_ns()
    steps(*arguments, np.int64(often))
    return (time.thread_time_ns() - began) / (often * arguments[4])


if __name__ == "__main__":
    main(NAME)
