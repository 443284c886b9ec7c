"""A small network and random input spikes for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from operators.spiking import TickNetwork
from operators.timeline.stage import ShardPlace, shard_places
from schemas.instruments import Instrument, InstrumentList
from schemas.ranges import GatedRange, SpikeBatch, SpikeRange
from schemas.settings import Settings
from schemas.ticks import QUOTE, TICK_V1

MIRROR = np.arange(64).reshape(-1, 2)[:, ::-1].ravel()


def make_network(seed: int = 1) -> TickNetwork:
    """Random weights in mirrored pairs (input i mirrors i ^ 1), four time constants, both heads."""
    rng = np.random.default_rng(seed)
    pair = np.arange(128).reshape(4, 2, 16)[:, ::-1].ravel()
    w = rng.integers(-200, 201, (64, 128)).astype(np.int16)
    second = np.arange(128) % 32 >= 16
    w = np.where(second, w[MIRROR][:, pair], w)
    theta = rng.uniform(150, 900, 128)
    theta = np.where(second, theta[pair], theta).astype(np.float32)
    read = np.zeros((192, 16), np.int32)
    read[:, [0, 1, 2, 3, 4, 8, 9, 10, 11, 12]] = rng.integers(-60_000, 60_000, (192, 10))
    mirror = np.concatenate([MIRROR, 64 + pair])
    read = np.where((np.arange(192) < mirror)[:, None], read, -read[mirror])
    calibration = np.array([[[0.0, 0.5, 2.0], [0.5, 0.6, 0.8]]] * 3)
    thresholds = np.tile(np.array([2.0, 1.0, 0.5, 0.0]), (3, 2, 2, 1))
    tau = np.array([20e6, 200e6, 2e9, 20e9], np.int64)
    return TickNetwork(w, theta, tau, read.astype(np.int32), calibration, thresholds, ("S0", "S1"), {"seed": seed})


@dataclass
class Input:
    """Input spikes of n ticks, to be cut at slices."""

    place: ShardPlace
    ticks: np.ndarray
    use: np.ndarray
    indptr: np.ndarray
    neuron: np.ndarray

    @property
    def slices(self) -> np.ndarray:
        return self.ticks["ts_ns"] // self.place.settings.slice_ns

    def cut(self, ends: list[int]) -> list[SpikeRange]:
        ranges, lo = [], 0
        for hi in ends:
            a, b = (int(k) for k in np.searchsorted(self.slices, [lo, hi]))
            gated = GatedRange(0, lo, hi, self.ticks[a:b], self.slices[a:b], np.zeros(b - a, np.uint8), (), b - a, 0)
            first = self.indptr[a]
            batch = SpikeBatch(self.indptr[a : b + 1] - first, self.neuron[first : self.indptr[b]])
            ranges.append(SpikeRange(gated, self.use[a:b], batch))
            lo = hi
        return ranges

    @property
    def end(self) -> int:
        return int(self.slices[-1]) + 1


def make_input(seed: int = 1, count: int = 3000) -> Input:
    """Ticks of three symbols, many at the same time, with 0 to 18 input spikes each."""
    rng = np.random.default_rng(seed)
    names = ("S0", "S1", "S2")
    instruments = InstrumentList(
        instruments=tuple(Instrument(symbol=n, price_exponent=2, size_exponent=0, tick_size=1, lot_size=1) for n in names)
    )
    place = next(iter(shard_places(instruments, Settings(shards=1)).values()))
    ticks = np.zeros(count, TICK_V1)
    ticks["ts_ns"] = 10**18 + np.cumsum(rng.exponential(30e6, count).astype(np.int64) * (rng.random(count) < 0.7))
    ticks["symbol"] = rng.integers(0, 3, count)
    ticks["kind"] = QUOTE
    use = (rng.random(count) < 0.95).astype(np.uint8)
    degree = np.where(use > 0, rng.integers(0, 19, count), 0)
    neuron = np.concatenate([np.sort(rng.choice(64, d, replace=False)) for d in degree]).astype(np.uint16)
    return Input(place, ticks, use, np.r_[0, np.cumsum(degree)], neuron)


@pytest.fixture
def network() -> TickNetwork:
    return make_network()


@pytest.fixture
def spikes() -> Input:
    return make_input()
