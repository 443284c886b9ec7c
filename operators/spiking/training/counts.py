"""Skill of any scores over whole arrays: counts by 5-minute block, as the streaming measurement makes them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from operators.spiking.training.frozen import first_of_spell
from operators.spiking.training.labels import Floats, Targets
from schemas.ticks import Ints

PLACEBO_DRAWS: Final = 20
"""How often the directions are permuted."""


def counts_by_block(targets: Targets, score: Floats, delay: int, least: float, blocks: Ints) -> dict[str, Ints]:
    """Counts of one symbol's targets at one delay (0 or 1), for a score that speaks at size `least`; one entry for each of `blocks`.

    Keys as in operators/decoding/summary.entry. `targets` must hold only one symbol, in order of time.
    """
    at = np.searchsorted(blocks, targets.block)
    label = targets.label[:, delay]
    hits2 = (1 + np.sign(score) * label).astype(np.int64)
    speaks = np.flatnonzero(np.abs(score) >= least)
    first = speaks[first_of_spell(targets.spell[speaks])]
    resolved = label != 0
    hit_first, tick = first[resolved[first]], speaks[resolved[speaks]]

    def total(places: Ints, weight: npt.NDArray[np.int64] | None = None) -> Ints:
        return np.bincount(at[places], None if weight is None else weight[places], blocks.size).astype(np.int64)

    return {
        "predictions": total(hit_first),
        "hits2": total(hit_first, hits2),
        "expired": total(first[~resolved[first]]),
        "spells": total(first_of_spell(targets.spell)),
        "selected": total(first),
        "tick_predictions": total(tick),
        "tick_hits2": total(tick, hits2),
    }


def placebo_counts(targets: Targets, score: Floats, delay: int, least: float, seed: int, blocks: Ints) -> tuple[Ints, Ints]:
    """(hits2, predictions) by block of PLACEBO_DRAWS permutations together of one symbol's predictions' directions among themselves.

    Arguments as in counts_by_block.
    """
    label = targets.label[:, delay]
    speaks = np.flatnonzero(np.abs(score) >= least)
    first = speaks[first_of_spell(targets.spell[speaks])]
    first = first[label[first] != 0]
    at = np.searchsorted(blocks, targets.block[first])
    side = np.sign(score[first])
    generator = np.random.Generator(np.random.PCG64([seed, delay]))
    hits2 = np.zeros(first.size, np.int64)
    for _ in range(PLACEBO_DRAWS):
        hits2 += (1 + generator.permutation(side) * label[first]).astype(np.int64)
    predictions = PLACEBO_DRAWS * np.bincount(at, minlength=blocks.size)
    return np.bincount(at, hits2, blocks.size).astype(np.int64), predictions.astype(np.int64)
