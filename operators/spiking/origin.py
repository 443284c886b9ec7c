"""What a model's input hangs on, and the check that it is at hand where the model runs.

Weights, thresholds and calibration are fitted to what gate, features and encoder made of the training tape. Behind other ones the
network still gives numbers, and they mean nothing; so whoever loads a model checks it first.

A manifest names the encoder's code and the features in their order. Of the rest (settings of gate and features, the version of the
features' formulas, the network's own constants) it holds under `trained_with` what differs from REFERENCE, so nothing where nothing
differs. Two settings are told and not compared: `slice_ms`, because on a tape no feature hangs on where slices are cut, so that other
slices can be tried with the same model; `gate.timely_ms`, because it judges sources and passes or refuses no tick.
"""

from __future__ import annotations

from typing import Any, Final

from operators.spiking.model import CALM_TICKS, DELAYS_NS, TickNetwork
from schemas.errors import ModelError
from schemas.features import FEATURE_NAMES, FORMULAS
from schemas.settings import Settings

REFERENCE: Final[dict[str, Any]] = {
    "calm_ticks": 16.0,
    "features.fast_halflife_s": 1.0,
    "features.gap_reset_s": 1800.0,
    "features.scale_halflife_ticks": 5000,
    "features.slow_halflife_s": 30.0,
    "formulas": 1,
    "gate.crossed": "dead_letter",
    "gate.mad_factor": 12,
    "gate.mad_floor_bps": 10,
    "gate.mad_floor_ticks": 25,
    "gate.mad_window": 63,
    "gate.outlier_confirmations": 3,
    "gate.percent_from_last": 10,
    "gate.suspicious": "dead_letter",
    "gate.timely_ms": 1000,
    "slice_ms": 100,
}
"""What a manifest that says nothing means. Values never change, not with a default, not with a constant; a new setting is added with the
value that leaves things as they were."""
FREE: Final = frozenset(("gate.timely_ms", "slice_ms"))
"""May differ between training and use."""
ABSENT: Final = "nothing"


def origin_of(settings: Settings, encoder: str) -> dict[str, Any]:
    """What a manifest says of a model trained with these settings behind the encoder of this digest."""
    now = _at_hand(settings)
    told: dict[str, Any] = {"encoder": encoder, "features": list(FEATURE_NAMES)}
    differs = {name: value for name, value in now.items() if REFERENCE.get(name, ABSENT) != value}
    return told | ({"trained_with": differs} if differs else {})


def check_fits(model: TickNetwork, settings: Settings, encoder: str, where: str = "the model") -> None:
    """Raises ModelError, naming all that differs and what to do, unless the model was trained with what is at hand.

    `encoder`: digest of the code at hand (operators.encoding.CODE_DIGEST); `where` names the model.
    """
    said = model.manifest
    code = []
    if said.get("encoder") != encoder:
        code.append(f"encoder {str(said.get('encoder', ABSENT))[:16]}, here {encoder[:16]}")
    if said.get("features") != list(FEATURE_NAMES):
        code.append("other features, or in another order")
    if said.get("architecture", {}).get("heads_ns") != list(DELAYS_NS):
        code.append(f"heads for delays of {said.get('architecture', {}).get('heads_ns', ABSENT)} ns, here {list(DELAYS_NS)}")
    trained, now = REFERENCE | said.get("trained_with", {}), _at_hand(settings)
    differs = {name: (trained.get(name, ABSENT), now.get(name, ABSENT)) for name in sorted(trained.keys() | now.keys())}
    differs = {name: pair for name, pair in differs.items() if pair[0] != pair[1] and name not in FREE}
    chosen = {name: pair for name, pair in differs.items() if "." in name and ABSENT not in pair}
    code += [f"{name} {then}, here {here}" for name, (then, here) in differs.items() if name not in chosen]
    if not code and not chosen:
        return
    parts = [*code, *(f"{name} {then}, here {here}" for name, (then, here) in chosen.items())]
    back = " ".join(f"--set {name}={then}" for name, (then, _) in chosen.items())
    anew = " ".join(["spiketape train TAPE --out MODEL", *(f"--set {name}={here}" for name, (_, here) in chosen.items())])
    do = f"train one with this version: {anew}" if code else f"use it with {back}, or train one: {anew}"
    msg = f"{where} was trained with other inputs and would say nothing of use: {'; '.join(parts)}; {do}"
    raise ModelError(msg)


def _at_hand(settings: Settings) -> dict[str, Any]:
    """All that a model's input hangs on beside the encoder's code and the features' names, by the names of REFERENCE."""
    tree = settings.model_dump(mode="json", include={"gate", "features"})
    chosen = {f"{section}.{name}": value for section, values in tree.items() for name, value in values.items()}
    return chosen | {"calm_ticks": CALM_TICKS, "formulas": FORMULAS, "slice_ms": settings.slice_ms}
