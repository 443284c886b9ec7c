"""Skill of any scores over whole arrays: counts by 5-minute block, as the streaming measurement makes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from operators.spiking.training.frozen import first_of_spell
from operators.spiking.training.labels import Floats, Targets
from schemas.ticks import Ints


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


def placebo_accuracy(targets: Targets, score: Floats, delay: int, least: float, seed: int, draws: int = 20) -> tuple[float, int] | None:
    """Mean accuracy over `draws` permutations of the predictions' directions among themselves, and how many
    predictions there are; None without any."""
    label = targets.label[:, delay]
    speaks = np.flatnonzero(np.abs(score) >= least)
    first = speaks[first_of_spell(targets.spell[speaks])]
    first = first[label[first] != 0]
    if not first.size:
        return None
    generator = np.random.Generator(np.random.PCG64([seed, delay]))
    side = np.sign(score[first])
    mean = np.mean([0.5 + 0.5 * np.mean(generator.permutation(side) * label[first]) for _ in range(draws)])
    return float(mean), first.size
