"""What the network is measured against: rules without learning, and two learners on the same features.

Each gives a signed score for every target, by delay; its size is its confidence. The learners see the features of the tick,
weighted by spell and mirrored (odd features and the label turned round), one model for all symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.spiking.model import DELAYS_NS
from operators.spiking.training.labels import Floats, Targets
from operators.spiking.training.prepare import Prepared
from operators.spiking.training.readout import draw_sample
from schemas.features import FEATURE_PARITY

Scorer = Callable[[Prepared, Targets, int], Floats]
"""(tick columns, targets, delay index) to the signed score of each target."""


def rules(majority: dict[int, tuple[float, float]]) -> dict[str, Scorer]:
    """Imbalance, reversal (against the last change of the mid) and majority; `majority`: by symbol id the mean label at each delay."""
    return {
        "imbalance": lambda _, t, __: t.imbalance,
        "reversal": lambda _, t, __: -t.moved.astype(np.float64),
        "majority": lambda _, t, d: np.array([majority.get(int(s), (0.0, 0.0))[d] for s in t.symbol]) if t.symbol.size else np.zeros(0),
    }


def mean_labels(learn: Targets) -> dict[int, tuple[float, float]]:
    """By symbol id the mean label at each delay over the first target of each spell."""
    first = np.flatnonzero(np.r_[True, np.diff(learn.spell) != 0]) if learn.spell.size else np.empty(0, np.int64)
    found = {}
    for s in np.unique(learn.symbol).tolist():
        label = learn.label[first[learn.symbol[first] == s]]
        found[s] = tuple(float(x) for x in label.mean(0))
    return found  # type: ignore[return-value]


def learners(data: Prepared, learn: Targets, seed: int, per_spell: int, most: int) -> dict[str, Scorer]:
    """Logistic regression and boosted trees trained on `learn`."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    sample = draw_sample(learn, per_spell, most, seed)
    models: dict[str, list[Any]] = {"logistic": [], "trees": []}
    for d in range(len(DELAYS_NS)):
        label = learn.label[sample.at, d]
        has = label != 0
        x = data.x[learn.row[sample.at[has]]]
        both = np.concatenate([x, x * FEATURE_PARITY])
        y = np.concatenate([label[has], -label[has]])
        weight = np.tile(sample.weight[has], 2)
        models["logistic"].append(LogisticRegression(fit_intercept=False, max_iter=300).fit(both, y, weight))
        trees = HistGradientBoostingClassifier(max_iter=120, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=200, random_state=seed)
        models["trees"].append(trees.fit(both, y, weight))
    return {name: _scorer(by_delay) for name, by_delay in models.items()}


def _scorer(by_delay: list[Any]) -> Scorer:
    def score(data: Prepared, targets: Targets, d: int) -> Floats:
        x = data.x[targets.row]
        mirrored: npt.NDArray[np.float32] = x * FEATURE_PARITY
        up, down = by_delay[d].decision_function(x), by_delay[d].decision_function(mirrored)
        return np.asarray(0.5 * (up - down), np.float64)

    return score
