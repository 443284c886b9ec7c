"""What `spiketape evaluate` does: a model's skill on another tape, beside every baseline of spec/realism.md section 6.

The network and the imbalance rule speak at the thresholds that are frozen in the model. Baselines that must learn take the tape
`train_tape`, split where the model's own training was split (a tape that does not reach over that time: at 80% of its ticks): they learn
before it and find their thresholds after it. Without a train tape only the baselines that learn nothing are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from operators.decoding.summary import accuracy, difference, draws_of, entry, share_name
from operators.spiking.model import DELAYS_NS, SHARES_E2, TickNetwork
from operators.spiking.training.baselines import Scorer, learners, mean_labels, rules
from operators.spiking.training.counts import counts_by_block, placebo_accuracy
from operators.spiking.training.frozen import LEAST_SPELLS, first_of_spell, spell_thresholds
from operators.spiking.training.labels import Floats, Targets, find_targets
from operators.spiking.training.prepare import Prepared, TapeLike, prepare
from operators.spiking.training.train import MOST_EXAMPLES, PER_SPELL, TRAIN_PART
from schemas.settings import Settings
from schemas.ticks import Ints

Progress = Callable[[str], None]
Thresholds = dict[int, list[Floats]]
"""By symbol id, by delay: thresholds by share. Symbols that are not in it take those under -1."""


def evaluate(
    model: TickNetwork,
    tape: TapeLike,
    train_tape: TapeLike | None = None,
    from_ns: int | None = None,
    to_ns: int | None = None,
    settings: Settings | None = None,
    seed: int = 1,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Skill on the targets of `tape` in [from_ns, to_ns) (ticks before from_ns warm everything up).

    Returns {"model", "from_ns", "to_ns", "skill": {SYMBOL: {delay in ms: {predictor: {share: cell}}}}, "differences": the same down to
    {difference, low, high} of network less predictor on the same blocks, "all": as "skill" of a symbol, over all symbols together}.
    Predictors: network, forgetful (the same network, its state forgotten at each tick), placebo, imbalance, reversal, majority,
    logistic, trees.
    """
    progress("reading the tape")
    data = prepare(tape, settings)
    if to_ns is not None:
        data = data.until(to_ns)
    targets = find_targets(data)
    if from_ns is not None:
        targets = targets.part(targets.ts_ns >= from_ns)
    names = data.place.instruments.symbols
    rows = {s: model.row_of(names[s]) for s in data.place.symbols}
    scorers: dict[str, Scorer] = {}
    thresholds: dict[str, Thresholds] = {}
    for name, forget in (("network", False), ("forgetful", True)):
        progress(f"running the {name}")
        scorers[name] = _network_scorer(model, forget)
        thresholds[name] = {s: list(model.thresholds[r, 0]) for s, r in rows.items()}
    thresholds["imbalance"] = {s: list(model.thresholds[r, 1]) for s, r in rows.items()}
    learn_from, split_ns = (None, 0) if train_tape is None else _train_side(model, prepare(train_tape, settings))
    if learn_from is None:
        found = rules({})
        scorers |= {k: found[k] for k in ("imbalance", "reversal")}
        thresholds["reversal"] = {-1: [np.zeros(len(SHARES_E2))] * 2}
    else:
        progress("training the baselines")
        past = learn_from.until(split_ns)
        learn = find_targets(past)
        validate = find_targets(learn_from)
        validate = validate.part(validate.ts_ns >= split_ns)
        learnt = rules(mean_labels(learn)) | learners(past, learn, seed, PER_SPELL, MOST_EXAMPLES)
        for name, scorer in learnt.items():
            scorers[name] = scorer
            if name != "imbalance":
                thresholds[name] = _thresholds(learn_from, validate, scorer)
    progress("measuring")
    scores = {name: [scorer(data, targets, d) for d in range(len(DELAYS_NS))] for name, scorer in scorers.items()}
    report: dict[str, Any] = {"model": model.digest.hex(), "from_ns": from_ns, "to_ns": to_ns, "skill": {}, "differences": {}, "all": {}}
    for s in [*data.place.symbols, -1]:
        mine = targets.symbol == s if s >= 0 else np.ones(targets.symbol.size, bool)
        if mine.any():
            skill, gaps = _of_symbol(targets, mine, scores, thresholds, seed)
            if s < 0:
                report["all"] = skill
            else:
                report["skill"][names[s]], report["differences"][names[s]] = skill, gaps
    return report


def _network_scorer(model: TickNetwork, forget: bool) -> Scorer:
    kept: dict[int, Any] = {}

    def score(data: Prepared, targets: Targets, d: int) -> Floats:
        if id(data) not in kept:
            kept.clear()
            kept[id(data)] = data.scores(model, forget)
        said = kept[id(data)]
        return np.asarray((said.score_now, said.score)[d][targets.row], np.float64)

    return score


def _train_side(model: TickNetwork, data: Prepared) -> tuple[Prepared, int]:
    """The stretch that the model learned and validated on, if the tape holds it, else all of the tape; and where it is split."""
    split = model.manifest.get("split", {})
    first, last = int(data.ticks["ts_ns"][0]), int(data.ticks["ts_ns"][-1])
    middle = split.get("validate_from_ns", 0)
    if first < middle < last:
        return data.until(split["last_ns"] + 1), middle
    return data, int(data.ticks["ts_ns"][int(TRAIN_PART * data.ticks.size)])


def _thresholds(data: Prepared, validate: Targets, scorer: Scorer) -> Thresholds:
    found: Thresholds = {}
    scores = [np.abs(scorer(data, validate, d)) for d in range(len(DELAYS_NS))]
    for s in np.unique(validate.symbol).tolist():
        mine = validate.symbol == s
        if first_of_spell(validate.spell[mine]).size >= LEAST_SPELLS:
            found[s] = [spell_thresholds(x[mine], validate.spell[mine]) for x in scores]
    found[-1] = [spell_thresholds(x, validate.spell) for x in scores]
    return found


def _of_symbol(
    targets: Targets, mine: Any, scores: dict[str, list[Floats]], thresholds: dict[str, Thresholds], seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Skill and differences of one symbol, or of all where `mine` holds several (each at its own thresholds)."""
    part = targets.part(mine)
    symbols = np.unique(part.symbol).tolist()
    blocks = np.unique(part.block)
    drawn = draws_of(blocks.size)
    skill: dict[str, Any] = {}
    gaps: dict[str, Any] = {}
    for d, delay_ns in enumerate(DELAYS_NS):
        delay = str(delay_ns // 1_000_000)
        skill[delay], gaps[delay] = {}, {}
        for q, share_e2 in enumerate(SHARES_E2):
            share = share_name(share_e2)
            counts: dict[str, dict[str, Ints]] = {}
            for name, by_delay in scores.items():
                score = by_delay[d][mine]
                parts = [_counted(part, score, s, d, q, thresholds[name], blocks) for s in symbols]
                counts[name] = {k: np.sum([p[k] for p in parts], axis=0) for k in parts[0]}
                skill[delay].setdefault(name, {})[share] = entry(counts[name], drawn)
            net = counts["network"]
            for name, other in counts.items():
                if name != "network":
                    gap, low, high = difference(net["hits2"], net["predictions"], other["hits2"], other["predictions"], drawn)
                    gaps[delay].setdefault(name, {})[share] = {"difference": gap, "low": low, "high": high}
            skill[delay].setdefault("placebo", {})[share] = _placebo(
                part, scores["network"][d][mine], d, q, thresholds["network"], seed, net, drawn
            )
    return skill, gaps


def _counted(part: Targets, score: Floats, symbol: int, d: int, q: int, thresholds: Thresholds, blocks: Ints) -> dict[str, Ints]:
    own = part.symbol == symbol
    least = thresholds.get(symbol, thresholds.get(-1, []))[d][q]
    return counts_by_block(part.part(own), score[own], d, float(least), blocks)


def _placebo(
    part: Targets, score: Floats, d: int, q: int, thresholds: Thresholds, seed: int, net: dict[str, Ints], drawn: Floats
) -> dict[str, Any]:
    """The network's predictions with their directions permuted within each symbol, mean of 20; as wide as the network's interval."""
    values, weights = [], []
    for s in np.unique(part.symbol).tolist():
        own = part.symbol == s
        value = placebo_accuracy(part.part(own), score[own], d, float(thresholds[s][d][q]), seed + s)
        if value is not None:
            values.append(value[0])
            weights.append(value[1])
    if not values:
        return {"accuracy": None, "low": None, "high": None, "n": 0}
    mean = float(np.average(values, weights=weights))
    centre, low, high = accuracy(net["hits2"], net["predictions"], drawn)
    shift = mean - (centre or 0.0)
    return {"accuracy": mean, "low": (low or 0.0) + shift, "high": (high or 0.0) + shift, "n": int(net["predictions"].sum())}
