"""From the start of a fresh process to its first result, caches warm.

`start.commit`: until the lake has committed its first rows; `start.row`: until the flow reads its first tick. The command is
`spiketape replay` on the simulated tape, as a user gives it, with a recovery point after each tenth of a second so that the first rows
are committed early.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
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
    rows, row_cpu, commits, commit_cpu = zip(*times, strict=True)
    note = "wall time from spawning the process"
    used = "; it used {:.2f} CPU s until then"
    return {
        "start.commit": figure(
            commits,
            "s",
            "under",
            GOAL_S,
            f"{note} to the first rows committed in the lake, epochs of 0.1 s" + used.format(statistics.median(commit_cpu)),
        ),
        "start.row": figure(
            rows,
            "s",
            "under",
            GOAL_S,
            f"{note} to the flow's first tick: imports, tape, model, kernels from the cache" + used.format(statistics.median(row_cpu)),
        ),
    }


def first_results(tape: Path, run: Path) -> tuple[float, float, float, float]:
    """Wall and CPU seconds from spawning a replay until it reads its first row, and those until its lake holds committed rows."""
    options = ["--out", str(run), "--epoch-s", "0.1", "--no-report", "--json"]
    began = time.monotonic()
    with _drained([sys.executable, "-m", "flows", "replay", str(tape), *options]) as process:
        row = _seconds_until(began, process, (run / "recovery" / "attempts.jsonl").exists)
        row_cpu = _cpu_s(process.pid)
        commit = _seconds_until(began, process, lambda: any(map(_holds_rows, (run / "lake").glob("*/_delta_log/*.json"))))
        commit_cpu = _cpu_s(process.pid)
    return row, row_cpu, commit, commit_cpu


def _cpu_s(pid: int) -> float:
    """User and system CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
