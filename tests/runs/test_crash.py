"""Killed and drained at random moments, workers changing in between: nothing lost, nothing doubled, the same hash.

The full count (30 kills, 10 drains) is a command: python -m benchmarks.crash TAPE
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.crash import CrashReport, crash_trial, resumed_in
from operators.sinks import verify

KILLS, TERMS = 5, 2


def test_kills_and_drains_at_random_moments_leave_the_undisturbed_output(tapes: Callable[..., Any], tmp_path: Path) -> None:
    """150,000 ticks are 760 s of event time: 12 s at this speed, of which the attempts use 8 at most."""
    report = crash_trial(tapes().path, tmp_path, KILLS, TERMS, seed=2, speed=60.0)
    assert report.kills + report.terms == KILLS + TERMS
    assert report.hash == report.undisturbed_hash
    assert report.problems == 0
    assert report.resumed > (KILLS + TERMS) / 2, report
    assert report.exit_codes == [143] * TERMS
    assert report.ok


@pytest.mark.parametrize("killed_at", [1, 3])
def test_rows_that_the_lake_holds_beyond_the_recovery_point_are_left_out(
    killed_at: int, tapes: Callable[..., Any], run_once: Callable[..., Any], spiketape: Callable[..., Any], tmp_path: Path
) -> None:
    """Killed after the lake's commit and before the engine's: at the first recovery point, and at a later one."""
    tape, out = tapes(), tmp_path / "run"
    options = ("replay", str(tape.path), "--out", str(out), "--epoch-s", "0", "--batch-ticks", "30000", "--no-report", "--json")
    killed = subprocess.run(
        [sys.executable, "-m", "tests.runs.killed_in_snapshot", *options],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "KILLED_AT": str(killed_at)},
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = json.loads(spiketape(*options).stdout)
    ahead = [
        n["lake_ahead_rows"]
        for line in (out / "recovery" / "attempts.jsonl").read_text().splitlines()
        if "lake_ahead_rows" in (n := json.loads(line))
    ]
    assert run["rows_skipped_by_token"] > 0
    assert ahead == ([run["rows_skipped_by_token"]] if killed_at > 1 else []), "told where there was a recovery point to be ahead of"
    assert run["output_hash"] == run_once(tape).run["output_hash"]
    assert verify(out).problems == []


def test_a_start_counts_as_resumed_where_its_slice_is_above_the_firsts() -> None:
    notes = [
        {"rows": 0, "slice": 5},
        {"lake_ahead_rows": 3},
        {"rows": 2000, "slice": 5},
        {"rows": 4000, "slice": 9},
        {"rows": 0, "slice": 5},
    ]
    assert resumed_in(notes) == 1
    assert resumed_in([]) == 0


def test_a_report_with_another_hash_or_few_resumes_is_not_ok() -> None:
    good = CrashReport(kills=3, terms=1, resumed=3, exit_codes=[143], undisturbed_hash="a", hash="a")
    assert good.ok
    for change in ({"hash": "b"}, {"problems": 1}, {"resumed": 2}, {"exit_codes": [1]}):
        assert not CrashReport(**{**vars(good), **change}).ok
    many = CrashReport(kills=30, terms=0, resumed=29, rows_skipped=9)
    assert many.ok
    assert not CrashReport(**{**vars(many), "rows_skipped": 0}).ok
