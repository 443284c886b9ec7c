"""A model runs only with what it was trained with: the encoder, the features and the settings that they hang on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from operators.encoding import CODE_DIGEST
from operators.spiking import TickNetwork, check_fits, load_model, origin, origin_of
from operators.spiking.model import DELAYS_NS
from schemas.errors import ModelError
from schemas.settings import Settings, load_settings

DEFAULT_DIGEST = "4b2a08f50e78e4349ea45ea301d681efd6bb0c491c9d29d310fbcc384a9a9443"


def with_settings(*overrides: str) -> Settings:
    return load_settings(None, overrides, {})


def trained(network: TickNetwork, settings: Settings, **manifest: Any) -> TickNetwork:
    """A network whose manifest says that it was trained with these settings."""
    said = {"architecture": {"heads_ns": list(DELAYS_NS)}, **origin_of(settings, CODE_DIGEST), **manifest}
    return replace(network, manifest=said)


def test_the_default_model_is_unchanged_and_fits_the_defaults() -> None:
    """Its digest stands in the rows of `signals`, so in every golden hash."""
    model = load_model()
    assert model.digest.hex() == DEFAULT_DIGEST
    check_fits(model, Settings(), CODE_DIGEST)


def test_every_setting_of_gate_and_features_has_a_reference() -> None:
    """A new setting must say what models that were trained before it mean; a changed default refuses them."""
    assert origin._at_hand(Settings()).keys() == origin.REFERENCE.keys()
    assert "trained_with" not in origin_of(Settings(), CODE_DIGEST)


OTHERS = {
    "features.fast_halflife_s": 5.0,
    "features.slow_halflife_s": 60.0,
    "features.scale_halflife_ticks": 500,
    "features.gap_reset_s": 60.0,
    "gate.crossed": "flag",
    "gate.suspicious": "pass",
    "gate.mad_window": 31,
    "gate.mad_factor": 6,
    "gate.mad_floor_ticks": 5,
    "gate.mad_floor_bps": 0,
    "gate.percent_from_last": 20,
    "gate.outlier_confirmations": 5,
}


@pytest.mark.parametrize("name", sorted(origin.REFERENCE.keys() - origin.FREE - {"calm_ticks", "formulas"}))
def test_another_setting_than_in_training_is_refused_either_way(network: TickNetwork, name: str) -> None:
    value = OTHERS[name]
    other = with_settings(f"{name}={value}")
    with pytest.raises(ModelError) as told:
        check_fits(load_model(), other, CODE_DIGEST, "model m")
    before = origin.REFERENCE[name]
    for words in ("model m was trained", f"{name} {before}, here {value}", f"--set {name}={before}", f"--out MODEL --set {name}={value}"):
        assert words in str(told.value)
    own = trained(network, other)
    check_fits(own, other, CODE_DIGEST)
    with pytest.raises(ModelError, match=f"{name} {value}, here {before}"):
        check_fits(own, Settings(), CODE_DIGEST)


def test_other_slices_and_another_measure_of_timeliness_are_told_and_may_differ(network: TickNetwork) -> None:
    other = with_settings("slice_ms=500", "gate.timely_ms=10")
    check_fits(load_model(), other, CODE_DIGEST)
    own = trained(network, other)
    assert own.manifest["trained_with"] == {"slice_ms": 500, "gate.timely_ms": 10}
    check_fits(own, Settings(), CODE_DIGEST)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoder": "00ff" * 16}, "encoder 00ff"),
        ({"features": ["imbalance", "spread"]}, "other features"),
        ({"architecture": {"heads_ns": [0, 1]}}, r"heads for delays of \[0, 1\] ns"),
        ({"trained_with": {"formulas": 0}}, "formulas 0, here"),
        ({"trained_with": {"calm_ticks": 4.0}}, "calm_ticks 4.0, here"),
        ({"trained_with": {"gate.gone": 3}}, "gate.gone 3, here nothing"),
    ],
)
def test_a_model_of_other_code_is_refused_and_must_be_trained_anew(network: TickNetwork, change: dict[str, Any], says: str) -> None:
    check_fits(trained(network, Settings()), Settings(), CODE_DIGEST)
    with pytest.raises(ModelError, match=says + ".*train one with this version: spiketape train TAPE --out MODEL$"):
        check_fits(trained(network, Settings(), **change), Settings(), CODE_DIGEST)


def test_a_model_that_says_nothing_of_its_encoder_is_refused(network: TickNetwork) -> None:
    with pytest.raises(ModelError, match="encoder nothing"):
        check_fits(network, Settings(), CODE_DIGEST)
