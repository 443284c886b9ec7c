"""Killed and drained at random moments, workers changing in between: nothing lost, nothing doubled, the same hash.

The full count (30 kills, 10 drains) is a command: python -m benchmarks.crash TAPE
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.crash import CrashReport, crash_trial

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


def test_a_report_with_another_hash_or_few_resumes_is_not_ok() -> None:
    good = CrashReport(kills=3, terms=1, resumed=3, exit_codes=[143], undisturbed_hash="a", hash="a")
    assert good.ok
    for change in ({"hash": "b"}, {"problems": 1}, {"resumed": 2}, {"exit_codes": [1]}):
        assert not CrashReport(**{**vars(good), **change}).ok
    many = CrashReport(kills=30, terms=0, resumed=29, rows_skipped=9)
    assert many.ok
    assert not CrashReport(**{**vars(many), "rows_skipped": 0}).ok
