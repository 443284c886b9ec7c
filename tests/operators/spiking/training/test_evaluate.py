"""What evaluate sets beside the network: baselines that never learned what they are judged on, and a placebo with its own interval."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from operators.decoding.summary import accuracy, draws_of
from operators.spiking.training import baselines, evaluate
from operators.spiking.training.baselines import LEAST_LEARNED, REACH_NS
from operators.spiking.training.counts import PLACEBO_DRAWS, placebo_counts
from operators.spiking.training.labels import BLOCK_NS, Targets

TICKS = 100_000
PREDICTORS = {"network", "forgetful", "placebo", "imbalance", "reversal", "majority", "logistic", "trees"}


def one_per_spell(label: np.ndarray, blocks: int) -> Targets:
    """Targets of one symbol, each a spell of its own, spread evenly over blocks of five minutes; both delays with these labels."""
    n = label.size
    ts_ns = np.arange(n) * (blocks * BLOCK_NS // n)
    both = np.stack([label, label], axis=1).astype(np.int8)
    return Targets(np.arange(n), np.zeros(n, np.int64), ts_ns, np.arange(n), both, np.zeros(n), np.zeros(n, np.int8))


@pytest.fixture
def short(held_back):
    return replace(held_back, ticks=held_back.ticks[:TICKS])


def test_everything_is_there_without_a_train_tape(model, short):
    """By symbol, for all together, and in the differences."""
    report = evaluate(model, short)
    assert report["learned_on"] == "halves"
    assert report["not_measured"] == {}
    assert len(report["skill"]) > 10
    for skill, gaps in [(report["all"], report["all_differences"]), *((s, report["differences"][k]) for k, s in report["skill"].items())]:
        for delay in ("0", "150"):
            assert set(skill[delay]) == PREDICTORS
            assert set(gaps[delay]) == PREDICTORS - {"network"}
    cells = report["all"]["150"]
    assert {p: cells[p]["1.0"]["n"] for p in PREDICTORS} == dict.fromkeys(PREDICTORS, cells["network"]["1.0"]["n"]), (
        "share 1 takes every spell"
    )
    assert cells["logistic"]["1.0"]["accuracy"] > 0.52
    gap = report["all_differences"]["150"]["logistic"]["1.0"]
    assert gap["difference"] == pytest.approx(cells["network"]["1.0"]["accuracy"] - cells["logistic"]["1.0"]["accuracy"])
    assert gap["low"] <= gap["difference"] <= gap["high"]


def test_no_half_is_judged_by_what_learned_on_it(model, short, monkeypatch):
    """Not even by a label that reaches into it; and each half is judged by the other's."""
    asked = []

    def learned(data, learn, validate, *_):
        which = len(asked)
        asked.append((learn, validate, judged := []))

        def score(_data, targets, d):
            judged.append(targets.ts_ns)
            return np.full(targets.symbol.size, 1.0 + which)

        return {name: (score, {"": [np.zeros(4)] * 2}) for name in ("majority", "logistic", "trees")}

    monkeypatch.setattr(import_module("operators.spiking.training.evaluate"), "learned", learned)
    evaluate(model, short)
    (later, later_validate, early), (earlier, earlier_validate, late) = asked
    measured = np.sort(np.concatenate([early[0], late[0]]))
    border = measured[measured.size // 2]
    assert max(t.max() for t in (earlier.ts_ns, earlier_validate.ts_ns)) + REACH_NS < border <= late[0].min()
    assert min(t.min() for t in (later.ts_ns, later_validate.ts_ns)) - REACH_NS > border > early[0].min()
    assert (early[0] > border).mean() < 0.1, "only what is left of spells that began before"
    for learn, validate in ((later, later_validate), (earlier, earlier_validate)):
        assert learn.ts_ns.max() + REACH_NS < validate.ts_ns.min()


def test_a_tape_with_too_little_to_learn_on_says_so_and_measures_the_rest(model, held_back):
    report = evaluate(model, replace(held_back, ticks=held_back.ticks[:60_000]))
    assert set(report["not_measured"]) == {"majority", "logistic", "trees"}
    assert all(f"at least {LEAST_LEARNED} are needed" in why for why in report["not_measured"].values())
    assert set(report["all"]["150"]) == PREDICTORS - {"majority", "logistic", "trees"}


def test_a_majority_is_the_symbols_and_not_its_number():
    """The tape that it learned on may list its symbols otherwise than the one that it is judged on."""

    def tape(*symbols):
        return SimpleNamespace(place=SimpleNamespace(instruments=SimpleNamespace(symbols=symbols)))

    up = one_per_spell(np.ones(10), 1)
    down = replace(one_per_spell(-np.ones(10), 1), symbol=np.ones(10, np.int64), spell=np.arange(10, 20))
    learn = Targets(*(np.concatenate([getattr(up, k), getattr(down, k)]) for k in Targets.__dataclass_fields__))
    score = baselines._majority(tape("UP", "DOWN"), learn)
    assert score(tape("NEW", "DOWN", "UP"), replace(up, symbol=np.arange(10) % 3), 1).tolist() == [0, -1, 1] * 3 + [0]


@pytest.mark.parametrize(("ups", "right"), [(80, 0.8), (50, 0.5), (0, 0.0)])
def test_a_placebo_keeps_how_often_the_network_says_up(ups, right):
    """Labels all up: whatever the order, the share of ups is right, in every draw."""
    targets = one_per_spell(np.ones(100), 4)
    score = np.where(np.arange(100) < ups, 1.0, -1.0)
    blocks = np.unique(targets.block)
    hits2, predictions = placebo_counts(targets, score, 1, 0.0, 7, blocks)
    assert predictions.tolist() == [PLACEBO_DRAWS * 25] * 4
    assert hits2.sum() / 2 / predictions.sum() == pytest.approx(right)


def test_a_placebos_interval_is_its_own():
    """The network is always right here, so its own interval has no width at all; the placebo's has, and holds one half."""
    rng = np.random.default_rng(3)
    targets = one_per_spell(rng.choice([-1, 1], 4000), 40)
    score = targets.label[:, 1].astype(float)
    blocks = np.unique(targets.block)
    value, low, high = accuracy(*placebo_counts(targets, score, 1, 0.0, 7, blocks), draws_of(blocks.size))
    # 4000 spells, 20 draws: standard error 0.5 / sqrt(80000) = 0.0018, times 1.96 either way
    assert low < 0.5 < high
    assert value == pytest.approx(0.5, abs=0.006)
    assert 0.004 < high - low < 0.010
