"""The code of the 64 input neurons: who stands for what. Receptive fields of populations and thresholds of send-on-delta pairs.

**Population.** Each neuron of a feature has a Gaussian receptive field over the feature's size |x| on its side (below or above 0)
and spikes at a tick when its response passes its threshold, that is, when |x| lies in an interval around the field's centre
(Bohte, Kok and La Poutre 2002; fields overlap, so one or two neighbours spike). `edges` lists where the answer changes on a side of m
neurons, 2 m - 1 numbers: silent below the first, then neuron 1, 1 and 2, 2, 2 and 3, ... m for good. Near 0 nobody spikes: silence is
a word of the code, and costs nothing. Edges are whole multiples of 1 / CELLS.

**Send-on-delta.** A pair (OFF, ON): when the feature is a threshold or more below (above) what was sent so far, OFF (ON) spikes and
the sent value moves by one threshold. At most one step a tick; a longer way is caught up in the ticks that follow.

**Events.** trade_side, mid_step and queue_lean are -1, 0 or 1 at a tick: a population of one neuron a side says just that, and the
network's leaky traces count the events at every time constant, as a filter of a hidden order flow would.

Mirroring the market (schemas/features.py) swaps the sides of odd features: neuron i then is neuron MIRROR[i].
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.features import FEATURE_LIMIT, FEATURE_NAMES, FEATURE_PARITY

INPUTS: Final = 64
CELLS: Final = 32
"""Cells of the lookup table per unit of |x|."""
ZERO_CELL: Final = int(FEATURE_LIMIT) * CELLS
TABLE_CELLS: Final = 2 * ZERO_CELL + 1


@dataclass(frozen=True)
class Population:
    """Neurons of one feature. `first`: lowest neuron; `edges`: ascending, in scaled units; `both_sides`: also neurons below 0."""

    feature: str
    first: int
    edges: tuple[float, ...]
    both_sides: bool

    @property
    def side(self) -> int:
        """Neurons on a side."""
        return (len(self.edges) + 1) // 2

    @property
    def neurons(self) -> int:
        return self.side * (2 if self.both_sides else 1)

    def neuron(self, positive: bool, j: int) -> int:
        """The j-th neuron (from 1, growing |x|) of a side; neurons stand in the order of x."""
        if self.both_sides:
            return self.first + (self.side + j - 1 if positive else self.side - j)
        return self.first + j - 1

    def word(self, positive: bool, state: int) -> tuple[int, ...]:
        """Who spikes when |x| lies behind `state` edges of a side, ascending."""
        if state == 0 or (not positive and not self.both_sides):
            return ()
        ranks = ((state + 1) // 2,) if state % 2 else (state // 2, state // 2 + 1)
        return tuple(sorted(self.neuron(positive, j) for j in ranks))

    def value(self, positive: bool, state: int) -> float:
        """The estimate of x for a word: the middle of its interval; behind the last edge half an interval further."""
        if state == 0 or (not positive and not self.both_sides):
            return 0.0 if self.both_sides else self.edges[0] / 2.0
        last = len(self.edges)
        size = (self.edges[state - 1] + self.edges[state]) / 2.0 if state < last else self.edges[-1] * 1.25
        return size if positive else -size


@dataclass(frozen=True)
class Delta:
    """A send-on-delta pair: OFF is neuron `first`, ON the next. `threshold`: a power of two, so that sums of it are exact."""

    feature: str
    first: int
    threshold: float


# Edges near the quantiles .15, .33, .5, .67, .83 of |x| (three neurons a side) and .2, .5, .68 (two): of a uniform imbalance, and
# between Gaussian and Laplace for features scaled to a mean size of one half.
_BOUNDED: Final = (0.15625, 0.34375, 0.5, 0.65625, 0.84375)
_FINE: Final = (0.09375, 0.25, 0.375, 0.5625, 0.875)
_COARSE: Final = (0.125, 0.375, 0.59375)

_POPULATIONS: Final[tuple[tuple[str, tuple[float, ...], bool], ...]] = (
    ("imbalance", _BOUNDED, True),
    ("order_flow_fast", _FINE, True),
    ("lead_fast", _FINE, True),
    ("lead_slow", _COARSE, True),
    ("order_flow_slow", _COARSE, True),
    ("sign_flow_slow", _COARSE, True),
    ("imbalance_slow", _COARSE, True),
    ("return_fast", _COARSE, True),
    ("return_slow", _COARSE, True),
    ("last_direction", (0.5,), True),
    ("spread", (0.1875,), True),
    ("volatility_ratio", (0.25,), True),
    ("change_age", (0.40625, 0.78125, 1.09375, 1.40625, 1.6875), False),
    ("persistence", (0.5,), False),
    ("trade_side", (0.5,), True),
    ("mid_step", (0.5,), True),
    ("queue_lean", (0.5,), True),
)
_DELTAS: Final[tuple[tuple[str, float], ...]] = (
    ("imbalance_fast", 0.25),
    ("microprice", 0.5),
    ("volatility", 0.25),
)


def _laid_out() -> tuple[tuple[Population, ...], tuple[Delta, ...]]:
    populations, deltas, first = [], [], 0
    for feature, edges, both_sides in _POPULATIONS:
        populations.append(Population(feature, first, edges, both_sides))
        first += populations[-1].neurons
    for feature, threshold in _DELTAS:
        deltas.append(Delta(feature, first, threshold))
        first += 2
    if first != INPUTS:
        msg = f"the code has {first} neurons, expected {INPUTS}"
        raise AssertionError(msg)
    return tuple(populations), tuple(deltas)


POPULATIONS, DELTAS = _laid_out()

CODE_DIGEST: Final = hashlib.sha256(repr((POPULATIONS, DELTAS)).encode()).hexdigest()
"""Names the code: a model is of use only behind the code that it was trained with."""


def _is_odd(feature: str) -> bool:
    return bool(FEATURE_PARITY[FEATURE_NAMES.index(feature)] < 0)


def _mirrored() -> npt.NDArray[np.int64]:
    mirror = np.arange(INPUTS)
    for p in POPULATIONS:
        if p.both_sides and _is_odd(p.feature):
            mirror[p.first : p.first + p.neurons] = mirror[p.first : p.first + p.neurons][::-1].copy()
    for d in DELTAS:
        if _is_odd(d.feature):
            mirror[d.first : d.first + 2] = (d.first + 1, d.first)
    mirror.flags.writeable = False
    return mirror


def _named() -> tuple[str, ...]:
    names = [""] * INPUTS
    for p in POPULATIONS:
        for positive in (False, True) if p.both_sides else (True,):
            for j in range(1, p.side + 1):
                names[p.neuron(positive, j)] = f"{p.feature} {'+' if positive else '-'}{j}"
    for d in DELTAS:
        names[d.first], names[d.first + 1] = f"{d.feature} falls", f"{d.feature} rises"
    return tuple(names)


MIRROR: Final = _mirrored()
"""int64 (INPUTS,): the neuron that a neuron becomes when the market is mirrored; its own inverse."""

NEURON_NAMES: Final = _named()
"""What a spike of each neuron says, for people."""


@cache
def word_table() -> npt.NDArray[np.uint32]:
    """Who spikes, by population and cell x * CELLS, truncated towards 0, from the lowest: uint32 (P * TABLE_CELLS,).

    Bits 0-7 the lower neuron, 8-15 the higher one, 16-23 how many of them there are. Truncation makes both sides alike.
    """
    table = np.zeros((len(POPULATIONS), TABLE_CELLS), np.uint32)
    for n, p in enumerate(POPULATIONS):
        edges = np.array(p.edges) * CELLS
        if edges[0] < 1 or not np.array_equal(edges, np.round(edges)):
            msg = f"{p.feature}: edges {p.edges} are not multiples of 1/{CELLS}"
            raise AssertionError(msg)
        for cell in range(-ZERO_CELL, ZERO_CELL + 1):
            word = p.word(cell >= 0, int(np.searchsorted(edges, abs(cell), side="right")))
            table[n, ZERO_CELL + cell] = sum(neuron << (8 * i) for i, neuron in enumerate(word)) | len(word) << 16
    flat = table.ravel()
    flat.flags.writeable = False
    return flat
