"""What the benchmarks measure with: peers that do the same work, a looped tape, slopes, the flow of the epochs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks import lif_step, tick_batch
from benchmarks.epoch_cost import flow_seconds
from benchmarks.lif_peers import c_steps, numpy_steps
from benchmarks.memory_growth import LoopedTape, least_by_pass, slopes
from benchmarks.spikes import spike_ranges
from operators.sources.simulator import simulate
from operators.sources.tape import Tape
from operators.spiking.lif import LifPopulation

STEPS = 300


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "tape"
    simulate(out, 20_000, seed=3, symbols=4)
    return out


def test_the_lif_peers_do_the_same_work() -> None:
    """Same spikes in all, same potentials after many steps: what is compared is the same loop."""
    found = c_steps()
    state = lif_step.population_of(1_000, seed=7)
    fired = LifPopulation(lif_step.PARAMETERS).run(state, STEPS)
    ends = [(int(fired.sum()), state.v, state.refractory)]
    for loop in (numpy_steps, *([found[1]] if found else [])):
        state = lif_step.population_of(1_000, seed=7)
        count = loop(*lif_step.peer_arguments(state, STEPS))
        ends.append((int(count), state.v, state.refractory))
    assert ends[0][0] > 1_000  # more than one spike a neuron: reset and refractory time were at work
    for count, v, refractory in ends[1:]:
        assert count == ends[0][0]
        np.testing.assert_array_equal(v, ends[0][1])
        np.testing.assert_array_equal(refractory, ends[0][2])


def test_the_lif_figure_has_a_size_that_time_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lif_step, "SIZES", {"1k": 1_000})
    monkeypatch.setattr(lif_step, "NEURON_STEPS", 20_000_000)
    found = lif_step.measure(lambda _: None)
    assert set(found) == {"lif_step.1k"}
    assert 0.01 < found["lif_step.1k"].value < 20
    assert found["lif_step.1k"].peer_value


def test_the_numpy_network_gives_the_scores_of_the_compiled_one(tape: Path) -> None:
    stages, ranges = spike_ranges(tape, 20_000)
    place, x = max(ranges, key=lambda r: r[1].use.size)
    used = np.flatnonzero(x.use)[:500]
    stage = stages.spiking(place)
    ours = stage.step(stage.start(), x)[1].score[used]
    np.testing.assert_allclose(tick_batch.numpy_scores(stages.model, x, used), ours, rtol=1e-4, atol=1e-5)
    assert np.unique(ours).size > 100


def test_a_looped_tape_goes_on_in_time_and_sequence(tape: Path) -> None:
    once = Tape.open(tape)
    looped = LoopedTape(once, 3)
    day_ns = 86_400 * 10**9
    for p in range(once.partitions):
        rows = once.rows(p)
        assert looped.rows(p) == 3 * rows
        if not rows:
            assert looped.read(p, 0, 1).size == 0
            continue
        first, again = looped.read(p, 0, 100), looped.read(p, rows, 100)
        moved = again["ts_ns"] - first["ts_ns"]
        assert np.unique(moved).size == 1
        assert moved[0] > 0
        assert moved[0] % day_ns == 0
        np.testing.assert_array_equal(again["price"], first["price"])
        symbol = int(first["symbol"][0])
        assert again["seq"][0] - first["seq"][0] == once.manifest.symbols[symbol].rows
        assert looped.read(p, 3 * rows, 1).size == 0
    spans = looped.instruments.sessions["sim"]
    assert all(close <= later for (_, close), (later, _) in pairwise(spans))
    last = max(int(looped.read(p, looped.rows(p) - 1, 1)["ts_ns"][0]) for p in range(once.partitions) if once.rows(p))
    assert any(opens <= last < close for opens, close in spans)


def test_growth_is_the_median_slope_of_the_least_of_each_pass() -> None:
    ticks = np.arange(1, 41) * 50_000
    megabytes = np.tile([9.0, 3.0], 20) + ticks * 2e-6  # swings by 6 MB, grows by 2 MB a million
    least = least_by_pass(ticks, megabytes, 500_000)
    assert least.size == 4
    assert np.median(slopes(least, 500_000)) == pytest.approx(200)  # 2 MB a million: 200 MB per 100 million


def test_epochs_with_recovery_leave_the_state_in_the_store(tmp_path: Path) -> None:
    flow_seconds(3, tmp_path / "store")
    assert sum(f.stat().st_size for f in (tmp_path / "store").iterdir()) > 100 * 65_536
    wall, cpu = flow_seconds(3, None)
    assert wall > 0
    assert cpu > 0
