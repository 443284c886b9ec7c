"""Nanoseconds per tick of the default network (64 inputs, 128 hidden neurons, two read-out heads), a range of ticks at a time.

The input is the spikes of a stretch of the simulated tape as encoder and features make them. The peer is the same network, equation by
equation, in NumPy; both must give the same scores.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.figure import Figure, figure
from benchmarks.place import simulated
from benchmarks.run import main
from benchmarks.spikes import spike_ranges
from operators.spiking import SpikingStage, TickNetwork
from operators.spiking.model import CALM_TICKS, HEAD_WIDTH, HEADS, HIDDEN, READ_ONE
from schemas.ranges import SpikeRange

NAME = "tick_batch"
GOAL_NS = 300
TAPE_TICKS = 200_000
BATCH_TICKS = 131_072
PEER_TICKS = 2_000
RUNS = 7


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark. Raises RuntimeError where the NumPy network gives other scores."""
    stages, ranges = spike_ranges(simulated(TAPE_TICKS, say), BATCH_TICKS)
    stepping = [(stages.spiking(place), x) for place, x in ranges]
    ticks = sum(int(np.count_nonzero(x.use)) for _, x in ranges)
    runs = [_ns_of(stepping) / ticks for _ in range(RUNS + 1)][1:]
    place, largest = max(ranges, key=lambda r: int(np.count_nonzero(r[1].use)))
    peer_ns = [_compared(stages.model, stages.spiking(place), largest, PEER_TICKS) for _ in range(3)]
    spikes = sum(x.spikes.neuron.size for _, x in ranges) / ticks
    fired = sum(int(stage.step(stage.start(), x)[1].hidden_spikes.sum()) for stage, x in stepping) / ticks
    note = (
        f"{ticks:,} ticks of 16 symbols, {spikes:.1f} input and {fired:.1f} hidden spikes each, thread CPU time; goal for any network "
        "up to 256 hidden: under 1000. Not measured: snnTorch and Norse (torch brings gigabytes of CUDA), NEST (no call for one tick); "
        "GOALS, from another machine: 195, 160 and 19 us"
    )
    return {NAME: figure(runs, "ns per tick", "under", GOAL_NS, note, "the same network in NumPy", statistics.median(peer_ns))}


def _ns_of(stepping: list[tuple[SpikingStage, SpikeRange]]) -> int:
    states = [stage.start() for stage, _ in stepping]
    began = time.thread_time_ns()
    for (stage, x), state in zip(stepping, states, strict=True):
        stage.step(state, x)
    return time.thread_time_ns() - began


def _compared(model: TickNetwork, stage: SpikingStage, x: SpikeRange, ticks: int) -> float:
    """ns per tick of the NumPy network over the first ticks, after its scores were compared."""
    used = np.flatnonzero(x.use)[:ticks]
    began = time.thread_time_ns()
    scores = numpy_scores(model, x, used)
    spent = time.thread_time_ns() - began
    ours = stage.step(stage.start(), x)[1].score[used]
    if not np.allclose(scores, ours, rtol=1e-4, atol=1e-5):
        msg = f"the NumPy network differs from the compiled one by up to {np.abs(scores - ours).max()}"
        raise RuntimeError(msg)
    return spent / used.size


def numpy_scores(model: TickNetwork, x: SpikeRange, used: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Scores of the second head at the ticks `used`, by the equations of operators/spiking/model.py, a symbol's state in a dict."""
    states: dict[int, dict[str, Any]] = {}
    tau = model.tau_ns.astype(np.float64)
    w_in, w_read = model.w_in.astype(np.float32), model.w_read.reshape(-1, HEADS, HEAD_WIDTH) / READ_ONE
    group = np.arange(HIDDEN) // (HIDDEN // tau.size)
    calm = np.array([0.0, *[CALM_TICKS] * (HEAD_WIDTH - 1)])
    out = np.empty(used.size)
    for i, t in enumerate(used):
        symbol, ts = int(x.gated.ticks["symbol"][t]), int(x.gated.ticks["ts_ns"][t])
        neurons = x.spikes.neuron[x.spikes.indptr[t] : x.spikes.indptr[t + 1]]
        s = states.get(symbol)
        if s is None:
            zeros = {"v": np.zeros(HIDDEN, np.float32), "r": np.zeros((HEADS, HEAD_WIDTH)), "n": np.zeros(HEAD_WIDTH)}
            s = states[symbol] = {**zeros, "ts": None}
        factor = np.zeros(tau.size) if s["ts"] is None else np.exp(-(ts - s["ts"]) / tau)
        v = np.maximum(s["v"] * factor.astype(np.float32)[group] + w_in[neurons].sum(axis=0), -model.theta)
        fired = v >= model.theta
        s["v"] = np.where(fired, np.float32(0), v)
        leak = np.zeros(HEAD_WIDTH)
        leak[1 : 1 + tau.size] = factor
        said = w_read[neurons].sum(axis=0) + w_read[len(w_in) :][fired].sum(axis=0)
        s["r"] = s["r"] * leak + said
        s["n"] = s["n"] * leak + 1.0
        s["ts"] = ts
        out[i] = (s["r"][1] / (s["n"] + calm))[: 1 + tau.size].sum()
    return out


if __name__ == "__main__":
    main(NAME)
