"""The folder of the user in which spiketape keeps what it makes once: tapes, built servers."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`SPIKETAPE_CACHE`, else `spiketape` in the user's cache folder."""
    named = os.environ.get("SPIKETAPE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spiketape"
