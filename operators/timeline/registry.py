"""What a recovery directory belongs to: one set of steps with their state versions.

Bytewax silently drops the state of a renamed step. So the directory carries a registry of step ids, written at the first start
and compared at each later one. Bytewax also lets two instances share a directory: whoever opens it must hold the lock of the
run folder around it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from bytewax.recovery import RecoveryConfig, init_db_dir

from operators.timeline.seal import stored_is_whole
from schemas.errors import SpiketapeError, StateMismatchError

REGISTRY = "steps.json"
FIRST_EPOCH = 1


def opened(directory: Path, steps: Mapping[str, int]) -> tuple[RecoveryConfig, bool]:
    """The recovery configuration of a directory, made if it is new, and whether it holds a state to resume from.

    `steps`: the flow's stateful step ids with their state versions. Raises StateMismatchError naming each step that the
    store knows and the flow does not, or the other way round, and each state that is newer than the code.
    """
    directory.mkdir(parents=True, exist_ok=True)
    registry = directory / REGISTRY
    if not registry.exists():
        for stale in directory.glob("part-*.sqlite3*"):
            stale.unlink()
        init_db_dir(directory, 1)
        write_registry(registry, steps)
        return RecoveryConfig(directory), False
    try:
        known = read_registry(registry)
    except (OSError, ValueError) as e:
        msg = f"{registry} cannot be read ({e}); the recovery directory is damaged: start over with --fresh"
        raise StateMismatchError(msg) from e
    _compared(directory, known, steps)
    resumed = False
    parts = sorted(directory.glob("part-*.sqlite3"))
    if not parts:
        msg = f"{directory} has lost its part-*.sqlite3: the recovery store is damaged; restore a savepoint or start over with --fresh"
        raise SpiketapeError(msg)
    for part in parts:
        stored, resumes = _stored(part)
        resumed = resumed or resumes
        unknown = stored - set(steps)
        if unknown:
            msg = f"{part} holds state of steps {sorted(unknown)} that the flow does not have; Bytewax would drop it silently"
            raise StateMismatchError(msg)
        _check_whole(part)
        _forget_unfinished(part)
    return RecoveryConfig(directory), resumed


def confirm(directory: Path, steps: Mapping[str, int]) -> None:
    """Writes down that the directory's states have the versions of `steps` now: after a flow has run, so that a start that failed
    for want of a migration leaves the directory to the release that wrote it.
    """
    write_registry(directory / REGISTRY, steps)


def _check_whole(part: Path) -> None:
    """Raises SpiketapeError where a snapshot in one SQLite part is not what was sealed (operators/timeline/seal.py)."""
    with _reading(part) as db:
        for step, key, stored in db.execute("SELECT step_id, state_key, ser_change FROM snaps WHERE ser_change IS NOT NULL"):
            if not stored_is_whole(stored):
                msg = f"{part}: the state of step {step!r}, key {key!r}, is damaged; start over with --fresh"
                raise SpiketapeError(msg)


def resume_epoch(db: sqlite3.Connection) -> int:
    """The epoch that Bytewax resumes with: everything before it was completed. Recovery has one partition and live flows one worker, but
    the smallest of all workers counts where there were several."""
    last = db.execute("SELECT ex_num, resume_epoch FROM exs ORDER BY ex_num DESC LIMIT 1").fetchone()
    if last is None:
        return FIRST_EPOCH
    reached = db.execute("SELECT min(worker_frontier) FROM fronts WHERE ex_num = ?", (last[0],)).fetchone()[0]
    return int(last[1] if reached is None else reached)


def _forget_unfinished(part: Path) -> None:
    """Deletes what a process that was killed wrote of an epoch that was never completed.

    Bytewax leaves such snapshots where they are. The next execution repeats the epoch and replaces them, but only those of keys to which
    something comes in it; what is left of the others would pass for a snapshot of that epoch at the resumption after it, with a state that
    the other steps know nothing of.
    """
    with _reading(part) as db, db:
        db.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (resume_epoch(db),))


def connected(part: Path) -> closing[sqlite3.Connection]:
    """One SQLite part that is there, opened for writing even where it is only read: where a process was killed inside a transaction, SQLite
    must take that back before anybody can read."""
    return closing(sqlite3.connect(f"file:{part}?mode=rw", uri=True))


@contextmanager
def _reading(part: Path) -> Iterator[sqlite3.Connection]:
    """One SQLite part, to be read; what SQLite cannot read is told as damage."""
    try:
        with connected(part) as db:
            yield db
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as e:
        msg = f"{part} cannot be read ({e}): the recovery store is damaged; start over with --fresh"
        raise SpiketapeError(msg) from e


def read_registry(path: Path) -> dict[str, int]:
    """Steps with their versions. OSError, ValueError where it cannot be read or holds something else."""
    known = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(known, dict) or not all(isinstance(v, int) for v in known.values()):
        msg = "it does not hold steps and versions"
        raise ValueError(msg)
    return known


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
    with _reading(part) as db:
        if db.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
            msg = f"{part} is damaged (SQLite finds no integrity); start over with --fresh"
            raise SpiketapeError(msg)
        stored = {row[0] for row in db.execute("SELECT DISTINCT step_id FROM snaps")}
        resumes = db.execute("SELECT count(*) FROM fronts WHERE worker_frontier > 1").fetchone()[0] > 0
    return stored, resumes
