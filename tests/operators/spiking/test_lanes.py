"""The network's vectors against the same arithmetic written as loops: to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from operators.spiking.lane_kernels import decay_factors, step_membranes
from operators.spiking.vector_kernels import marked_row_adder, row_summer
from schemas.exact import exp64

_sum_rows = row_summer(128, 16, 16, 32)
_add_marked = marked_row_adder(16, 32)


@njit
def factors(inv_tau, h, factor):
    decay_factors(inv_tau, inv_tau.size, h, factor, 0)


@njit
def sums(table, other, ids, begin, end, out, other_out):
    _sum_rows(table, other, ids, begin, end, out, other_out)


@njit
def marked(table, low, high, out, places):
    return _add_marked(table, 3, low, high, out, places)


@njit
def membranes(v, at, drive, theta, fired, factor):
    return step_membranes(v, at, drive, theta, fired, 32, factor)


@pytest.mark.parametrize("groups", [1, 2, 4, 7])
def test_decay_factors_are_those_of_exp64(groups):
    rng = np.random.default_rng(groups)
    inv_tau = 1.0 / rng.integers(1_000_000, 100_000_000_000, groups).astype(np.float64)
    gaps = [-1, -(2**63), 0, 1, 2**62, *(10 ** rng.uniform(0, 13, 500)).astype(np.int64).tolist(), int(708.0 / inv_tau[0])]
    for h in gaps:
        got = np.full(8, np.nan)
        factors(inv_tau, h, got)
        want = [0.0, *(exp64(-h * x) if h >= 0 else 0.0 for x in inv_tau), *[0.0] * (7 - groups)]
        assert got.tolist() == want, h


@pytest.mark.parametrize("count", [0, 1, 7, 64])
def test_sums_of_rows(count):
    rng = np.random.default_rng(count)
    table = rng.integers(-511, 512, (64, 128)).astype(np.int16)
    other = rng.integers(-(2**23), 2**23, (192, 16)).astype(np.int32)
    ids = rng.permutation(64)[:count].astype(np.uint16)
    padded = np.concatenate([np.full(2, 5, np.uint16), ids, np.full(3, 6, np.uint16)])
    out, other_out = np.full(128, 9, np.int16), np.full(16, 9, np.int32)
    sums(table, other, padded, 2, 2 + count, out, other_out)
    assert np.array_equal(out, table[ids].sum(0))
    assert np.array_equal(other_out, other[ids].sum(0))


@pytest.mark.parametrize("low", [0, 1, 2**63, 2**64 - 1, 0x8000_0000_F000_0010])
@pytest.mark.parametrize("high", [0, 1, 2**63, 2**64 - 1, 0x0200_4000_0000_0001])
def test_rows_of_marked_places(low, high):
    table = np.random.default_rng(1).integers(-(2**20), 2**20, (192, 16)).astype(np.int32)
    out, places = np.arange(16, dtype=np.int32), np.full(130, -1, np.int64)
    wanted = [k for k in range(128) if (high << 64 | low) >> k & 1]
    assert marked(table, np.uint64(low), np.uint64(high), out, places) == len(wanted)
    assert places[: len(wanted)].tolist() == wanted
    assert np.all(places[len(wanted) :] == -1)
    assert np.array_equal(out, np.arange(16) + table[[3 + k for k in wanted]].sum(0))


def test_membranes_leak_fire_and_stay_above_the_floor():
    rng = np.random.default_rng(2)
    v, theta = rng.normal(0, 300, (2, 128)).astype(np.float32), rng.uniform(50, 400, 128).astype(np.float32)
    drive, fired = rng.integers(-600, 600, 128).astype(np.int16), np.full(128, 7, np.uint8)
    v[1, 40], drive[40] = 0.0, 100
    theta[40] = 100.0  # reached exactly: it fires
    before, part, factor = v.copy(), slice(32, 64), 0.8125731
    word = membranes(v, 128 + 32, drive, theta, fired, factor)
    potential = np.maximum(before[1, part] * np.float32(factor) + drive[part].astype(np.float32), -theta[part])
    spike = potential >= theta[part]
    assert spike[8]
    assert 5 < spike.sum() < 28
    assert (potential == -theta[part]).any()
    assert np.array_equal(v[1, part], np.where(spike, np.float32(0), potential))
    assert word == sum(1 << k for k in np.flatnonzero(spike).tolist())
    assert np.array_equal(fired[part], spike)
    v[1, part] = before[1, part]
    assert np.array_equal(v, before)
    assert np.all(np.delete(fired, np.arange(32, 64)) == 7)
