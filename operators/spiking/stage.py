"""The network as a stage: input spikes of a range of slices to scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.spiking import kernels
from operators.spiking.model import HEAD_WIDTH, HEADS, HIDDEN, NEVER, READ_ONE, TickNetwork
from operators.timeline.stage import Migration, ShardPlace, State
from schemas.ranges import ScoreRange, SpikeRange


def network_arguments(model: TickNetwork) -> tuple[Any, ...]:
    """The model as the kernels take it: (w_in, theta, inv_tau, w_read, scale)."""
    return (
        np.ascontiguousarray(model.w_in),
        np.ascontiguousarray(model.theta),
        1.0 / model.tau_ns.astype(np.float64),
        np.ascontiguousarray(model.w_read),
        1.0 / READ_ONE,
    )


def network_scratch() -> npt.NDArray[np.uint8]:
    """Working memory of the kernels. Holds nothing between ticks."""
    return np.zeros(kernels.SCRATCH_BYTES, np.uint8)


def network_state(symbols: int) -> State:
    """The state of `symbols` symbols before their first tick, as in the table of operators/spiking/model.py."""
    return {
        "v": np.zeros((symbols, HIDDEN), np.float32),
        "r": np.zeros((symbols, HEADS * HEAD_WIDTH)),
        "n": np.zeros((symbols, HEAD_WIDTH)),
        "last_ns": np.full(symbols, NEVER, np.int64),
        "score": np.zeros((symbols, HEADS), np.float32),
    }


def state_arguments(state: State) -> tuple[Any, ...]:
    """The state as the kernels take it: (v, r, n, last_ns, score); the same memory."""
    return state["v"], state["r"], state["n"], state["last_ns"], state["score"]


class SpikingStage:
    """Runs the network over ranges. `forget`: each tick finds the state as at the start (to show what memory is worth)."""

    version = 1
    migrations: Mapping[int, Migration] = {}

    def __init__(self, place: ShardPlace, model: TickNetwork, forget: bool = False) -> None:
        self._place = place
        self._forget = forget
        self._model = network_arguments(model)
        self._scratch = network_scratch()

    def start(self) -> State:
        return network_state(len(self._place.symbols))

    def step(self, state: State, x: SpikeRange) -> tuple[State, ScoreRange]:
        count = x.use.size
        score, now = np.empty(count, np.float32), np.empty(count, np.float32)
        inputs, hidden = np.empty(count, np.uint16), np.empty(count, np.uint16)
        if count:
            kernels.run_ticks(
                x.gated.ticks, x.use, x.spikes.indptr, x.spikes.neuron, self._place.local, self._model, state_arguments(state),
                self._scratch, self._forget, score, now, inputs, hidden,
            )  # fmt: skip
        return state, ScoreRange(x.gated, x.use, score, inputs, hidden, now)
