"""From a tape to a model file: what `spiketape train` does.

1. The tape goes through gate, features and encoder. Everything before T trains (labels too: they end at T), the rest validates.
2. Hidden weights are drawn from the seed, in mirrored pairs; thresholds are set by firing rate on the first training ticks.
3. The read-out is fitted to what the hidden layer says (readout.py), one head for each delay.
4. On the validation stretch the thresholds by share and the calibration of confidence are found and frozen (frozen.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from operators.decoding.kernels import confidence_of
from operators.encoding import CODE_DIGEST
from operators.spiking.model import DELAYS_NS, HIDDEN, INPUTS, TickNetwork
from operators.spiking.modelfile import save_model
from operators.spiking.origin import origin_of
from operators.spiking.training.frozen import calibration_curve, calibration_error, frozen_thresholds, spell_weights
from operators.spiking.training.hidden import TAU_NS, drawn_network, with_thresholds
from operators.spiking.training.labels import Floats, Targets, find_targets
from operators.spiking.training.prepare import Prepared, TapeLike, prepare
from operators.spiking.training.readout import draw_sample, fit_head, trace_matrix, with_readout
from schemas.errors import UsageError
from schemas.settings import Settings

TRAINER_VERSION: Final = 2
TRAIN_PART: Final = 0.8
"""Part of the ticks that trains when no time is given."""
THETA_TICKS: Final = 300_000
PER_SPELL: Final = 16
MOST_EXAMPLES: Final = 600_000

Progress = Callable[[str], None]


def train(
    tape: TapeLike,
    out: Path,
    validate_from_ns: int | None = None,
    seed: int = 1,
    settings: Settings | None = None,
    forget: bool = False,
    progress: Progress = lambda _: None,
    to_ns: int | None = None,
) -> dict[str, Any]:
    """Trains on `tape` before `validate_from_ns` (None: the first 80% of its ticks), validates on the rest before `to_ns`, writes `out`.

    `settings`: of gate and features; the section `replay` is not asked. They go into the manifest, and the model runs with such only.
    `forget`: for a network that starts anew at each tick (to show what memory is worth). `progress` is told each step. Returns the
    manifest of the model. The same tape, split, seed and settings give the same file on the same machine. Raises UsageError where
    a side of the split has too little to learn or validate on.
    """
    progress("reading the tape")
    data = prepare(tape, settings)
    if to_ns is not None:
        data = data.until(to_ns)
    split_ns = int(data.ticks["ts_ns"][int(TRAIN_PART * data.ticks.size)]) if validate_from_ns is None else validate_from_ns
    model, manifest = trained(data, split_ns, seed, forget, progress)
    origin = getattr(getattr(tape, "manifest", None), "tape_hash", "")
    model = replace(model, manifest=manifest | {"tape_hash": str(origin)})
    return save_model(model, out).manifest


def trained(
    data: Prepared, split_ns: int, seed: int, forget: bool = False, progress: Progress = lambda _: None
) -> tuple[TickNetwork, dict[str, Any]]:
    """A model from prepared ticks, and its manifest, less the tape's hash and what the file adds."""
    past = data.until(split_ns)
    learn, validate = find_targets(past), find_targets(data)
    validate = validate.part(validate.ts_ns >= split_ns)
    for what, targets in (("training", learn), ("validation", validate)):
        if np.unique(targets.spell).size < 100:
            found = np.unique(targets.spell).size
            msg = f"{what} has {found} spells, at least 100 are needed; choose another --validate-from or a longer tape"
            raise UsageError(msg)
    progress("setting the hidden layer")
    model = with_thresholds(past.until(int(past.ticks["ts_ns"][min(THETA_TICKS, past.ticks.size) - 1])), drawn_network(seed), seed, forget)
    progress("fitting the read-out")
    sample = draw_sample(learn, PER_SPELL, MOST_EXAMPLES, seed)
    x = trace_matrix(past, model, learn.row[sample.at], forget)
    fits = [fit_head(x, learn.label[sample.at, d], sample.weight) for d in range(len(DELAYS_NS))]
    model = with_readout(model, [beta for beta, _ in fits])
    progress("validating")
    said = data.scores(model, forget)
    scores = (said.score_now[validate.row].astype(np.float64), said.score[validate.row].astype(np.float64))
    names = data.place.instruments.symbols
    model = replace(model, symbols=names, thresholds=frozen_thresholds(validate, scores, len(names)))
    curve, error = _calibrated(validate, scores[1])
    model = replace(model, calibration=np.repeat(curve[None], len(names) + 1, 0))
    manifest = {
        "architecture": {"inputs": INPUTS, "hidden": HIDDEN, "tau_ns": list(TAU_NS), "heads_ns": list(DELAYS_NS), "forget": forget},
        **origin_of(data.place.settings, CODE_DIGEST),
        "seed": seed,
        "trainer": TRAINER_VERSION,
        "split": {
            "first_ns": int(data.ticks["ts_ns"][0]),
            "validate_from_ns": int(split_ns),
            "last_ns": int(data.ticks["ts_ns"][-1]),
            "training_spells": int(np.unique(learn.spell).size),
            "validation_spells": int(np.unique(validate.spell).size),
        },
        "metrics": {
            "read_out": {str(d): {k: round(float(v), 6) for k, v in info.items()} for d, (_, info) in zip(DELAYS_NS, fits, strict=True)},
            "calibration_error": round(error, 6),
            "hidden_spikes_per_tick": round(float(said.hidden_spikes.sum() / max(int(data.use.sum()), 1)), 4),
        },
    }
    return model, manifest


def _calibrated(validate: Targets, score: Floats) -> tuple[Floats, float]:
    """The curve from the odd spells and the even ones, and its error on the other half each (mean of both)."""
    has = validate.label[:, 1] != 0
    size, spell = np.abs(score[has]), validate.spell[has]
    hit = 0.5 + 0.5 * np.sign(score[has]) * validate.label[has, 1]
    weight = spell_weights(spell)
    errors = []
    for side in (0, 1):
        fit, rest = spell % 2 == side, spell % 2 != side
        curve = calibration_curve(size[fit], hit[fit], weight[fit])
        confidence = np.array([confidence_of(v, curve) for v in size[rest]])
        errors.append(calibration_error(confidence, hit[rest], weight[rest]))
    return calibration_curve(size, hit, weight), float(np.mean(errors))
