"""What the network is measured against: rules without learning, and three that learn on the same targets and features.

Each gives a signed score for every target, by delay; its size is its confidence. Logistic regression and trees see the features of the
tick, weighted by spell and mirrored (odd features and the label turned round), one model for all symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.spiking.model import DELAYS_NS, SHARES_E2
from operators.spiking.training.frozen import LEAST_SPELLS, first_of_spell, spell_thresholds
from operators.spiking.training.labels import HORIZON_MS, MS, Floats, Targets
from operators.spiking.training.prepare import Prepared
from operators.spiking.training.readout import draw_sample
from schemas.errors import UsageError
from schemas.features import FEATURE_PARITY

Scorer = Callable[[Prepared, Targets, int], Floats]
"""(tick columns, targets, delay index) to the signed score of each target."""
Thresholds = dict[str, list[Floats]]
"""By symbol, by delay: thresholds by share. Symbols that are not in it take those under POOLED."""

POOLED: Final = ""

LEARN_PART: Final = 0.8
"""Part of the time of a stretch on which a baseline learns; on the rest its thresholds are found."""
REACH_NS: Final = HORIZON_MS * MS + max(DELAYS_NS)
"""How far ahead of its tick a label looks."""
LEAST_LEARNED: Final = 100
"""Spells that a baseline must have on either part."""


def imbalance(_: Prepared, targets: Targets, __: int) -> Floats:
    """The signed imbalance of the tick's quote."""
    return targets.imbalance


def reversal(_: Prepared, targets: Targets, __: int) -> Floats:
    """Against the last change of the mid."""
    return -targets.moved.astype(np.float64)


REVERSAL_THRESHOLDS: Final[Thresholds] = {POOLED: [np.where(np.array(SHARES_E2) < 100, 1.0, 0.0)] * len(DELAYS_NS)}
"""It says one thing as surely as another: it speaks where the mid has changed, and at share 1 everywhere."""


def learned(
    data: Prepared, learn: Targets, validate: Targets, seed: int, per_spell: int, most: int
) -> dict[str, tuple[Scorer, Thresholds]]:
    """Majority, logistic regression and boosted trees, trained on `learn`, with their thresholds from `validate`.

    Raises UsageError where either has too few spells.
    """
    for what, targets in (("learn on", learn), ("find thresholds on", validate)):
        found = int(np.unique(targets.spell).size)
        if found < LEAST_LEARNED:
            msg = f"{found} spells to {what}, at least {LEAST_LEARNED} are needed"
            raise UsageError(msg)
    scorers = {"majority": _majority(data, learn), **_fitted(data, learn, seed, per_spell, most)}
    return {name: (scorer, _thresholds(data, validate, scorer)) for name, scorer in scorers.items()}


def _majority(data: Prepared, learn: Targets) -> Scorer:
    """The mean label of the symbol at the delay, over the first target of each spell."""
    first = first_of_spell(learn.spell)
    names = data.place.instruments.symbols
    mean = {names[s]: learn.label[first[learn.symbol[first] == s], :].mean(0) for s in np.unique(learn.symbol).tolist()}
    silent = np.zeros(len(DELAYS_NS))

    def score(other: Prepared, targets: Targets, d: int) -> Floats:
        by_symbol = np.array([mean.get(name, silent)[d] for name in other.place.instruments.symbols])
        return np.asarray(by_symbol[targets.symbol], np.float64)

    return score


def _fitted(data: Prepared, learn: Targets, seed: int, per_spell: int, most: int) -> dict[str, Scorer]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    sample = draw_sample(learn, per_spell, most, seed)
    models: dict[str, list[Any]] = {"logistic": [], "trees": []}
    for d in range(len(DELAYS_NS)):
        label = learn.label[sample.at, d]
        has = label != 0
        x = data.x[learn.row[sample.at[has]]]
        both = np.concatenate([x, x * FEATURE_PARITY])
        y = np.concatenate([label[has], -label[has]])
        weight = np.tile(sample.weight[has], 2)
        trees = HistGradientBoostingClassifier(max_iter=120, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=200, random_state=seed)
        with threadpool_limits(1):  # idle OpenMP threads spin: on a machine with other work several take ten times as long as one
            models["logistic"].append(LogisticRegression(fit_intercept=False, max_iter=300).fit(both, y, weight))
            models["trees"].append(trees.fit(both, y, weight))
    return {name: _odd(by_delay) for name, by_delay in models.items()}


def _odd(by_delay: list[Any]) -> Scorer:
    """A classifier's decision, less the one it takes in the mirrored market."""
    from threadpoolctl import threadpool_limits

    def score(data: Prepared, targets: Targets, d: int) -> Floats:
        if not targets.row.size:
            return np.zeros(0)
        x = data.x[targets.row]
        mirrored: npt.NDArray[np.float32] = x * FEATURE_PARITY
        with threadpool_limits(1):
            up, down = by_delay[d].decision_function(x), by_delay[d].decision_function(mirrored)
        return np.asarray(0.5 * (up - down), np.float64)

    return score


def _thresholds(data: Prepared, validate: Targets, scorer: Scorer) -> Thresholds:
    names = data.place.instruments.symbols
    found: Thresholds = {}
    sizes = [np.abs(scorer(data, validate, d)) for d in range(len(DELAYS_NS))]
    for s in np.unique(validate.symbol).tolist():
        mine = validate.symbol == s
        if first_of_spell(validate.spell[mine]).size >= LEAST_SPELLS:
            found[names[s]] = [spell_thresholds(x[mine], validate.spell[mine]) for x in sizes]
    found[POOLED] = [spell_thresholds(x, validate.spell) for x in sizes]
    return found
