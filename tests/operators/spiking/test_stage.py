"""The tick network: against its equations written out slowly, in any cut, mirrored, forgetting, and on other instruction sets."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from operators.spiking import SpikingStage, infer_tick
from operators.spiking.model import CALM_TICKS, HEAD_WIDTH, READ_ONE
from operators.spiking.stage import network_arguments, network_scratch, network_state, state_arguments

ROOT = Path(__file__).resolve().parents[3]


def run(spikes, network, ends, forget=False):
    stage = SpikingStage(spikes.place, network, forget)
    state, outs = stage.start(), []
    for x in spikes.cut(ends):
        state, y = stage.step(state, x)
        outs.append(y)
    return state, [np.concatenate([getattr(y, k) for y in outs]) for k in ("score", "score_now", "input_spikes", "hidden_spikes")]


def slow_network(spikes, network, forget=False):
    """The equations of operators/spiking/model.py in double precision, with a trace for every neuron."""
    groups = network.tau_ns.size
    tau = np.repeat(network.tau_ns, 128 // groups)
    w_read = network.w_read.astype(float) / READ_ONE
    v, trace, n, last = np.zeros((3, 128)), np.zeros((3, groups + 1, 192)), np.zeros((3, groups + 1)), [None] * 3
    scores, hidden = np.zeros((len(spikes.ticks), 2)), np.zeros(len(spikes.ticks), int)
    now = np.zeros((3, 2))
    for t, tick in enumerate(spikes.ticks):
        s = tick["symbol"]
        if spikes.use[t]:
            h = np.inf if last[s] is None or forget else float(tick["ts_ns"] - last[s])
            last[s] = tick["ts_ns"]
            ids = spikes.neuron[spikes.indptr[t] : spikes.indptr[t + 1]]
            v[s] = np.maximum(v[s] * np.exp(-h / tau) + network.w_in[ids].astype(float).sum(0), -network.theta)
            z = v[s] >= network.theta
            v[s][z] = 0.0
            fade = np.r_[0.0, np.exp(-h / network.tau_ns)]
            both = np.zeros(192)
            both[ids] = 1.0
            both[64:] = z
            trace[s] = trace[s] * fade[:, None] + both
            n[s] = n[s] * fade + 1.0
            for head in range(2):
                columns = w_read[:, head * HEAD_WIDTH : head * HEAD_WIDTH + groups + 1]
                now[s, head] = sum(trace[s, g] @ columns[:, g] / (n[s, g] + (CALM_TICKS if g else 0)) for g in range(groups + 1))
            hidden[t] = z.sum()
        scores[t] = now[s]
    return scores, hidden


def test_scores_and_spikes_are_those_of_the_equations(spikes, network):
    slow, hidden = slow_network(spikes, network)
    _, (score, now, inputs, spiked) = run(spikes, network, [spikes.end])
    assert np.array_equal(spiked, hidden)
    assert 0.02 < spiked.mean() / 128 < 0.6
    # scores are float32 of sums of up to 146 terms below 4: float32's last place there is 1e-6
    assert np.abs(score - slow[:, 1]).max() < 4e-6
    assert np.abs(now - slow[:, 0]).max() < 4e-6
    assert np.array_equal(inputs, np.diff(spikes.indptr))


def test_cut_anywhere_gives_the_same_bits(spikes, network):
    state, whole = run(spikes, network, [spikes.end])
    cuts = [
        sorted({*np.random.default_rng(4).integers(spikes.slices[0], spikes.end, 50).tolist(), spikes.end}),
        sorted({*(spikes.slices + 1).tolist()}),
    ]
    for cut in cuts:
        other_state, parts = run(spikes, network, cut)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(whole, parts, strict=True))
        assert pickle.dumps(state) == pickle.dumps(other_state)


def test_snapshot_in_the_middle_resumes_bit_for_bit(spikes, network):
    middle = int(spikes.slices[1500])
    first, second = spikes.cut([middle, spikes.end])
    stage = SpikingStage(spikes.place, network)
    state, _ = stage.step(stage.start(), first)
    kept = pickle.loads(pickle.dumps(state))
    state, after = stage.step(state, second)
    resumed, again = SpikingStage(spikes.place, network).step(kept, second)
    assert after.score.tobytes() == again.score.tobytes()
    assert pickle.dumps(state) == pickle.dumps(resumed)


def test_one_long_gap_decays_like_many_short_ones(network):
    # the same silence seen as one gap or as 1,000: only the potentials of neurons that are not driven, so no input spikes
    silent = np.zeros(0, np.uint16)
    drive = np.arange(0, 64, 7).astype(np.uint16)
    potentials = []
    for parts in (1, 1000):
        state = network_state(1)
        call = (network_arguments(network), state_arguments(state), network_scratch())
        infer_tick(0, 0, drive, *call)
        for k in range(1, parts + 1):
            infer_tick(0, k * 50_000_000 // parts, silent, *call)
        potentials.append(state["v"].copy())
    # 1,000 float32 products: relative error at most 1,000 half places of 6e-8
    assert np.abs(potentials[0] - potentials[1]).max() <= 6e-5 * np.abs(potentials[0]).max()
    assert np.abs(potentials[0]).max() > 1.0


def test_mirrored_input_gives_the_negated_score(spikes, network):
    mirrored = type(spikes)(spikes.place, spikes.ticks, spikes.use, spikes.indptr, (spikes.neuron ^ 1).astype(np.uint16))
    _, (score, now, _, hidden) = run(spikes, network, [spikes.end])
    _, (back, back_now, _, back_hidden) = run(mirrored, network, [spikes.end])
    assert np.array_equal(score, -back)
    assert np.array_equal(now, -back_now)
    assert np.array_equal(hidden, back_hidden)
    assert np.abs(score).max() > 1


def test_forgetting_leaves_each_tick_alone(spikes, network):
    slow, hidden = slow_network(spikes, network, forget=True)
    _, (score, _, _, spiked) = run(spikes, network, [spikes.end], forget=True)
    assert np.array_equal(spiked, hidden)
    assert np.abs(score - slow[:, 1]).max() < 4e-6
    _, (kept, _, _, _) = run(spikes, network, [spikes.end])
    assert not np.array_equal(score, kept)


def test_one_tick_called_alone_gives_the_score_of_the_batch(spikes, network):
    _, (score, _, _, _) = run(spikes, network, [spikes.end])
    state = network_state(3)
    call = (network_arguments(network), state_arguments(state), network_scratch())
    for t in np.flatnonzero(spikes.use)[:500]:
        tick = spikes.ticks[t]
        got = infer_tick(int(tick["symbol"]), int(tick["ts_ns"]), spikes.neuron[spikes.indptr[t] : spikes.indptr[t + 1]], *call)
        assert got == score[t]


def test_empty_range_changes_nothing(spikes, network):
    stage = SpikingStage(spikes.place, network)
    state, y = stage.step(stage.start(), spikes.cut([5])[0])
    assert y.score.size == 0
    assert pickle.dumps(state) == pickle.dumps(stage.start())


@pytest.mark.parametrize("cpu", ["haswell", "x86-64-v2", "boundscheck"])
def test_scores_have_the_same_bits_on_every_instruction_set_and_with_bounds_checked(cpu, tmp_path):
    code = (
        "import importlib.util, sys\n"
        "def load(name, file):\n"
        "    spec = importlib.util.spec_from_file_location(name, file)\n"
        "    module = importlib.util.module_from_spec(spec)\n"
        "    sys.modules[name] = module\n"
        "    spec.loader.exec_module(module)\n"
        "    return module\n"
        f"c = load('tests_spiking_conftest', {str(Path(__file__).with_name('conftest.py'))!r})\n"
        f"t = load('tests_spiking_stage', {__file__!r})\n"
        "import hashlib\n"
        "out = t.run(c.make_input(7), c.make_network(7), [2**40])[1]\n"
        "print(hashlib.sha256(b''.join(x.tobytes() for x in out)).hexdigest())\n"
    )
    digests = []
    for name in (None, cpu):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        if name == "boundscheck":
            env |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
        elif name:
            env |= {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
        digests.append(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout)
    assert len(digests[0]) == 65
    assert digests[0] == digests[1]
