"""The model that a flow runs with: read from its file, and checked against what is at hand."""

from __future__ import annotations

from pathlib import Path

from operators.encoding import CODE_DIGEST
from operators.spiking import DEFAULT_MODEL, TickNetwork, check_fits, load_model
from schemas.settings import Settings


def model_for(settings: Settings, path: Path | None = None) -> TickNetwork:
    """The model in a file, None for the default one, for use with these settings.

    Raises ModelError where it cannot be read, or was trained behind another encoder or with other settings of gate and features.
    """
    model = load_model(path)
    check_fits(model, settings, CODE_DIGEST, f"model {path or DEFAULT_MODEL.name}")
    return model
