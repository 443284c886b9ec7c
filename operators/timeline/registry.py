"""What a recovery directory belongs to: one process at a time, and one set of steps with their state versions.

Bytewax silently drops the state of a renamed step and lets two instances share a directory. So the directory carries a
registry of step ids, written at the first start and compared at each later one, and a lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bytewax.recovery import RecoveryConfig, init_db_dir

from schemas.errors import RefusedError, SpiketapeError, StateMismatchError

REGISTRY = "steps.json"
LOCK = "lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the directory's exclusive lock while the block runs. RefusedError names the process that has it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a+") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            f.seek(0)
            owner = f.read().strip() or "unknown"
            msg = f"{directory} is in use by process {owner}; wait for it to end, or stop it with: kill -TERM {owner}"
            raise RefusedError(msg) from e
        f.seek(0)
        f.truncate()
        f.write(str(os.getpid()))
        f.flush()
        yield


def opened(directory: Path, steps: Mapping[str, int]) -> tuple[RecoveryConfig, bool]:
    """The recovery configuration of a directory, made if it is new, and whether it holds a state to resume from.

    `steps`: the flow's stateful step ids with their state versions. Raises StateMismatchError naming each step that the
    store knows and the flow does not, or the other way round, and each state that is newer than the code.
    """
    registry = directory / REGISTRY
    if not registry.exists():
        for stale in directory.glob("part-*.sqlite3*"):
            stale.unlink()
        init_db_dir(directory, 1)
        write_registry(registry, steps)
        return RecoveryConfig(directory), False
    try:
        known: dict[str, int] = json.loads(registry.read_text())
    except (OSError, ValueError) as e:
        msg = f"{registry} cannot be read ({e}); the recovery directory is damaged: restore a savepoint or start over with --fresh"
        raise StateMismatchError(msg) from e
    _compared(directory, known, steps)
    resumed = False
    for part in sorted(directory.glob("part-*.sqlite3")):
        stored, resumes = _stored(part)
        resumed = resumed or resumes
        unknown = stored - set(steps)
        if unknown:
            msg = f"{part} holds state of steps {sorted(unknown)} that the flow does not have; Bytewax would drop it silently"
            raise StateMismatchError(msg)
    if known != dict(steps):
        write_registry(registry, steps)
    return RecoveryConfig(directory), resumed


def write_registry(path: Path, steps: Mapping[str, int]) -> None:
    """Writes the registry whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(dict(sorted(steps.items())), indent=1) + "\n")
    part.replace(path)


def _compared(directory: Path, known: Mapping[str, int], steps: Mapping[str, int]) -> None:
    unknown = sorted(set(known) - set(steps))
    missing = sorted(set(steps) - set(known))
    if unknown or missing:
        msg = (
            f"{directory} does not fit this flow: "
            + "; ".join(
                text
                for names, text in (
                    (unknown, f"it holds steps {unknown} that the flow does not have"),
                    (missing, f"it lacks steps {missing} of the flow"),
                )
                if names
            )
            + ". Finish the run with the release that began it, or start over with --fresh"
        )
        raise StateMismatchError(msg)
    newer = {s: (v, steps[s]) for s, v in known.items() if v > steps[s]}
    if newer:
        listed = ", ".join(f"{s} has version {v}, this code knows up to {w}" for s, (v, w) in newer.items())
        msg = f"{directory} was written by a newer release: {listed}"
        raise StateMismatchError(msg)


def _stored(part: Path) -> tuple[set[str], bool]:
    """Step ids with a snapshot in one SQLite part, and whether an epoch was ever completed there."""
    try:
        with sqlite3.connect(f"file:{part}?mode=ro", uri=True) as db:
            stored = {row[0] for row in db.execute("SELECT DISTINCT step_id FROM snaps")}
            resumes = db.execute("SELECT count(*) FROM fronts WHERE worker_frontier > 1").fetchone()[0] > 0
    except sqlite3.Error as e:
        msg = f"{part} cannot be read ({e}): the recovery store is damaged; restore a savepoint or start over with --fresh"
        raise SpiketapeError(msg) from e
    return stored, resumes
