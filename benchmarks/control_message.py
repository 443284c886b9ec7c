"""Microseconds from a signed control message to its acceptance by an account: half take less than p50, 99% less than p99.

The signature is checked in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from pydantic import SecretStr

from benchmarks.figure import Figure, figure
from benchmarks.place import simulated
from benchmarks.run import main
from operators.book import AccountStage
from operators.sources.tape import Tape
from schemas.control import Accepted, Command, sign
from schemas.messages import ControlMessage
from schemas.settings import load_settings

NAME = "control_message"
KEY = "a key for benchmarks only"
GOAL_US = 1000
TAPE_TICKS = 200_000
CALLS = 500
RUNS = 7
KINDS = ("pause", "reduce", "emergency", "pause", "resume")


def measure(say: Callable[[str], None]) -> dict[str, Figure]:
    """Runs the benchmark. Each run begins with an account that has accepted nothing."""
    instruments = Tape.open(simulated(TAPE_TICKS, say)).instruments
    settings = load_settings(None, (f"control.key={KEY}",), {})
    stage = AccountStage(instruments, settings, (0,))
    commands = []
    for i in range(CALLS):
        message = ControlMessage(id=f"bench/{i}", kind=KINDS[i % len(KINDS)], reason="a benchmark")
        commands.append(Command(sign(message, SecretStr(KEY), settings.deployment)))
    runs = [_call_us(stage, commands) for _ in range(RUNS + 1)][1:]
    worst = max(float(r.max()) for r in runs)
    note = f"{CALLS} messages a run, none of which takes hold meanwhile; wall time, the slowest of all {worst:.0f} us"
    return {
        f"{NAME}.{part}": figure([float(np.quantile(r, q)) for r in runs], "us", "under", GOAL_US, note)
        for part, q in (("p50", 0.5), ("p99", 0.99))
    }


def _call_us(stage: AccountStage, commands: list[Command]) -> np.ndarray:
    """Microseconds of each acceptance. What was accepted before is taken out of the queue, as a decided slice would."""
    state = stage.start()
    took = np.empty(len(commands))
    for i, command in enumerate(commands):
        began = time.perf_counter_ns()
        state, judged = stage.step(state, command)
        took[i] = (time.perf_counter_ns() - began) / 1e3
        assert isinstance(judged, Accepted)
        del state["book"]["control"]["due"][:-1]
    return took


if __name__ == "__main__":
    main(NAME)
