"""The code: which neurons spike for what, mirrored, inverted, how much it keeps, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.encoding import (
    DELTAS,
    INPUTS,
    MIRROR,
    NEURON_NAMES,
    POPULATIONS,
    EncodingError,
    EncodingStage,
    estimated_deltas,
    estimated_populations,
    kept_information,
    words,
)
from schemas.features import FEATURE_LIMIT, FEATURE_NAMES, FEATURE_PARITY
from schemas.ranges import FeatureRange, GatedRange
from schemas.ticks import TICK_V1

COLUMN = {name: i for i, name in enumerate(FEATURE_NAMES)}


def encode(made, x, use=None, symbol=None):
    x = np.asarray(x, np.float32)
    ticks = np.zeros(len(x), TICK_V1)
    ticks["symbol"] = 0 if symbol is None else symbol
    slices = np.arange(len(x))
    gated = GatedRange(0, 0, len(x), ticks, slices, np.zeros(len(x), np.uint8), (), len(x), 0)
    stage = EncodingStage(made.place_of())
    use = np.ones(len(x), np.uint8) if use is None else np.asarray(use, np.uint8)
    return stage.step(stage.start(), FeatureRange(gated, x, use))[1].spikes


def rows_of(spikes):
    return [list(r) for r in np.split(spikes.neuron, spikes.indptr[1:-1])]


def random_x(count, seed, step=0.3):
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, step, (count, len(FEATURE_NAMES))), axis=0)
    walk = np.abs((walk + FEATURE_LIMIT) % (4 * FEATURE_LIMIT) - 2 * FEATURE_LIMIT) - FEATURE_LIMIT  # reflected into the limits
    return np.clip(walk, -FEATURE_LIMIT, FEATURE_LIMIT).astype(np.float32)


def test_sixty_four_neurons_each_with_one_meaning():
    taken = [n for p in POPULATIONS for n in range(p.first, p.first + p.neurons)] + [n for d in DELTAS for n in (d.first, d.first + 1)]
    assert sorted(taken) == list(range(INPUTS))
    assert len(set(NEURON_NAMES)) == INPUTS
    assert np.array_equal(MIRROR[MIRROR], np.arange(INPUTS))


CASES = [
    ("nothing near 0", "imbalance", 0.15, []),
    ("first field", "imbalance", 0.16, ["imbalance +1"]),
    ("two fields overlap", "imbalance", 0.4, ["imbalance +1", "imbalance +2"]),
    ("second field", "imbalance", 0.6, ["imbalance +2"]),
    ("last field is open", "imbalance", 3.0, ["imbalance +3"]),
    ("below", "imbalance", -0.4, ["imbalance -2", "imbalance -1"]),
    ("coarse", "return_fast", -0.5, ["return_fast -2", "return_fast -1"]),
    ("one side only", "persistence", -1.0, []),
    ("persistence", "persistence", 1.0, ["persistence +1"]),
    ("an event", "trade_side", 1.0, ["trade_side +1"]),
    ("its mirror image", "mid_step", -1.0, ["mid_step -1"]),
    ("one step up", "microprice", 0.6, ["microprice rises"]),
    ("one step a tick at most", "microprice", -3.0, ["microprice falls"]),
]


@pytest.mark.parametrize(("feature", "value", "names"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_who_spikes_for_a_value(made, feature, value, names):
    x = np.zeros((1, len(FEATURE_NAMES)))
    x[0, COLUMN[feature]] = value
    assert [NEURON_NAMES[n] for n in encode(made, x).neuron] == names


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.sampled_from([0.05, 0.5, 3.0]))
def test_mirrored_features_make_mirrored_spikes(made, seed, step):
    x = random_x(200, seed, step)
    x[::7] = np.round(x[::7] * 32) / 32  # on the edges of cells
    plain, mirrored = encode(made, x), encode(made, x * FEATURE_PARITY)
    assert np.array_equal(plain.indptr, mirrored.indptr)
    assert [sorted(MIRROR[r]) for r in rows_of(plain)] == [sorted(r) for r in rows_of(mirrored)]


def test_rows_ascend_without_repeats(made):
    assert all(r == sorted(set(r)) for r in rows_of(encode(made, random_x(500, 1))))


def test_ticks_not_in_use_are_silent_and_move_nothing(made):
    x = random_x(300, 2)
    use = np.random.default_rng(0).integers(0, 2, 300)
    spikes = encode(made, x, use)
    assert not np.diff(spikes.indptr)[use == 0].any()
    assert np.array_equal(spikes.neuron, encode(made, x[use == 1]).neuron)


def test_estimate_of_populations_is_within_its_word(made):
    x = random_x(4000, 3)
    estimate = estimated_populations(encode(made, x))
    for n, p in enumerate(POPULATIONS):
        true = x[:, COLUMN[p.feature]].astype(float)
        inside = np.abs(true) < p.edges[-1]
        if not p.both_sides:
            inside &= true >= 0
        widest = max(np.diff((0.0, *p.edges)).max(), p.edges[0]) if p.both_sides else np.diff((0.0, *p.edges)).max()
        assert np.abs(estimate[inside, n] - true[inside]).max() <= widest, p.feature
        assert np.corrcoef(estimate[:, n], np.clip(true, -p.edges[-1], p.edges[-1]))[0, 1] > 0.8 if p.both_sides else True


def test_sent_deltas_follow_slow_features_within_a_threshold_per_symbol(made):
    x = random_x(3000, 4, step=0.02)
    symbol = np.random.default_rng(0).integers(0, 4, 3000)
    for s in range(4):
        x[symbol == s] = random_x(int((symbol == s).sum()), 10 + s, step=0.02)
    start = np.flatnonzero(np.isin(np.arange(3000), [np.flatnonzero(symbol == s)[0] for s in range(4)]))
    x[start] = 0
    sent = estimated_deltas(encode(made, x, symbol=symbol), symbol)
    settled = np.arange(3000) > 400
    for n, d in enumerate(DELTAS):
        assert np.abs(sent[settled, n] - x[settled, COLUMN[d.feature]]).max() < d.threshold + 1e-6, d.feature


KEPT_OF = {
    "gaussian": lambda rng, n: rng.normal(0, 0.5 * np.sqrt(np.pi / 2), n),
    "laplace": lambda rng, n: rng.laplace(0, 0.5, n),
    "uniform": lambda rng, n: rng.uniform(-1, 1, n),
}


@pytest.mark.parametrize("distribution", KEPT_OF)
def test_populations_keep_over_eighty_percent_of_the_input_entropy(made, distribution):
    """Scaled features have a mean size of one half. The input is binned as finely as a population has neurons (frequency bins)."""
    rng = np.random.default_rng(5)
    x = np.clip(KEPT_OF[distribution](rng, (40_000, len(FEATURE_NAMES))), -FEATURE_LIMIT, FEATURE_LIMIT).astype(np.float32)
    if distribution != "uniform":
        x[:, COLUMN["imbalance"]] = rng.uniform(-1, 1, len(x))  # its code is for a bounded feature
    spikes = encode(made, x)
    checked = 0
    for p in POPULATIONS:
        if p.neurons >= 4:
            kept = kept_information(x[:, COLUMN[p.feature]], words(spikes, p), p.neurons)
            assert kept > 0.8, (p.feature, kept)
            checked += 1
    assert checked == 9


def test_kept_information_is_none_of_noise_all_of_itself():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50_000)
    assert kept_information(x, rng.integers(0, 8, 50_000), 8) < 0.01
    assert kept_information(x, np.searchsorted(np.quantile(x, np.arange(1, 8) / 8), x, side="right"), 8) == pytest.approx(1.0)
    assert kept_information(x, (x > 0).astype(int), 4) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.01])
@pytest.mark.parametrize("feature", ["imbalance", "volatility"])
def test_a_value_that_is_no_number_is_refused_by_name(made, value, feature):
    x = np.zeros((5, len(FEATURE_NAMES)))
    x[3, COLUMN[feature]] = value
    with pytest.raises(EncodingError, match=f"slice 3.*feature {feature}"):
        encode(made, x)


def test_made_ticks_cost_twelve_spikes_each_at_most(made):
    _, featured, spiked, _ = made.run_chain(made.place_of(), *made.made_ticks(6000, 9, bad=0.0))
    per_tick = spiked[0].spikes.neuron.size / featured[0].use.sum()
    assert 6 < per_tick < 12.5
