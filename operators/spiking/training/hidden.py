"""The hidden layer before training: seeded sparse weights in mirrored pairs, and thresholds set by how often a neuron should fire.

Block g of H / G neurons has the membrane constant tau_ns[g]; its first half is drawn, its second half is the mirror image:
w_in[MIRROR[i], pair(j)] = w_in[i, j], theta the same, so that a mirrored market swaps the two.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from operators.encoding import INPUTS, MIRROR
from operators.spiking.model import HEAD_WIDTH, HEADS, HIDDEN, SHARES_E2, WEIGHT_MAX, TickNetwork
from operators.spiking.stage import network_arguments, network_scratch, network_state, state_arguments
from operators.spiking.training.prepare import Prepared
from operators.spiking.training.trace_kernels import record_spikes
from schemas.exact import normal_quantile, uniform64
from schemas.ticks import Ints

TAU_NS = (20_000_000, 500_000_000, 5_000_000_000, 25_000_000_000)
"""Time constants of membranes and traces: from within a burst of updates to how long an order flow pushes."""
FAN_IN = 12
RATES = (0.04, 0.2)
"""Lowest and highest share of ticks at which a hidden neuron is set to fire."""


def pair_of(groups: int) -> npt.NDArray[np.int64]:
    """int64 (HIDDEN,): the hidden neuron that a hidden neuron becomes when the market is mirrored."""
    width = HIDDEN // groups
    j = np.arange(HIDDEN)
    inside = j % width
    return j - inside + (inside + width // 2) % width


def mirrored_layer(drawn: npt.NDArray[np.floating], groups: int) -> npt.NDArray[np.int16]:
    """Input weights int16 (INPUTS, HIDDEN) of which the first half of each block is `drawn` (INPUTS, HIDDEN) and the rest its mirror."""
    w = np.clip(np.rint(drawn), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int16)
    pair = pair_of(groups)
    second = np.arange(HIDDEN) % (HIDDEN // groups) >= HIDDEN // groups // 2
    mirrored = w[MIRROR][:, pair]
    return np.ascontiguousarray(np.where(second, mirrored, w))


def drawn_network(seed: int) -> TickNetwork:
    """A network with drawn input weights (FAN_IN inputs each, normal), thresholds of a typical tick, and a silent read-out."""
    groups = len(TAU_NS)
    weights = np.zeros((INPUTS, HIDDEN))
    for j in range(HIDDEN):
        order = np.argsort([uniform64(seed, 2 * j, i) for i in range(INPUTS)])
        for i in order[:FAN_IN]:
            weights[i, j] = 100.0 * normal_quantile(uniform64(seed, 2 * j + 1, i))
    return TickNetwork(
        mirrored_layer(weights, groups),
        np.full(HIDDEN, 300.0, np.float32),
        np.array(TAU_NS, np.int64),
        np.zeros((INPUTS + HIDDEN, HEADS * HEAD_WIDTH), np.int32),
        np.array([[[0.0, 1.0], [0.5, 0.5]]]),
        np.zeros((1, 2, HEADS, len(SHARES_E2))),
        (),
        {},
    )


def hidden_spikes(data: Prepared, model: TickNetwork, forget: bool = False) -> tuple[Ints, npt.NDArray[np.uint8]]:
    """Hidden spikes of each tick as compressed rows: int64 (n + 1,), uint8 (m,)."""
    room = 16 * data.ticks.size + HIDDEN
    while True:
        h_indptr, h_neuron = np.zeros(data.ticks.size + 1, np.int64), np.empty(room, np.uint8)
        state = network_state(len(data.place.symbols))
        done = record_spikes(
            data.ticks, data.use, data.indptr, data.neuron, data.place.local, network_arguments(model), state_arguments(state),
            network_scratch(), forget, h_indptr, h_neuron,
        )  # fmt: skip
        if done == data.ticks.size:
            return h_indptr, h_neuron[: h_indptr[-1]]
        room *= 2


def with_thresholds(data: Prepared, model: TickNetwork, seed: int, forget: bool = False, rounds: int = 12) -> TickNetwork:
    """The model with thresholds at which each pair fires at its drawn rate on `data`: rounds of theta *= (rate / wanted) ** power."""
    pair = pair_of(model.tau_ns.size)
    wanted = np.array([RATES[0] * (RATES[1] / RATES[0]) ** uniform64(seed, 10_000 + min(j, int(pair[j])), 0) for j in range(HIDDEN)])
    ticks = max(int(data.use.sum()), 1)
    theta = model.theta.astype(np.float64)
    for k in range(rounds):
        model = replace(model, theta=theta.astype(np.float32))
        _, neuron = hidden_spikes(data, model, forget)
        count = np.bincount(neuron, minlength=HIDDEN).astype(np.float64)
        rate = (count + count[pair] + 1.0) / (2.0 * ticks)
        theta = np.clip(theta * np.clip(rate / wanted, 0.2, 5.0) ** (0.5 if k < rounds // 2 else 0.3), 1.0, 1e7)
    return replace(model, theta=theta.astype(np.float32))
