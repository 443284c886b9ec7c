"""The made tape (tests/operators/encoding/made_tape.py) for the rooms between the tape and the network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

MADE_TAPE = Path(__file__).resolve().parent / "encoding" / "made_tape.py"


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """Module of the made tape."""
    spec = importlib.util.spec_from_file_location("made_tape", MADE_TAPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
