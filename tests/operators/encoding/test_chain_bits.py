"""Gate, features and encoder together: the same bits wherever ranges are cut, after a snapshot, and on every CPU."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
MADE_TAPE = Path(__file__).resolve().parent / "made_tape.py"


def script_digest(**env: str) -> str:
    """What the made tape prints in a process of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, str(MADE_TAPE)], env={**inherited, "PYTHONPATH": str(ROOT), **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def whole(made):
    return made.digest(made.run_chain(made.place_of(1500 * made.MS), *made.made_ticks(4000, 5)))


def test_the_made_tape_has_everything_in_it(made):
    ticks, slices = made.made_ticks(4000, 5)
    gated, featured, spiked, _ = made.run_chain(made.place_of(1500 * made.MS), ticks, slices)
    reasons = np.unique(np.concatenate([r.a["reason"] for r in gated[0].rows if r.table == "dead_letters"]))
    assert set(reasons) >= {1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14}
    bits = np.bitwise_or.reduce(gated[0].gate)
    assert bits == 0b10111111  # all but CROSSED, which needs the setting
    assert 0.2 < featured[0].use.mean() < 0.95
    assert spiked[0].spikes.neuron.size > 5000
    assert np.unique(spiked[0].spikes.neuron).size > 55


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ranges_cut_anywhere_give_the_same_bits(made, whole, seed):
    ticks, slices = made.made_ticks(4000, 5)
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(slices[0], slices[-1] + 2, 40))  # repeated cuts: empty ranges
    assert made.digest(made.run_chain(made.place_of(1500 * made.MS), ticks, slices, cuts)) == whole


def test_one_slice_at_a_time_gives_the_same_bits(made, whole):
    ticks, slices = made.made_ticks(4000, 5)
    assert np.unique(slices).size > 2000
    assert made.digest(made.run_chain(made.place_of(1500 * made.MS), ticks, slices, np.unique(slices)[1:])) == whole


def test_a_pickled_state_goes_on_as_if_nothing_had_been(made):
    place = made.place_of(1500 * made.MS)
    ticks, slices = made.made_ticks(4000, 5)
    middle = int(slices[2000])
    gate, features, encoder = made.QualityStage(place), made.FeatureStage(place), made.EncodingStage(place)
    a, lo, hi = int(np.searchsorted(slices, middle)), int(slices[0]), int(slices[-1]) + 1
    states = [gate.start(), features.start(), encoder.start()]

    def on(states, lo, hi, ticks, slices):
        states = list(states)
        states[0], (g, leads) = gate.step(states[0], (lo, hi, ticks, slices))
        states[1], f = features.step(states[1], (g, leads))
        states[2], e = encoder.step(states[2], f)
        return states, f.x.tobytes() + g.gate.tobytes() + e.spikes.neuron.tobytes()

    states, _ = on(states, lo, middle, ticks[:a], slices[:a])
    kept = pickle.loads(pickle.dumps(copy.deepcopy(states)))
    after, out = on(states, middle, hi, ticks[a:], slices[a:])
    again, out_again = on(kept, middle, hi, ticks[a:], slices[a:])
    assert out == out_again
    for x, y in zip(after, again, strict=True):
        assert x.keys() == y.keys()
        assert all(np.array_equal(x[k], y[k]) for k in x)


@pytest.mark.parametrize("cpu", ["haswell", "x86-64-v2"])
def test_other_cpus_give_the_same_bits(whole, cpu, tmp_path):
    assert script_digest(NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=str(tmp_path)) == whole


def test_no_kernel_reads_or_writes_out_of_bounds(whole, tmp_path):
    assert script_digest(NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path)) == whole


def test_changed_later_ticks_change_nothing_before(made):
    place = made.place_of(1500 * made.MS)
    ticks, slices = made.made_ticks(3000, 7)
    _, first, spikes, _ = made.run_chain(place, ticks, slices)
    at = int(slices[1500])
    changed = ticks.copy()
    later = slices >= at
    changed["price"][later] += 7
    changed["ask"][later] += np.where(changed["ask"][later] > 0, 9, 0)
    changed["size"][later] += 3
    _, second, spikes2, _ = made.run_chain(place, changed, slices)
    n = int((first[0].gated.slices < at).sum())
    assert n > 1000
    assert n == int((second[0].gated.slices < at).sum())
    assert np.array_equal(first[0].x[:n], second[0].x[:n])
    assert not np.array_equal(first[0].x[n : n + 200], second[0].x[n : n + 200])
    end = spikes[0].spikes.indptr[n]
    assert end == spikes2[0].spikes.indptr[n]
    assert np.array_equal(spikes[0].spikes.neuron[:end], spikes2[0].spikes.neuron[:end])


@pytest.mark.parametrize("room", ["quality", "features", "encoding"])
def test_the_pure_part_of_a_room_never_imports_bytewax(room):
    code = f"import sys, operators.{room}; sys.exit('bytewax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
