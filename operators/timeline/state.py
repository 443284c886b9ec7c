"""States as values: copies for a snapshot, versions, and migrations from older ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from operators.timeline.stage import Migration, State
from schemas.errors import StateMismatchError


def copied(value: Any) -> Any:
    """A deep copy of a state value: arrays are copied, containers rebuilt, everything else is immutable and shared."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    if isinstance(value, list):
        return [copied(v) for v in value]
    if isinstance(value, tuple):
        return tuple(copied(v) for v in value)
    return value


def migrated(step_id: str, state: State, version: int, wanted: int, migrations: Mapping[int, Migration]) -> State:
    """Brings a state of `version` up to `wanted`, one migration at a time.

    Raises StateMismatchError (exit code 5) where the state is newer than the code or a migration is missing.
    """
    if version > wanted:
        msg = f"step {step_id!r}: the store holds state version {version}, this code knows up to {wanted}; run the newer release"
        raise StateMismatchError(msg)
    while version < wanted:
        if version not in migrations:
            msg = (
                f"step {step_id!r}: the store holds state version {version}, this code needs {wanted} and has no migration from "
                f"{version}; finish the run with the release that began it, or start over with --fresh"
            )
            raise StateMismatchError(msg)
        state = migrations[version](state)
        version += 1
    return state
