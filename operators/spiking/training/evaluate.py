"""What `spiketape evaluate` does: a model's skill on another tape, beside every baseline of spec/realism.md section 6.

The network and the imbalance rule speak at the thresholds that are frozen in the model. Baselines that must learn take the tape
`train_tape`, split where the model's own training was split (a tape that does not reach over that time: at 80% of its time): they learn
before it and find their thresholds after it. Without a train tape they learn on the measured stretch itself, by halves: each half is
judged by those that learned on the other one. So none is judged on what it learned, but they know this very market, in one half even its
future, which the network does not: they look better than they would live.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.decoding.summary import accuracy, difference, draws_of, entry, share_name
from operators.encoding import CODE_DIGEST
from operators.spiking.model import DELAYS_NS, SHARES_E2, TickNetwork
from operators.spiking.origin import check_fits
from operators.spiking.training import baselines
from operators.spiking.training.baselines import LEARN_PART, POOLED, REACH_NS, REVERSAL_THRESHOLDS, Scorer, Thresholds, learned
from operators.spiking.training.counts import counts_by_block, placebo_counts
from operators.spiking.training.frozen import first_of_spell
from operators.spiking.training.labels import Floats, Targets, find_targets
from operators.spiking.training.prepare import Prepared, TapeLike, prepare
from operators.spiking.training.train import MOST_EXAMPLES, PER_SPELL
from schemas.errors import UsageError
from schemas.settings import Settings
from schemas.ticks import Ints

Progress = Callable[[str], None]
LEARNERS = ("majority", "logistic", "trees")


@dataclass(frozen=True, eq=False)
class Voice:
    """What a predictor says at the targets: signed `scores` by delay; `thresholds` on either side of the stretch."""

    scores: list[Floats]
    thresholds: tuple[Thresholds, Thresholds]


def evaluate(
    model: TickNetwork,
    tape: TapeLike,
    train_tape: TapeLike | None = None,
    from_ns: int | None = None,
    to_ns: int | None = None,
    settings: Settings | None = None,
    seed: int = 1,
    progress: Progress = lambda _: None,
    learners: bool = True,
) -> dict[str, Any]:
    """Skill on the targets of `tape` in [from_ns, to_ns) (ticks before from_ns warm everything up).

    Returns {"model", "from_ns", "to_ns", "learned_on": "train tape" or "halves", "skill": {SYMBOL: {delay in ms: {predictor: {share:
    cell}}}}, "differences": the same down to {difference, low, high} of network less predictor on the same blocks, "all" and
    "all_differences": as those of a symbol, over all symbols together, "not_measured": {predictor: why}}.
    Predictors: network, forgetful (the same network, its state forgotten at each tick), placebo, imbalance, reversal, majority,
    logistic, trees; without `learners` not the last three, which take most of the time.

    Raises ModelError where the model does not fit the settings.
    """
    settings = settings or Settings()
    check_fits(model, settings, CODE_DIGEST)
    progress("reading the tape")
    data = prepare(tape, settings)
    if to_ns is not None:
        data = data.until(to_ns)
    targets = find_targets(data)
    if from_ns is not None:
        targets = targets.part(targets.ts_ns >= from_ns)
    voices: dict[str, Voice] = {}
    for name, forget in (("network", False), ("forgetful", True)):
        progress(f"running the {name}")
        said = data.scores(model, forget)
        scores = [np.asarray(s[targets.row], np.float64) for s in (said.score_now, said.score)]
        voices[name] = Voice(scores, (_frozen(model, data, 0),) * 2)
    voices["imbalance"] = Voice(_said(baselines.imbalance, data, targets), (_frozen(model, data, 1),) * 2)
    voices["reversal"] = Voice(_said(baselines.reversal, data, targets), (REVERSAL_THRESHOLDS,) * 2)
    side = _sides(targets)
    absent = {} if learners else dict.fromkeys(LEARNERS, "left out")
    if learners:
        progress("training the baselines")
        try:
            if train_tape is None:
                voices |= _by_halves(data, targets, side, seed)
            else:
                voices |= _from_tape(model, prepare(train_tape, settings), data, targets, seed)
        except UsageError as e:
            absent = dict.fromkeys(LEARNERS, str(e))
    progress("measuring")
    report: dict[str, Any] = {
        "model": model.digest.hex(),
        "from_ns": from_ns,
        "to_ns": to_ns,
        "learned_on": "halves" if train_tape is None else "train tape",
        "skill": {},
        "differences": {},
        "all": {},
        "all_differences": {},
        "not_measured": absent,
    }
    names = data.place.instruments.symbols
    for s in data.place.symbols:
        mine = targets.symbol == s
        if mine.any():
            report["skill"][names[s]], report["differences"][names[s]] = _measured(targets, side, mine, voices, names, seed)
    if targets.symbol.size:
        report["all"], report["all_differences"] = _measured(targets, side, np.ones(side.size, bool), voices, names, seed)
    return report


def _frozen(model: TickNetwork, data: Prepared, predictor: int) -> Thresholds:
    """What the model file holds for the tape's symbols; `predictor`: 0 network, 1 imbalance."""
    names = data.place.instruments.symbols
    return {names[s]: list(model.thresholds[model.row_of(names[s]), predictor]) for s in data.place.symbols}


def _said(scorer: Scorer, data: Prepared, targets: Targets) -> list[Floats]:
    return [scorer(data, targets, d) for d in range(len(DELAYS_NS))]


def _sides(targets: Targets) -> Ints:
    """0 for targets of spells that begin in the first half of the time that is measured, 1 for the others. No spell is on both."""
    if not targets.symbol.size:
        return np.zeros(0, np.int64)
    first = first_of_spell(targets.spell)
    late = targets.ts_ns[first] >= _middle(targets, 0.5)
    return np.repeat(late.astype(np.int64), np.diff(np.r_[first, targets.spell.size]))


def _middle(targets: Targets, part: float) -> int:
    """The time at which this part of the targets is over."""
    return int(np.partition(targets.ts_ns, int(part * targets.ts_ns.size))[int(part * targets.ts_ns.size)])


def _split(targets: Targets, split_ns: int) -> tuple[Targets, Targets]:
    """Targets whose labels end before `split_ns`, and those from it on."""
    return targets.part(targets.ts_ns < split_ns - REACH_NS), targets.part(targets.ts_ns >= split_ns)


def _by_halves(data: Prepared, targets: Targets, side: Ints, seed: int) -> dict[str, Voice]:
    """Those that learn, each side judged by what learned on the other one; labels that reach over the border teach nothing."""
    border = _middle(targets, 0.5) if side.size else 0
    apart = (targets.ts_ns > border + REACH_NS, targets.ts_ns < border - REACH_NS)
    taught = []
    for judged in (0, 1):
        other = targets.part((side != judged) & apart[judged])
        split_ns = _middle(other, LEARN_PART) if other.symbol.size else 0
        taught.append(learned(data, *_split(other, split_ns), seed, PER_SPELL, MOST_EXAMPLES))
    voices = {}
    for name in LEARNERS:
        (early, early_thresholds), (late, late_thresholds) = taught[0][name], taught[1][name]
        scores = []
        for d in range(len(DELAYS_NS)):
            score = np.empty(side.size)
            for k, scorer in enumerate((early, late)):
                score[side == k] = scorer(data, targets.part(side == k), d)
            scores.append(score)
        voices[name] = Voice(scores, (early_thresholds, late_thresholds))
    return voices


def _from_tape(model: TickNetwork, learn_from: Prepared, data: Prepared, targets: Targets, seed: int) -> dict[str, Voice]:
    """Those that learn, taught by the stretch that the model learned and validated on, if the tape holds it, else by all of the tape."""
    split = model.manifest.get("split", {})
    first, last = int(learn_from.ticks["ts_ns"][0]), int(learn_from.ticks["ts_ns"][-1])
    middle = int(split.get("validate_from_ns", 0))
    if first < middle < last:
        learn_from = learn_from.until(int(split["last_ns"]) + 1)
    else:
        middle = int(learn_from.ticks["ts_ns"][int(LEARN_PART * learn_from.ticks.size)])
    taught = learned(learn_from, *_split(find_targets(learn_from), middle), seed, PER_SPELL, MOST_EXAMPLES)
    return {name: Voice(_said(scorer, data, targets), (found,) * 2) for name, (scorer, found) in taught.items()}


def _measured(
    targets: Targets, side: Ints, mine: Any, voices: dict[str, Voice], names: tuple[str, ...], seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Skill and differences of one symbol, or of all where `mine` holds several (each at its own thresholds)."""
    part = targets.part(mine)
    own = [(s, k, (part.symbol == s) & (side[mine] == k)) for s in np.unique(part.symbol).tolist() for k in (0, 1)]
    own = [(s, k, chosen) for s, k, chosen in own if chosen.any()]
    blocks = np.unique(part.block)
    drawn = draws_of(blocks.size)
    skill: dict[str, Any] = {}
    gaps: dict[str, Any] = {}
    for d, delay_ns in enumerate(DELAYS_NS):
        delay = str(delay_ns // 1_000_000)
        skill[delay], gaps[delay] = {}, {}
        for q, share_e2 in enumerate(SHARES_E2):
            share = share_name(share_e2)
            counts: dict[str, tuple[Ints, Ints]] = {}
            for name, voice in voices.items():
                score = voice.scores[d][mine]
                parts = [counts_by_block(part.part(c), score[c], d, _least(voice, names[s], k, d, q), blocks) for s, k, c in own]
                total = {key: np.sum([p[key] for p in parts], axis=0) for key in parts[0]}
                skill[delay].setdefault(name, {})[share] = entry(total, drawn)
                counts[name] = total["hits2"], total["predictions"]
            counts["placebo"] = _placebo(part, voices["network"], mine, names, d, q, seed, blocks)
            value, low, high = accuracy(*counts["placebo"], drawn)
            n = skill[delay]["network"][share]["n"]
            skill[delay].setdefault("placebo", {})[share] = {"accuracy": value, "low": low, "high": high, "n": n}
            for name, other in counts.items():
                if name != "network":
                    gap, low, high = difference(*counts["network"], *other, drawn)
                    gaps[delay].setdefault(name, {})[share] = {"difference": gap, "low": low, "high": high}
    return skill, gaps


def _least(voice: Voice, symbol: str, side: int, d: int, q: int) -> float:
    thresholds = voice.thresholds[side]
    return float((thresholds[symbol] if symbol in thresholds else thresholds[POOLED])[d][q])


def _placebo(
    part: Targets, network: Voice, mine: Any, names: tuple[str, ...], d: int, q: int, seed: int, blocks: Ints
) -> tuple[Ints, Ints]:
    """(hits2, predictions) by block of the network's predictions with their directions permuted within each symbol, all draws together."""
    score = network.scores[d][mine]
    parts = []
    for s in np.unique(part.symbol).tolist():
        own = part.symbol == s
        parts.append(placebo_counts(part.part(own), score[own], d, _least(network, names[s], 0, d, q), seed + s, blocks))
    hits2, predictions = (np.sum([p[i] for p in parts], axis=0) for i in (0, 1))
    return hits2, predictions
