"""Share of time that recovery takes with 100 shards of 64 KB state at epochs of 1 s.

A flow of one lifted stage with that state is run with every batch an epoch of its own, each touching all shards, once with a recovery
store and once without: the difference over the number of epochs is what one epoch costs. At one epoch a second that is the share.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from bytewax.testing import TestingSink

from benchmarks.figure import Figure, figure
from benchmarks.place import in_fresh_process, workplace
from benchmarks.run import main
from operators.timeline.chain import ChainJoint
from operators.timeline.control import Meters
from operators.timeline.lift import lift
from operators.timeline.logic import Lifted
from operators.timeline.stage import Migration, State

NAME = "epoch_cost"
GOAL_PERCENT = 3
SHARDS = 100
STATE_BYTES = 65_536
EPOCHS = 30
EPOCH_S = 1.0
RUNS = 5


@dataclass(frozen=True)
class Touch:
    """What makes a shard change its state in one epoch."""

    key: str
    hi: int


class HeldState:
    """A stage that holds 64 KB and changes a little of it with each value."""

    version = 1
    migrations: Mapping[int, Migration] = {}

    def start(self) -> State:
        return {"a": np.zeros(STATE_BYTES // 8)}

    def step(self, state: State, x: Touch) -> tuple[State, None]:
        state["a"][x.hi % 100] += 1.0
        return state, None


class _Batches(StatefulSourcePartition[tuple[str, Touch], int]):
    def __init__(self, at: int, batches: int) -> None:
        self._at = at
        self._batches = batches

    def next_batch(self) -> list[tuple[str, Touch]]:
        if self._at == self._batches:
            raise StopIteration
        self._at += 1
        return [(f"s{i:02d}", Touch(f"s{i:02d}", self._at)) for i in range(SHARDS)]

    def snapshot(self) -> int:
        return self._at


@dataclass(frozen=True)
class _Source(FixedPartitionedSource[tuple[str, Touch], int]):
    batches: int

    def list_parts(self) -> list[str]:
        return ["one"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Batches:  # noqa: ARG002
        return _Batches(resume_state or 0, self.batches)


def measure(say: Callable[[str], None]) -> dict[str, Figure]:  # noqa: ARG001 - every benchmark is called so
    """Runs the benchmark. Runs with and without recovery take turns."""
    shares, cpu, writes = [], [], []
    with workplace(NAME) as place:
        for i in range(RUNS):
            kept_wall, kept_cpu = in_fresh_process(flow_seconds, EPOCHS, place / f"run{i}")
            bare_wall, bare_cpu = in_fresh_process(flow_seconds, EPOCHS, None)
            shares.append(100 * (kept_wall - bare_wall) / EPOCHS / EPOCH_S)
            cpu.append(100 * (kept_cpu - bare_cpu) / EPOCHS / EPOCH_S)
            writes.append(100 * write_seconds(place / "plain") / EPOCH_S)
    note = (
        f"{statistics.median(shares) * 10:.1f} ms of wall time and {statistics.median(cpu) * 10:.1f} ms of CPU an epoch of "
        f"{SHARDS} shards of {STATE_BYTES // 1024} KB, from {EPOCHS} epochs with recovery less as many without"
    )
    peer = "writing the same bytes to a file, with fsync"
    return {NAME: figure(shares, "% of time", "under", GOAL_PERCENT, note, peer, statistics.median(writes))}


def flow_seconds(epochs: int, store: Path | None) -> tuple[float, float]:
    """Wall and CPU seconds of the flow over as many batches, each an epoch of its own; `store`: where recovery writes, None for none."""
    flow = Dataflow("epochs")
    touches = op.input("touches", flow, _Source(epochs))
    joint = ChainJoint(HeldState(), lambda x: x.hi, lambda _x: 1)
    out: list[Any] = []
    held = lift("held", touches, Lifted("held", lambda x: x.key, lambda _key: joint, Meters()))
    op.output("out", op.filter("none", held, lambda x: x is not None), TestingSink(out))
    config = None
    if store is not None:
        store.mkdir(parents=True)
        init_db_dir(store, 1)
        config = RecoveryConfig(store)
    wall, cpu = time.monotonic(), time.process_time()
    cli_main(flow, epoch_interval=timedelta(0), recovery_config=config)
    return time.monotonic() - wall, time.process_time() - cpu


def write_seconds(path: Path) -> float:
    """Seconds to write one epoch's state plainly and have it on the disk."""
    content = np.random.default_rng(1).bytes(SHARDS * STATE_BYTES)
    began = time.monotonic()
    with path.open("wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    return time.monotonic() - began


if __name__ == "__main__":
    main(NAME)
