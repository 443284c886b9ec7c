"""From the start of a fresh process to its first result, caches warm.

`start.commit`: until the lake has committed its first rows; `start.row`: until the flow reads its first tick. The command is
`spiketape replay` on the simulated tape, as a user gives it, with a recovery point after each tenth of a second so that the first rows
are committed early.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figure import Figure, figure
from benchmarks.place import simulated, workplace
from benchmarks.run import main

NAME = "start"
GOAL_S = 2
TICKS = 2_000_000
RUNS = 5
LOOK_S = 0.005
PATIENCE_S = 60


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark. The first start fills the caches and is not counted."""
    tape = simulated(TICKS, say)
    with workplace(NAME) as place:
        times = [first_results(tape, place / f"run{i}") for i in range(RUNS + 1)][1:]
    rows, commits = zip(*times, strict=True)
    note = "wall time from spawning the process"
    return {
        "start.commit": figure(commits, "s", "under", GOAL_S, f"{note} to the first rows committed in the lake, epochs of 0.1 s"),
        "start.row": figure(rows, "s", "under", GOAL_S, f"{note} to the flow's first tick: imports, tape, model, kernels from the cache"),
    }


def first_results(tape: Path, run: Path) -> tuple[float, float]:
    """Seconds from spawning a replay until it reads its first row, and until its lake holds committed rows."""
    options = ["--out", str(run), "--epoch-s", "0.1", "--no-report", "--json"]
    began = time.monotonic()
    with _drained([sys.executable, "-m", "flows", "replay", str(tape), *options]) as process:
        row = _seconds_until(began, process, lambda: (run / "recovery" / "attempts.jsonl").exists())
        commit = _seconds_until(began, process, lambda: any(map(_holds_rows, (run / "lake").glob("*/_delta_log/*.json"))))
    return row, commit


@contextmanager
def _drained(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)


def _holds_rows(commit: Path) -> bool:
    try:
        return any("add" in json.loads(line) for line in commit.read_text().splitlines())
    except ValueError:
        return False


def _seconds_until(began: float, process: subprocess.Popen[bytes], there: Callable[[], bool]) -> float:
    while not there():
        if process.poll() is not None and not there():
            said = b"" if process.stderr is None else process.stderr.read()
            msg = f"the replay ended with code {process.returncode} before its first result: {said.decode(errors='replace')[-500:]}"
            raise RuntimeError(msg)
        if time.monotonic() - began > PATIENCE_S:
            msg = f"no first result after {PATIENCE_S} s"
            raise RuntimeError(msg)
        time.sleep(LOOK_S)
    return time.monotonic() - began


if __name__ == "__main__":
    main(NAME)
