"""The LIF population step against closed forms (spec/neural-numbers.md, section A)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from operators.spiking.lif import LifParameters, LifPopulation, lif_state


def spike_times(parameters, size, steps, drive=None):
    population, state, times = LifPopulation(parameters), lif_state(size), [[] for _ in range(size)]
    for k in range(1, steps + 1):
        if drive is not None:
            state.pending[:size] = drive(k)
        for i in population.step(state):
            times[i].append(k)
    return times, state


@pytest.mark.parametrize("dt_ms", [0.1, 1.0])
@pytest.mark.parametrize(("drive_mv", "exact_hz"), [(15.0, 62.554), (20.0, 83.812)])
def test_firing_rate_is_the_closed_form_on_the_grid(dt_ms, drive_mv, exact_hz):
    p = LifParameters(drive_mv=drive_mv, dt_ms=dt_ms)
    rise_ms = p.tau_m_ms * math.log(drive_mv / (drive_mv - p.threshold_mv))
    assert 1000 / (p.refractory_ms + rise_ms) == pytest.approx(exact_hz, abs=1e-3)
    interval = round(p.refractory_ms / dt_ms) + math.ceil(rise_ms / dt_ms)
    times, _ = spike_times(p, 3, 6 * interval)
    assert np.all(np.diff(times[0]) == interval)
    assert len(times[0]) >= 5
    assert times[0] == times[2]


def test_no_spike_at_or_below_the_threshold():
    times, state = spike_times(LifParameters(drive_mv=10.0), 1, 5000)
    assert times == [[]]
    assert state.v[0] == pytest.approx(10.0, abs=1e-3)


def test_potential_under_a_step_current_is_the_closed_form():
    p = LifParameters(drive_mv=5.0, dt_ms=0.125)
    _, state = spike_times(p, 1, 40)
    # 40 float32 steps: relative error at most 40 * 3 half places of 6e-8
    assert state.v[0] == pytest.approx(5.0 * (1 - math.exp(-5.0 / 10.0)), rel=7e-6)


def test_input_is_refused_while_refractory_and_taken_once():
    p = LifParameters(threshold_mv=1.0, refractory_ms=0.3, dt_ms=0.1)
    times, _ = spike_times(p, 2, 12, lambda k: np.array([1.5, 1.5 if k == 1 else 0.0], np.float32))
    assert times[0] == [1, 5, 9]  # three silent steps after each
    assert times[1] == [1]


def test_padding_never_fires_and_every_neuron_of_the_population_may():
    p = LifParameters(threshold_mv=1.0, refractory_ms=0.0)
    population, state = LifPopulation(p), lif_state(130)
    state.pending[:] = 2.0
    assert population.step(state).tolist() == list(range(130))
    assert state.v.size == 192


def test_spikes_are_those_of_a_slow_loop():
    p, rng = LifParameters(refractory_ms=0.4, threshold_mv=3.0), np.random.default_rng(2)
    population, state = LifPopulation(p), lif_state(200)
    v, wait = np.zeros(200, np.float32), np.zeros(200, int)
    decay = np.float32(math.exp(-p.dt_ms / p.tau_m_ms))
    for _ in range(300):
        kick = rng.exponential(0.3, 200).astype(np.float32)
        state.pending[:200] = kick
        free = wait == 0
        v = np.where(free, v * decay + kick, np.float32(0))
        fired = free & (v >= np.float32(3.0))
        v[fired] = 0
        wait = np.where(fired, 4, np.maximum(wait - 1, 0))
        assert np.array_equal(population.step(state), np.flatnonzero(fired))


@pytest.mark.parametrize("wrong", [{"tau_m_ms": 0.0}, {"dt_ms": -1.0}, {"reset_mv": 10.0}, {"refractory_ms": 50.0}])
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        LifParameters(**wrong)


def test_many_steps_in_one_call_are_the_same_steps():
    population, one, many = LifPopulation(LifParameters(drive_mv=15.0)), lif_state(100), lif_state(100)
    for state in (one, many):
        state.v[:100] = np.linspace(0, 9, 100)
    counts = [population.step(one).size for _ in range(400)]
    assert population.run(many, 400).tolist() == counts
    assert sum(counts) > 100
    assert one.v.tobytes() == many.v.tobytes()
