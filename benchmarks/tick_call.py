"""Microseconds of one tick through the default network, called from Python: half of the calls take less than p50, 99% less than p99.

The time of `perf_counter_ns` around each call is in it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.figure import Figure, figure
from benchmarks.place import simulated
from benchmarks.run import main
from benchmarks.spikes import spike_ranges
from operators.spiking import infer_tick
from operators.spiking.stage import network_arguments, network_scratch, network_state, state_arguments

NAME = "tick_call"
GOALS_US = {"p50": 2, "p99": 3}
TAPE_TICKS = 200_000
BATCH_TICKS = 131_072
CALLS = 20_000
RUNS = 7


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark."""
    stages, ranges = spike_ranges(simulated(TAPE_TICKS, say), BATCH_TICKS)
    place, x = max(ranges, key=lambda r: int(np.count_nonzero(r[1].use)))
    used = np.flatnonzero(x.use)[:CALLS]
    symbols = place.local[x.gated.ticks["symbol"][used]].tolist()
    times = x.gated.ticks["ts_ns"][used].tolist()
    inputs = [x.spikes.neuron[x.spikes.indptr[t] : x.spikes.indptr[t + 1]] for t in used]
    model = network_arguments(stages.model)
    runs = [_call_us(list(zip(symbols, times, inputs, strict=True)), model, len(place.symbols)) for _ in range(RUNS + 1)][1:]
    empty = statistics.median(_call_us([], model, 1) for _ in range(3))
    out = {}
    for part, goal in GOALS_US.items():
        values = [float(np.quantile(r, float(part[1:]) / 100)) for r in runs]
        worst = max(float(r.max()) for r in runs)
        note = f"{used.size:,} calls a run, wall time, the slowest of all {worst:.0f} us; the clock itself takes {empty:.2f} us of it"
        out[f"{NAME}.{part}"] = figure(values, "us", "at most", goal, note)
    return out


def _call_us(calls: list[tuple[int, int, Any]], model: tuple[Any, ...], symbols: int) -> Any:
    """Microseconds of each call; without calls, those of the clock alone."""
    state, scratch = state_arguments(network_state(symbols)), network_scratch()
    clock = time.perf_counter_ns
    took = np.empty(max(len(calls), 1))
    for i, (symbol, ts_ns, inputs) in enumerate(calls):
        began = clock()
        infer_tick(symbol, ts_ns, inputs, model, state, scratch)
        took[i] = clock() - began
    if not calls:
        return float(np.median([-(clock() - clock()) for _ in range(1000)])) / 1e3
    return took / 1e3


if __name__ == "__main__":
    main(NAME)
