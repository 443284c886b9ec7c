"""Spikes back to features: what the code kept, and how much of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from operators.encoding.code import DELTAS, POPULATIONS, Population
from schemas.ranges import SpikeBatch
from schemas.ticks import Ints


def words(spikes: SpikeBatch, population: Population) -> Ints:
    """The word of a population at each tick, int64 (n,): the sum of 2**(neuron - first) over its neurons that spiked."""
    row = np.repeat(np.arange(len(spikes.indptr) - 1), np.diff(spikes.indptr))
    mine = (spikes.neuron >= population.first) & (spikes.neuron < population.first + population.neurons)
    out = np.zeros(len(spikes.indptr) - 1, np.int64)
    np.add.at(out, row[mine], 1 << (spikes.neuron[mine].astype(np.int64) - population.first))
    return out


def estimated_populations(spikes: SpikeBatch) -> npt.NDArray[np.float64]:
    """The estimate of each population's feature at each tick, float64 (n, populations); as if silent where a tick has no spikes."""
    out = np.zeros((len(spikes.indptr) - 1, len(POPULATIONS)))
    for n, p in enumerate(POPULATIONS):
        value = np.zeros(1 << p.neurons)
        for positive in (True, False):
            for state in range(len(p.edges) + 1):
                word = sum(1 << (neuron - p.first) for neuron in p.word(positive, state))
                value[word] = p.value(positive, state)
        out[:, n] = value[words(spikes, p)]
    return out


def estimated_deltas(spikes: SpikeBatch, symbol: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """What the send-on-delta pairs have sent of each tick's symbol since the first tick, float64 (n, pairs)."""
    count = len(spikes.indptr) - 1
    row = np.repeat(np.arange(count), np.diff(spikes.indptr))
    out = np.zeros((count, len(DELTAS)))
    for n, d in enumerate(DELTAS):
        for neuron, step in ((d.first, -d.threshold), (d.first + 1, d.threshold)):
            np.add.at(out[:, n], row[spikes.neuron == neuron], step)
    for s in np.unique(symbol):
        out[symbol == s] = np.cumsum(out[symbol == s], axis=0)
    return out


def kept_information(x: npt.NDArray[np.floating], code: npt.NDArray[np.integer], bins: int) -> float:
    """Mutual information of an input in `bins` equally frequent bins and its code, as a share of the binned input's entropy."""
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1]))
    a = np.searchsorted(edges, x, side="right")
    b = np.unique(code, return_inverse=True)[1]
    joint = np.zeros((len(edges) + 1, int(b.max()) + 1))
    np.add.at(joint, (a, b), 1.0)

    def entropy(counts: npt.NDArray[np.float64]) -> float:
        p = counts[counts > 0] / counts.sum()
        return float(-(p * np.log2(p)).sum())

    of_input = entropy(joint.sum(axis=1))
    if of_input == 0.0:
        return 1.0
    return (of_input + entropy(joint.sum(axis=0)) - entropy(joint.ravel())) / of_input
