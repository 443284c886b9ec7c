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

from benchmarks.figure import Figure, figure
from benchmarks.lif_peers import c_steps, numpy_steps
from benchmarks.run import main
from operators.spiking.lif import LifParameters, LifPopulation, LifState, lif_state
from schemas.exact import exp64

NAME = "lif_step"
GOAL_NS = 0.2
SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1M": 1_000_000}
NEURON_STEPS = 400_000_000
NUMPY_SHARE = 100
RUNS = 5
PARAMETERS = LifParameters(tau_m_ms=10.0, threshold_mv=10.0, refractory_ms=5.0, drive_mv=12.0, dt_ms=0.1)


def population_of(neurons: int, seed: int) -> LifState:
    """A population with random potentials. `neurons` is rounded up to a multiple of 64."""
    state = lif_state(-(-neurons // 64) * 64)
    state.v[:] = np.random.default_rng(seed).uniform(0, PARAMETERS.threshold_mv, state.size)
    return state


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
        ns_per_step(neurons, 2)
        peer_ns_per_step(peer_steps, neurons, 2)
        ours, theirs = [], []
        for _ in range(RUNS):
            ours.append(ns_per_step(neurons, often))
            theirs.append(peer_ns_per_step(peer_steps, neurons, peer_often))
        note = f"{neurons:,} neurons, thread CPU time of one compiled loop of {often:,} steps"
        out[f"{NAME}.{part}"] = figure(ours, "ns per neuron-step", "at most", GOAL_NS, note, peer, statistics.median(theirs))
    return out


def ns_per_step(neurons: int, often: int) -> float:
    """Thread CPU time of one neuron's step."""
    population, state = LifPopulation(PARAMETERS), population_of(neurons, seed=1)
    began = time.thread_time_ns()
    population.run(state, often)
    return (time.thread_time_ns() - began) / (often * state.size)


def peer_ns_per_step(steps: Callable[..., int], neurons: int, often: int) -> float:
    """The same of a peer (lif_peers.Steps)."""
    state = population_of(neurons, seed=1)
    arguments = peer_arguments(state, often)
    began = time.thread_time_ns()
    steps(*arguments)
    return (time.thread_time_ns() - began) / (often * state.size)


def peer_arguments(state: LifState, often: int) -> tuple[Any, ...]:
    """What a peer is called with for `often` steps of a population with PARAMETERS."""
    p = PARAMETERS
    decay = exp64(-p.dt_ms / p.tau_m_ms)
    numbers = map(np.float32, (decay, p.drive_mv * (1 - decay), p.threshold_mv, p.reset_mv))
    held = np.int8(round(p.refractory_ms / p.dt_ms) + 1)
    return state.v, state.pending, state.refractory, state.spikes, state.size, *numbers, held, np.int64(often)


if __name__ == "__main__":
    main(NAME)
