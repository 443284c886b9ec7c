"""The recovery store as it lies on disk: copied whole while a flow runs, read as states, and written anew from states.

Bytewax keeps a flow's states in SQLite partitions `part-N.sqlite3`: table `snaps` has a snapshot for each (step, key, epoch), or NULL where
the key was dropped; `exs` numbers the executions with the epoch that each resumed from, `fronts` has the epoch that each worker of an
execution works on. A flow resumes from the smallest of those of the last execution, with the newest snapshot of each key before it. A
snapshot is a pickle of the sealed bytes of operators/timeline/seal.py. spiketape always has one partition.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bytewax.recovery import init_db_dir

from operators.timeline.registry import FIRST_EPOCH, REGISTRY, connected, read_registry, resume_epoch, write_registry
from operators.timeline.seal import sealed, stored_is_whole, unsealed
from schemas.errors import SavepointError

PARTITION: Final = "part-0.sqlite3"
PAGES_AT_ONCE: Final = -1
"""All pages in one step: the writer waits a few milliseconds, and the copy is of one moment."""


@dataclass(frozen=True)
class StoredState:
    """The state of a step for one key (a shard, an account, the part of a source or a sink), sealed."""

    step: str
    key: str
    content: bytes

    def value(self) -> dict[str, Any]:
        """The snapshot. Raises SpiketapeError where it is not what was sealed."""
        return unsealed(self.step, self.content)

    @classmethod
    def of(cls, step: str, key: str, snapshot: Mapping[str, Any]) -> StoredState:
        return cls(step, key, sealed(snapshot))


@dataclass(frozen=True)
class Store:
    """What a recovery directory resumes with: states, ordered by step and key; `steps` with their state versions; `epoch`: of the
    resumption, 1 where none was ever completed."""

    steps: dict[str, int]
    states: tuple[StoredState, ...]
    epoch: int


def copy_store(source: Path, target: Path) -> None:
    """Copies a recovery directory into a new one, as of one moment, even while a flow writes to it.

    Raises SavepointError where it is none, has several partitions, or cannot be read.
    """
    part = _only_part(source)
    steps = _steps(source)
    target.mkdir(parents=True)
    with _sqlite(part), connected(part) as live, closing(sqlite3.connect(target / PARTITION)) as copy:
        live.backup(copy, pages=PAGES_AT_ONCE)
        copy.execute("PRAGMA journal_mode=DELETE")
    write_registry(target / REGISTRY, steps)


def read_store(directory: Path) -> Store:
    """What a flow that starts from a recovery directory would resume with.

    Raises SavepointError where it cannot be read or a state is damaged.
    """
    part = _only_part(directory)
    steps = _steps(directory)
    with _sqlite(part), connected(part) as db:
        epoch = resume_epoch(db)
        rows = db.execute(
            "SELECT step_id, state_key, ser_change, max(snap_epoch) FROM snaps WHERE snap_epoch < ? GROUP BY step_id, state_key "
            "ORDER BY step_id, state_key",
            (epoch,),
        ).fetchall()
    states = tuple(_state(part, step, key, stored) for step, key, stored, _ in rows if stored is not None)
    return Store(steps, states, epoch)


def write_store(directory: Path, steps: Mapping[str, int], states: Iterable[StoredState]) -> None:
    """Makes a new recovery directory from which a flow resumes with `states`."""
    directory.mkdir(parents=True)
    init_db_dir(directory, 1)
    part = directory / PARTITION
    with _sqlite(part), closing(sqlite3.connect(part)) as db, db:
        db.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (0, 1, ?)", (FIRST_EPOCH,))
        db.execute("INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (0, 0, ?)", (FIRST_EPOCH + 1,))
        db.execute("INSERT INTO commits (part_index, commit_epoch) VALUES (0, ?)", (FIRST_EPOCH,))
        db.executemany(
            "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)",
            ((s.step, s.key, FIRST_EPOCH, pickle.dumps(s.content)) for s in states),
        )
    with _sqlite(part), closing(sqlite3.connect(part)) as db:
        db.execute("PRAGMA journal_mode=DELETE")
    write_registry(directory / REGISTRY, steps)


def _state(part: Path, step: str, key: str, stored: bytes) -> StoredState:
    if not stored_is_whole(stored):
        msg = f"{part}: the state of step {step!r}, key {key!r}, is damaged; restore a savepoint"
        raise SavepointError(msg)
    return StoredState(step, key, pickle.loads(stored))


def _only_part(directory: Path) -> Path:
    parts = sorted(directory.glob("part-*.sqlite3"))
    if [p.name for p in parts] != [PARTITION]:
        found = ", ".join(p.name for p in parts) or "none"
        msg = f"{directory}: expected a recovery store with {PARTITION} alone, found {found}"
        raise SavepointError(msg)
    return parts[0]


def _steps(directory: Path) -> dict[str, int]:
    registry = directory / REGISTRY
    try:
        return read_registry(registry)
    except (OSError, ValueError) as e:
        msg = f"{registry} cannot be read ({e}): not a recovery directory, or a damaged one"
        raise SavepointError(msg) from e


@contextmanager
def _sqlite(part: Path) -> Iterator[None]:
    """What SQLite cannot do is told as an error about the partition."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as e:
        msg = f"{part} cannot be used ({e}): the disk is full, or the recovery store is damaged"
        raise SavepointError(msg) from e
