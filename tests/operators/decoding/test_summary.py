"""Skill summed up: arithmetic by hand, intervals, paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from operators.decoding import summarise
from operators.decoding.summary import accuracy, difference, draws_of
from schemas.tables import SKILL, Rows


def rows(symbol, blocks, hits2, n, predictor, expired=0, spells=20):
    a = np.zeros(len(blocks), SKILL)
    a["block"], a["hits2"], a["predictions"], a["predictor"] = blocks, hits2, n, predictor
    a["delay_ns"], a["share_e2"], a["expired"], a["spells"] = 150_000_000, 20, expired, spells
    a["selected"] = a["predictions"] + expired
    a["tick_predictions"], a["tick_hits2"] = 10, 11
    return Rows("skill", symbol, a)


def test_counts_become_shares():
    found = summarise([rows("A", [1, 2], [9, 11], [8, 8], 1, expired=1), rows("A", [1, 2], [8, 8], [8, 8], 2)])
    cell = found["network"]["A"]["150"]["0.2"]
    assert cell["accuracy"] == 20 / 32  # 9 + 11 halves of 16 predictions
    assert (cell["n"], cell["expired"], cell["spells"]) == (16, 2, 40)
    assert cell["selected"] == 18 / 40
    assert cell["tick_weighted"] == 22 / 40
    assert cell["low"] == 9 / 16
    assert cell["high"] == 11 / 16
    assert found["imbalance"]["A"]["150"]["0.2"]["accuracy"] == 0.5
    gap = found["network_less_imbalance"]["A"]["150"]["0.2"]
    assert gap == {"difference": 0.125, "low": 0.0625, "high": 0.1875}


def test_columns_of_the_lake_say_the_same():
    parts = [rows("A", [1, 2, 5], [9, 11, 3], [8, 8, 4], 1), rows("B", [1, 2, 5], [7, 3, 3], [8, 8, 4], 2)]
    joined = np.concatenate([p.a for p in parts])
    columns = {k: joined[k] for k in SKILL.names if k not in ("pad", "symbol", "predictor")}
    columns |= {"symbol": np.repeat(["A", "B"], 3), "predictor": np.repeat(["network", "imbalance"], 3)}
    assert summarise(columns) == summarise(parts)


def test_no_prediction_is_no_number():
    cell = summarise([rows("A", [1], [0], [0], 1, spells=0)])["network"]["A"]["150"]["0.2"]
    assert cell["accuracy"] is cell["low"] is cell["selected"] is None
    assert cell["n"] == 0
    assert summarise([]) == {"network": {}, "imbalance": {}, "network_less_imbalance": {}}


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(4)
    covered, trials, blocks = 0, 300, 60
    drawn = draws_of(blocks)
    for _ in range(trials):
        n = rng.integers(5, 30, blocks)
        block_skill = np.clip(rng.normal(0.6, 0.08, blocks), 0, 1)
        hits = rng.binomial(n, block_skill)
        _, low, high = accuracy(2 * hits, n, drawn)
        covered += low <= 0.6 <= high
    assert 0.90 < covered / trials < 0.985


def test_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(5)
    n = np.full(80, 40)
    common = rng.normal(0, 0.1, 80)
    a, b = (np.rint(2 * n * np.clip(level + common, 0, 1)).astype(np.int64) for level in (0.62, 0.60))
    drawn = draws_of(80)
    gap, low, high = difference(a, n, b, n, drawn)
    _, a_low, a_high = accuracy(a, n, drawn)
    assert gap == pytest.approx(0.02, abs=0.005)
    assert low > 0
    assert high - low < 0.3 * (a_high - a_low)
