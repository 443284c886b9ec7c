"""Model files: stable bytes, every changed bit found, every broken rule refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.spiking import DEFAULT_MODEL, decode_model, encode_model, load_model, save_model
from schemas.errors import ModelError


def test_a_model_comes_back_as_it_was(network, tmp_path):
    saved = save_model(network, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    for name in ("w_in", "theta", "tau_ns", "w_read", "calibration", "thresholds"):
        assert np.array_equal(getattr(network, name), getattr(again, name))
    assert again.symbols == ("S0", "S1")
    assert again.digest == saved.digest
    assert again.id == int.from_bytes(again.digest[:8], "big") > 0
    assert encode_model(again) == (tmp_path / "m.safetensors").read_bytes()


def test_any_flipped_bit_is_found(network):
    raw = encode_model(network)
    rng = np.random.default_rng(1)
    places = np.unique(np.concatenate([np.arange(16), rng.integers(0, len(raw), 300), np.arange(len(raw) - 8, len(raw))]))
    for at in places:
        bad = bytearray(raw)
        bad[at] ^= 1 << int(rng.integers(0, 8))
        with pytest.raises(ModelError):
            decode_model(bytes(bad), "m")


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_a_cut_file_is_refused(network, length):
    with pytest.raises(ModelError, match="m "):
        decode_model(encode_model(network)[:length], "m")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("field", "change", "says"),
    [
        ("w_in", lambda a: a * 4, "w_in"),
        ("w_in", lambda a: a[:, :64], "w_in"),
        ("theta", lambda a: a * 0, "theta"),
        ("theta", lambda a: a * np.float32(np.nan), "theta"),
        ("tau_ns", lambda a: -a, "tau_ns"),
        ("tau_ns", lambda a: np.r_[a, a[:1]], "time constants"),
        ("w_read", lambda a: a * 1000, "w_read"),
        ("calibration", lambda a: a[:, ::-1], "calibration"),
        ("thresholds", lambda a: a[..., ::-1], "thresholds"),
        ("thresholds", lambda a: a[:1], "thresholds"),
    ],
)
def test_a_model_that_breaks_a_rule_is_refused(network, field, change, says):
    with pytest.raises(ModelError, match=says):
        encode_model(replace(network, **{field: change(getattr(network, field))}))


def test_a_symbol_that_the_model_does_not_know_gets_the_pooled_row(network):
    assert [network.row_of(s) for s in ("S0", "S1", "ZZ")] == [1, 2, 0]


def test_the_default_model_is_small():
    model = load_model()
    assert DEFAULT_MODEL.stat().st_size < 300_000
    assert len(model.manifest["tape_hash"]) == 64
    assert model.manifest["metrics"]["calibration_error"] < 0.03


def test_a_model_that_cannot_be_written_is_named_and_leaves_nothing(network, tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(ModelError, match="m cannot be written: Is a directory"):
        save_model(network, tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
