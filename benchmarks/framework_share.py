"""Share of a replay's CPU time that is not spent in the stages: reading the tape, Bytewax, recovery snapshots, the lake.

The stages' time is the thread CPU time of their steps in the flow itself. Beside it stand the same stages in a plain loop over the same
tape without Bytewax, recovery and lake (flows/offline.py).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figure import Figure, figure
from benchmarks.place import in_fresh_process, plain_settings, recorded_equity, workplace
from benchmarks.replaying import breakdown, replay_once, stage_seconds
from benchmarks.run import main
from flows.offline import booked, shard_outs
from flows.replay import Execution, cursor_of
from flows.trading import Stages
from operators.sources.tape import Tape
from operators.spiking import load_model

NAME = "framework_share"
GOAL_PERCENT = 15
RUNS = 3
WARM_RANGES = 2


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark. The first run may still compile kernels and is not counted."""
    tape = recorded_equity(say)
    with workplace(NAME) as place:
        runs = [replay_once(tape, place / "run") for _ in range(RUNS + 1)][1:]
        bare = replay_once(tape, place / "bare", lake=False)
    offline = statistics.median(in_fresh_process(offline_cpu_s, tape) for _ in range(RUNS))
    shares = [100 * (1 - stage_seconds(r) / r["cpu_s"]) for r in runs]
    ticks = runs[0]["rows_this_attempt"]
    flow = statistics.median(r["cpu_s"] for r in runs)
    note = (
        f"everything but the stages' steps; CPU ns per tick: {breakdown(runs[-1])}; the whole flow {1e9 * flow / ticks:.0f}, "
        f"without the lake {1e9 * bare['cpu_s'] / ticks:.0f}; the same cursor and stages in a plain loop {1e9 * offline / ticks:.0f}, "
        f"so Bytewax, recovery and lake are {100 * (1 - offline / flow):.0f}% by difference"
    )
    return {NAME: figure(shares, "%", "under", GOAL_PERCENT, note)}


def offline_cpu_s(tape: Path) -> float:
    """CPU seconds of cursor and stages over a tape in a plain loop, all kernels compiled before."""
    opened = Tape.open(tape)
    stages = Stages(plain_settings(), opened.instruments, load_model(None))
    ticks = Execution().batch_ticks
    for ranges, _ in enumerate(_steps(opened, stages, ticks)):
        if ranges == WARM_RANGES:
            break
    began = time.process_time()
    for _ in _steps(opened, stages, ticks):
        pass
    return time.process_time() - began


def _steps(tape: Tape, stages: Stages, batch_ticks: int):  # type: ignore[no-untyped-def]
    return booked(stages.account("offline"), shard_outs(stages, cursor_of(tape, stages), batch_ticks))


if __name__ == "__main__":
    main(NAME)
