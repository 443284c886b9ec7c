"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of recorded markets; the test is skipped, with the reason, where it is missing."""
    path = Path(os.environ.get("SPIKETAPE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "README.md").is_file():
        pytest.skip(f"recorded markets are not at {path}; set SPIKETAPE_TEST_DATA to their folder")
    return path
