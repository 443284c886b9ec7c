"""A recovery directory belongs to one set of steps."""

from __future__ import annotations

import json
import pickle
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from operators.timeline.registry import REGISTRY, confirm, opened
from operators.timeline.seal import sealed
from schemas.errors import SpiketapeError, StateMismatchError

STEPS = {"flow.source": 1, "flow.gate": 2}


def test_a_new_directory_is_made_and_has_nothing_to_resume(tmp_path: Path) -> None:
    _, resumed = opened(tmp_path, STEPS)
    assert not resumed
    assert json.loads((tmp_path / REGISTRY).read_text()) == STEPS
    assert list(tmp_path.glob("part-*.sqlite3"))


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ({"flow.source": 1, "flow.gates": 2}, r"holds steps \['flow.gate'\].*lacks steps \['flow.gates'\]"),
        ({"flow.source": 1}, r"holds steps \['flow.gate'\]"),
        ({**STEPS, "flow.new": 1}, r"lacks steps \['flow.new'\]"),
        ({"flow.source": 1, "flow.gate": 1}, r"flow.gate has version 2, this code knows up to 1"),
    ],
    ids=["renamed", "removed", "added", "older code"],
)
def test_another_set_of_steps_is_refused_and_named(tmp_path: Path, steps: dict[str, int], named: str) -> None:
    opened(tmp_path, STEPS)
    with pytest.raises(StateMismatchError, match=named):
        opened(tmp_path, steps)
    assert json.loads((tmp_path / REGISTRY).read_text()) == STEPS


def test_a_newer_state_version_of_the_code_is_written_down_when_the_flow_has_run(tmp_path: Path) -> None:
    """Not at its start: should a migration be missing, the release that wrote the states can still finish the run."""
    opened(tmp_path, STEPS)
    newer = {**STEPS, "flow.gate": 3}
    opened(tmp_path, newer)
    opened(tmp_path, STEPS)
    confirm(tmp_path, newer)
    with pytest.raises(StateMismatchError, match="newer release"):
        opened(tmp_path, STEPS)


def test_a_snapshot_of_a_step_outside_the_registry_is_refused(tmp_path: Path) -> None:
    opened(tmp_path, STEPS)
    with sqlite3.connect(next(tmp_path.glob("part-*.sqlite3"))) as db:
        db.execute("INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('flow.old', 'k', 1, x'00')")
    with pytest.raises(StateMismatchError, match=r"state of steps \['flow.old'\]"):
        opened(tmp_path, STEPS)


def test_a_damaged_store_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    opened(tmp_path, STEPS)
    next(tmp_path.glob("part-*.sqlite3")).write_bytes(b"not a database" * 500)
    with pytest.raises(SpiketapeError, match="--fresh"):
        opened(tmp_path, STEPS)


def test_a_damaged_registry_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    opened(tmp_path, STEPS)
    (tmp_path / REGISTRY).write_text("{")
    with pytest.raises(StateMismatchError, match="--fresh"):
        opened(tmp_path, STEPS)


def test_a_store_whose_process_was_killed_inside_a_transaction_is_read(tmp_path: Path) -> None:
    """Without a write-ahead log, as a store that was just made, SQLite has to take the half transaction back before anybody can read."""
    opened(tmp_path, STEPS)
    part = next(tmp_path.glob("part-*.sqlite3"))
    killed = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA journal_mode=DELETE')\n"
        "db.execute('PRAGMA cache_size=1')\n"
        "db.execute('BEGIN IMMEDIATE')\n"
        "for i in range(200):\n"
        "    columns = '(step_id, state_key, snap_epoch, ser_change)'\n"
        "    db.execute(f'INSERT INTO snaps {columns} VALUES (?, ?, 1, ?)', ('flow.gate', str(i), bytes(4096)))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", killed, part], check=False).returncode == -signal.SIGKILL
    assert part.with_name(part.name + "-journal").exists()
    _, resumed = opened(tmp_path, STEPS)
    assert not resumed
    with closing(sqlite3.connect(part)) as db:
        assert db.execute("SELECT count(*) FROM snaps").fetchone() == (0,)


def test_what_was_written_of_an_epoch_that_was_never_completed_is_forgotten(tmp_path: Path) -> None:
    """Bytewax would take it for a state of that epoch at the resumption after next, where its key was not awoken in between."""
    opened(tmp_path, STEPS)
    part = next(tmp_path.glob("part-*.sqlite3"))
    content = pickle.dumps(sealed({"state": 1}))
    with closing(sqlite3.connect(part)) as db, db:
        db.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (0, 2, 1), (1, 2, 4)")
        db.execute("INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (0, 0, 4), (0, 1, 4), (1, 0, 8), (1, 1, 7)")
        for epoch in (3, 6, 7, 8):
            db.execute("INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('flow.gate', 's00', ?, ?)", (epoch, content))
    opened(tmp_path, STEPS)
    with closing(sqlite3.connect(part)) as db:
        assert db.execute("SELECT snap_epoch FROM snaps ORDER BY 1").fetchall() == [(3,), (6,)]
