"""What is frozen into a model on the validation stretch: thresholds by share of spells, and the calibration of confidence."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from operators.spiking.model import SHARES_E2
from operators.spiking.training.labels import Targets
from schemas.ticks import Ints

Floats = npt.NDArray[np.float64]
LEAST_SPELLS = 50
"""Validation spells below which a symbol gets the pooled rules."""
KNOTS = 16


def first_of_spell(spell: Ints) -> Ints:
    """Places where a new spell begins in an array of spell numbers that never decreases."""
    return np.flatnonzero(np.r_[True, np.diff(spell) != 0]) if spell.size else np.empty(0, np.int64)


def spell_thresholds(size: Floats, spell: Ints) -> Floats:
    """For each of SHARES_E2 the size that this share of the spells reaches at its largest; 0 for share 1. `spell` never decreases."""
    largest = -np.sort(-np.maximum.reduceat(size, first_of_spell(spell)))
    found = [0.0 if share == 100 else float(largest[max(math.ceil(largest.size * share / 100) - 1, 0)]) for share in SHARES_E2]
    return np.array(found)


def frozen_thresholds(targets: Targets, scores: tuple[Floats, Floats], symbols: int) -> Floats:
    """float64 (symbols + 1, 2, 2, 4), as TickNetwork has it; `scores`: of both heads at the targets. Row 0: median over symbols."""
    rows = np.zeros((symbols + 1, 2, 2, len(SHARES_E2)))
    known = []
    for s in range(symbols):
        mine = targets.symbol == s
        spell = targets.spell[mine]
        if first_of_spell(spell).size < LEAST_SPELLS:
            continue
        known.append(s + 1)
        imbalance = spell_thresholds(np.abs(targets.imbalance[mine]), spell)
        for d in range(2):
            rows[s + 1, 0, d] = spell_thresholds(np.abs(scores[d][mine]).astype(np.float64), spell)
            rows[s + 1, 1, d] = imbalance
    if known:
        rows[0] = np.median(rows[known], axis=0)
    else:
        for d in range(2):
            rows[0, 0, d] = spell_thresholds(np.abs(scores[d]).astype(np.float64), targets.spell)
            rows[0, 1, d] = spell_thresholds(np.abs(targets.imbalance), targets.spell)
    for s in range(1, symbols + 1):
        if s not in known:
            rows[s] = rows[0]
    return rows


def spell_weights(spell: Ints) -> Floats:
    """One over the number of entries of each entry's spell."""
    starts = first_of_spell(spell)
    counts = np.diff(np.r_[starts, spell.size])
    return np.repeat(1.0 / counts, counts)


def calibration_curve(size: Floats, hit: Floats, weight: Floats) -> Floats:
    """Knots (2, KNOTS) of confidence against size of score: weighted isotonic means of equal-weight bins, from 0.5 at 0, never falling."""
    order = np.argsort(size, kind="stable")
    size, hit, weight = size[order], hit[order], weight[order]
    edge = np.minimum((np.cumsum(weight) / weight.sum() * (KNOTS - 1)).astype(int), KNOTS - 2)
    total = np.bincount(edge, weight, KNOTS - 1).astype(np.float64)
    centre = np.bincount(edge, weight * size, KNOTS - 1) / np.maximum(total, 1e-300)
    level = np.bincount(edge, weight * hit, KNOTS - 1) / np.maximum(total, 1e-300)
    value = np.clip(_never_falling(level, total), 0.5, 1.0)
    knots = np.maximum.accumulate(np.r_[0.0, centre])
    knots += 1e-9 * np.arange(KNOTS)
    knots[0] = 0.0
    return np.array([knots, np.r_[0.5, value]])


def _never_falling(level: Floats, weight: Floats) -> Floats:
    """The closest never-falling sequence in weighted squares (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for y, w in zip(level, weight, strict=True):
        blocks.append([float(y), float(w), 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            y2, w2, n2 = blocks.pop()
            y1, w1, n1 = blocks.pop()
            blocks.append([(y1 * w1 + y2 * w2) / max(w1 + w2, 1e-300), w1 + w2, n1 + n2])
    return np.concatenate([np.full(int(n), y) for y, _, n in blocks])


def calibration_error(confidence: Floats, hit: Floats, weight: Floats, bins: int = 10) -> float:
    """Expected calibration error: weighted mean over bins of confidence of |share of hits - mean confidence|."""
    at = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    total = np.bincount(at, weight, bins)
    gap = np.abs(np.bincount(at, weight * hit, bins) - np.bincount(at, weight * confidence, bins))
    return float(gap[total > 0].sum() / total.sum())
