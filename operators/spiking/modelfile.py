"""A model as one file: tensors and manifest in safetensors form, with bytes that depend on nothing but the model.

The manifest is the one entry of the file's metadata, as canonical JSON, and holds `content`: the SHA-256 over all tensors and the
rest of the manifest. A file is accepted only if that digest fits and if writing what was read gives the same bytes again, so no
changed bit passes, not even in the padding.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as tensors_to_bytes

from operators.spiking.model import HEAD_WIDTH, HEADS, HIDDEN, INPUTS, READ_MAX, SHARES_E2, WEIGHT_MAX, TickNetwork
from schemas.durable import write_whole
from schemas.errors import ModelError

FORMAT: Final = 1
_TENSORS: Final[dict[str, np.dtype[Any]]] = {
    "w_in": np.dtype("<i2"),
    "theta": np.dtype("<f4"),
    "tau_ns": np.dtype("<i8"),
    "w_read": np.dtype("<i4"),
    "calibration": np.dtype("<f8"),
    "thresholds": np.dtype("<f8"),
}
DEFAULT_MODEL: Final = Path(__file__).parent / "models" / "default.safetensors"


def encode_model(model: TickNetwork) -> bytes:
    """The bytes of a model file. Raises ModelError if the model breaks a rule of operators/spiking/model.py."""
    check_model(model)
    tensors = {name: np.ascontiguousarray(getattr(model, name), dtype) for name, dtype in _TENSORS.items()}
    manifest = {k: v for k, v in model.manifest.items() if k != "content"}
    manifest |= {"format": FORMAT, "symbols": list(model.symbols)}
    manifest["content"] = _content(tensors, manifest)
    return bytes(tensors_to_bytes(tensors, {"manifest": _canonical(manifest)}))


def decode_model(raw: bytes, where: str = "model") -> TickNetwork:
    """A model from the bytes of its file; `where` names it in errors. Raises ModelError for anything but an intact file."""
    try:
        length = int.from_bytes(raw[:8], "little")
        manifest = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["manifest"])
        tensors = tensors_from_bytes(raw)
        symbols = tuple(str(s) for s in manifest["symbols"])
        version, content = manifest["format"], manifest["content"]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, SafetensorError) as e:
        msg = f"{where} is not a model file of this program ({type(e).__name__}: {e}); make one with `spiketape train`"
        raise ModelError(msg) from e
    if version != FORMAT:
        msg = f"{where} has model format {version!r}, this program knows {FORMAT}; train it again"
        raise ModelError(msg)
    found = {name: t.dtype for name, t in tensors.items()}
    if found != _TENSORS:
        msg = f"{where} should hold the tensors {_TENSORS}, found {found}"
        raise ModelError(msg)
    rest = {k: v for k, v in manifest.items() if k != "content"}
    if _content(tensors, rest) != content:
        msg = f"{where} is damaged: its tensors do not have the digest {content} of its manifest"
        raise ModelError(msg)
    model = TickNetwork(**tensors, symbols=symbols, manifest=manifest, digest=hashlib.sha256(raw).digest())
    if encode_model(model) != raw:
        msg = f"{where} is damaged: it is not the file that its own contents would make"
        raise ModelError(msg)
    return model


def load_model(path: Path | None = None) -> TickNetwork:
    """The model in a file; without a path the default one. Raises ModelError naming the file."""
    path = DEFAULT_MODEL if path is None else path
    try:
        raw = path.read_bytes()
    except OSError as e:
        msg = f"model file {path} cannot be read: {e.strerror}"
        raise ModelError(msg) from e
    return decode_model(raw, str(path))


def save_model(model: TickNetwork, path: Path) -> TickNetwork:
    """Writes a model file (whole or not at all, and to the disk) and returns the model as it reads back, with its digest and manifest.

    Raises ModelError where it cannot be written.
    """
    raw = encode_model(model)
    try:
        write_whole(path, raw)
    except OSError as e:
        msg = f"model file {path} cannot be written: {e.strerror}"
        raise ModelError(msg) from e
    return decode_model(raw, str(path))


def check_model(model: TickNetwork) -> None:
    """Raises ModelError, naming the tensor, unless shapes and ranges are those of operators/spiking/model.py."""
    groups = model.tau_ns.size
    rows = len(model.symbols) + 1
    _demand(model.w_in.shape == (INPUTS, HIDDEN), f"w_in has shape {model.w_in.shape}, expected {(INPUTS, HIDDEN)}")
    _demand(int(np.abs(model.w_in.astype(int)).max()) <= WEIGHT_MAX, f"w_in must stay within +-{WEIGHT_MAX}")
    _demand(model.theta.shape == (HIDDEN,), f"theta has shape {model.theta.shape}, expected {(HIDDEN,)}")
    _demand(bool(np.all(np.isfinite(model.theta) & (model.theta > 0))), "theta must be finite and above 0")
    _demand(0 < groups < HEAD_WIDTH and HIDDEN % (2 * groups) == 0, f"{groups} time constants do not divide {HIDDEN} neurons")
    _demand(bool(np.all(model.tau_ns > 0)), "tau_ns must be above 0")
    read_shape = (INPUTS + HIDDEN, HEADS * HEAD_WIDTH)
    _demand(model.w_read.shape == read_shape, f"w_read has shape {model.w_read.shape}, expected {read_shape}")
    _demand(int(np.abs(model.w_read.astype(int)).max()) < READ_MAX, f"w_read must stay below {READ_MAX}")
    shape = model.calibration.shape
    _demand(len(shape) == 3 and shape[:2] == (rows, 2) and shape[2] >= 2, f"calibration has shape {shape}, expected ({rows}, 2, P)")
    size, hit = model.calibration[:, 0], model.calibration[:, 1]
    _demand(bool(np.all(np.isfinite(model.calibration))), "calibration must be finite")
    _demand(bool(np.all(np.diff(size, axis=1) > 0) and np.all(size[:, 0] == 0)), "calibration: score sizes must ascend from 0")
    ordered = np.all(np.diff(hit, axis=1) >= 0) and np.all((hit >= 0.5) & (hit <= 1))
    _demand(bool(ordered), "calibration: confidence must never fall and lie between 0.5 and 1")
    t_shape = (rows, 2, HEADS, len(SHARES_E2))
    _demand(model.thresholds.shape == t_shape, f"thresholds have shape {model.thresholds.shape}, expected {t_shape}")
    falling = np.all(np.diff(model.thresholds, axis=-1) <= 0) and np.all(model.thresholds[..., -1] == 0)
    _demand(bool(falling and np.all(np.isfinite(model.thresholds))), "thresholds must fall with the share, to 0 at share 1")


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ModelError(f"the model cannot be used: {otherwise}")


def _canonical(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _content(tensors: dict[str, npt.NDArray[Any]], manifest: dict[str, Any]) -> str:
    digest = hashlib.sha256(_canonical(manifest).encode())
    for name in sorted(_TENSORS):
        digest.update(f"{name} {tensors[name].dtype.str} {tensors[name].shape}".encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()
