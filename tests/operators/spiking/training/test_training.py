"""Training and evaluation on simulated ticks; the offline counts against the streaming ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.decoding import DecodingStage, summarise
from operators.spiking import SpikingStage, load_model
from operators.spiking.model import DELAYS_NS, SHARES_E2
from operators.spiking.training import evaluate, find_targets, train
from operators.spiking.training.frozen import calibration_curve, calibration_error, spell_thresholds
from operators.spiking.training.hidden import pair_of
from operators.spiking.training.readout import bounding_curvature, draw_sample, fit_logistic, trace_matrix
from schemas.errors import ModelError, UsageError
from schemas.settings import load_settings


def test_trace_matrix_times_weights_is_the_score_of_the_stage(data, model):
    rows = find_targets(data).row[::50]
    rows = np.sort(rows)
    x = trace_matrix(data, model, rows)
    from operators.spiking.model import HEAD_WIDTH, READ_ONE
    from operators.spiking.training.readout import pairs

    plus, _ = pairs(4)
    said = data.scores(model)
    for head, score in ((0, said.score_now), (1, said.score)):
        beta = np.concatenate([model.w_read[plus, head * HEAD_WIDTH + g] for g in range(5)]) / READ_ONE
        # float32 traces of up to some thousand spikes, 455 terms
        assert np.abs(x @ beta - score[rows]).max() < 2e-3
        assert score[rows].std() > 0.1


def test_the_layer_is_mirrored(model):
    from operators.encoding import MIRROR

    pair = pair_of(4)
    assert np.array_equal(pair[pair], np.arange(128))
    assert np.array_equal(model.w_in[MIRROR][:, pair], model.w_in)
    assert np.array_equal(model.theta[pair], model.theta)
    neuron = np.concatenate([MIRROR, 64 + pair])
    assert np.array_equal(model.w_read[neuron], -model.w_read)


def test_held_back_skill_beats_chance_and_forgetting_costs(report, held_back):
    for delay in ("0", "150"):
        cells = report["all"][delay]
        assert cells["network"]["0.2"]["low"] > 0.58
        assert cells["network"]["1.0"]["accuracy"] - cells["forgetful"]["1.0"]["accuracy"] > 0.02
        assert abs(cells["placebo"]["1.0"]["accuracy"] - 0.5) < 0.02
        assert cells["network"]["0.2"]["accuracy"] > cells["network"]["1.0"]["accuracy"]
    assert set(report["skill"]) <= set(held_back.instruments.symbols)


def test_streaming_skill_is_the_offline_skill(model, held_back, report):
    """The stages of the flow and the arrays of evaluate count the same predictions, symbol by symbol."""
    from operators.spiking.training import prepare

    prepared = prepare(held_back)
    x = prepared.spike_range()
    spiking, decoding = SpikingStage(prepared.place, model), DecodingStage(prepared.place, model)
    _, scores = spiking.step(spiking.start(), replace(x, gated=replace(x.gated, hi=2**62)))
    _, out = decoding.step(decoding.start(), scores)
    streamed = summarise(out.rows)
    checked = 0
    for symbol, delays in report["skill"].items():
        for delay, predictors in delays.items():
            for share in map(str, (0.1, 0.2, 0.5, 1.0)):
                for predictor in ("network", "imbalance"):
                    offline, online = predictors[predictor][share], streamed[predictor][symbol][delay][share]
                    assert {k: online[k] for k in offline} == pytest.approx(offline, nan_ok=True)
                    checked += offline["n"]
    assert checked > 5000


def test_same_seed_and_tape_give_the_same_file(tape, tmp_path):
    part = replace(tape, ticks=tape.ticks[:120_000])
    train(part, tmp_path / "a", seed=5)
    train(part, tmp_path / "b", seed=5)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    model = load_model(tmp_path / "a")
    assert model.manifest["seed"] == 5
    assert model.manifest["split"]["first_ns"] < model.manifest["split"]["validate_from_ns"] < model.manifest["split"]["last_ns"]


def test_a_model_trained_with_other_settings_says_so_and_runs_with_these_only(tape, model, tmp_path):
    part = replace(tape, ticks=tape.ticks[:120_000])
    assert "trained_with" not in model.manifest
    other = load_settings(None, ("features.fast_halflife_s=5", "replay.from_ns=1"), {})
    assert train(part, tmp_path / "m", seed=5, settings=other)["trained_with"] == {"features.fast_halflife_s": 5.0}
    own = load_model(tmp_path / "m")
    with pytest.raises(ModelError, match="features.fast_halflife_s 5.0, here 1.0"):
        evaluate(own, part, learners=False)
    assert evaluate(own, part, settings=other, learners=False)["all"]["150"]["network"]["1.0"]["n"] > 100


def test_what_validates_does_not_train(data, model):
    """Turning every price after the split round changes thresholds, not weights."""
    split = model.manifest["split"]["validate_from_ns"]
    cut = int(np.searchsorted(data.ticks["ts_ns"], split))
    ticks = data.ticks.copy()
    ticks["price"][cut:], ticks["ask"][cut:] = 4_000_000 - data.ticks["ask"][cut:], 4_000_000 - data.ticks["price"][cut:]
    from operators.spiking.training import trained

    other, _ = trained(replace(data, ticks=ticks), split, 1)
    assert np.array_equal(other.w_in, model.w_in)
    assert np.array_equal(other.theta, model.theta)
    assert np.array_equal(other.w_read, model.w_read)


def test_too_short_a_side_is_refused(tape, tmp_path):
    with pytest.raises(UsageError, match="validation has"):
        train(replace(tape, ticks=tape.ticks[:60_000]), tmp_path / "m", validate_from_ns=int(tape.ticks["ts_ns"][59_999]))
    with pytest.raises(UsageError, match="no ticks"):
        train(replace(tape, ticks=tape.ticks[:0]), tmp_path / "m")


def test_thresholds_fall_with_the_share_and_select_it_on_validation():
    rng = np.random.default_rng(1)
    spell = np.repeat(np.arange(1000), rng.integers(1, 9, 1000))
    size = rng.exponential(1, spell.size)
    found = spell_thresholds(size, spell)
    assert np.all(np.diff(found) < 0)
    assert found[-1] == 0
    largest = np.array([size[spell == k].max() for k in range(1000)])
    assert [int((largest >= t).sum()) for t in found] == [10 * s for s in SHARES_E2]


def test_calibration_curve_recovers_a_known_one():
    rng = np.random.default_rng(2)
    size = rng.exponential(1, 200_000)
    true = 0.5 + 0.4 * (1 - np.exp(-size))
    hit = (rng.random(size.size) < true).astype(float)
    curve = calibration_curve(size, hit, np.ones(size.size))
    assert np.all(np.diff(curve[1]) >= 0)
    assert np.abs(np.interp(size, *curve) - true).mean() < 0.01
    assert calibration_error(true, hit, np.ones(size.size)) < 0.005
    assert calibration_error(np.minimum(true + 0.1, 1.0), hit, np.ones(size.size)) > 0.08


def test_logistic_fit_equals_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (4000, 12)).astype(np.float32)
    y = np.where(rng.random(4000) < 1 / (1 + np.exp(-x @ rng.normal(0, 0.5, 12))), 1.0, -1.0)
    weight = rng.uniform(0.2, 1, 4000)
    ours = fit_logistic(x, y, weight, 5.0, bounding_curvature(x, weight), steps=500, smallest_move=1e-7)
    theirs = LogisticRegression(fit_intercept=False, C=0.2, tol=1e-8, max_iter=1000).fit(x, y, weight).coef_[0]
    assert np.abs(ours - theirs).max() < 2e-4


def test_a_sample_weighs_each_spell_once(data):
    targets = find_targets(data)
    sample = draw_sample(targets, 4, 10**9, 1)
    spell = targets.spell[sample.at]
    _, counts = np.unique(spell, return_counts=True)
    assert counts.max() == 4
    assert sample.weight.sum() == pytest.approx(counts.size)
    assert np.all(np.diff(targets.row[sample.at]) > 0)
    fewer = draw_sample(targets, 4, 5000, 1)
    assert 3500 < fewer.at.size < 6500
    assert set(np.unique(targets.label)) == {-1, 0, 1}
    assert len(DELAYS_NS) == targets.label.shape[1]
