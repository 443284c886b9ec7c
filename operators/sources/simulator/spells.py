"""Skill by spells (spec/realism.md section 6) over whole arrays: an independent, offline check of predictions on a simulated tape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.ticks import QUOTE, Ints, Ticks

HORIZON_NS = 60_000_000_000
EDGE_NS = 60_000_000_000
SHARES = (0.1, 0.2, 0.5, 1.0)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spells:
    """Where a symbol may be predicted in one session, one entry per eligible tick, times ascending.

    `row`: its row among the symbol's rows; `ts_ns`; `spell`: which spell, ascending; `label`: +1, -1 or 0 where no change follows in time.
    """

    row: Ints
    ts_ns: Ints
    spell: Ints
    label: Ints


@dataclass(frozen=True, slots=True)
class Skill:
    """`hits` (a zero score counts one half) among `n` predictions; `block`, `hit`: per prediction its 5-minute block and 0, 1/2 or 1."""

    n: int
    hits: float
    selected: float
    block: Ints
    hit: Floats

    @property
    def accuracy(self) -> float:
        return self.hits / self.n if self.n else float("nan")

    def interval(self, draws: int = 1000) -> tuple[float, float]:
        """95% interval by a seeded bootstrap of 5-minute blocks."""
        blocks, at = np.unique(self.block, return_inverse=True)
        hits, count = np.bincount(at, self.hit), np.bincount(at)
        pick = np.random.default_rng(1).integers(0, len(blocks), (draws, len(blocks)))
        low, high = np.quantile(hits[pick].sum(1) / count[pick].sum(1), [0.025, 0.975])
        return float(low), float(high)


def find_spells(ticks: Ticks, open_ns: int, close_ns: int, delay_ns: int) -> Spells:
    """Spells of one symbol's rows (in order) in the session [open_ns, close_ns) at a delay."""
    ts = ticks["ts_ns"]
    end = np.flatnonzero(np.r_[np.diff(ts) > 0, True])
    quote = np.where(ticks["kind"] == QUOTE, np.arange(len(ticks)), -1)
    np.maximum.accumulate(quote, out=quote)
    end = end[quote[end] >= 0]
    at = quote[end]
    t = ts[end]
    mid2 = ticks["price"][at] + ticks["ask"][at]
    step = np.r_[0, np.diff(mid2)]
    change = np.flatnonzero(step)
    spell = np.cumsum(step != 0)
    known = np.searchsorted(t, t + delay_ns, side="right") - 1
    following = np.searchsorted(change, known, side="right")
    has = following < len(change)
    to = change[np.minimum(following, max(len(change) - 1, 0))] if len(change) else np.zeros(len(t), np.int64)
    has &= (t[to] - t <= HORIZON_NS) & (t[to] < close_ns)
    label = np.where(has, np.sign(mid2[to] - mid2[known]), 0)
    eligible = (t >= open_ns + EDGE_NS) & (t < close_ns - EDGE_NS) & (ticks["ask"][at] > ticks["price"][at])
    eligible &= (ticks["size"][at] > 0) & (ticks["ask_size"][at] > 0)
    return Spells(end[eligible], t[eligible], spell[eligible], label[eligible].astype(np.int64))


def threshold(spells: Spells, score: Floats, share: float) -> float:
    """The confidence that `share` of the spells reach; 0 for all of them."""
    if share >= 1.0:
        return 0.0
    best = np.zeros(int(spells.spell.max()) + 1)
    np.maximum.at(best, spells.spell, np.abs(score))
    return float(np.quantile(best[np.unique(spells.spell)], 1.0 - share))


def measure(spells: Spells, score: Floats, least: float) -> Skill:
    """One prediction per spell: the first eligible tick whose confidence |score| reaches `least`; its sign against the label."""
    passing = np.flatnonzero(np.abs(score) >= least)
    first = passing[np.unique(spells.spell[passing], return_index=True)[1]]
    labelled = first[spells.label[first] != 0]
    hit = 0.5 + 0.5 * np.sign(score[labelled]) * spells.label[labelled]
    count = len(np.unique(spells.spell))
    return Skill(len(labelled), float(hit.sum()), len(first) / max(count, 1), spells.ts_ns[labelled] // 300_000_000_000, hit)
