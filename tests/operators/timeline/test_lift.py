"""A stage lifted into Bytewax: same output for any workers and epochs, resumed after a stop, drained exactly, held by credit."""

from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from bytewax.testing import TestingSink

from operators.sources.replay import TapeCursor
from operators.sources.replay.operator import TapeSource
from operators.timeline.chain import ChainJoint
from operators.timeline.control import Credit, Drain, Meters
from operators.timeline.lift import lift
from operators.timeline.logic import Lifted
from operators.timeline.registry import REGISTRY, opened, write_registry
from operators.timeline.seal import stored_is_whole
from operators.timeline.stage import State
from schemas.errors import SpiketapeError, StateMismatchError
from schemas.ticks import TICK_V1, Mark, TickBatch, Ticks, shard_key

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures"


class Summing:
    """Counts ticks and adds up prices by slice; a small stage with state, to test the lift itself."""

    version = 1
    migrations: dict[int, Any] = {}  # noqa: RUF012

    def start(self) -> State:
        return {"n": 0, "total": np.zeros(1, np.int64)}

    def step(self, state: State, x: TickBatch) -> tuple[State, tuple[int, int]]:
        state["n"] += x.ticks.size
        state["total"][0] += x.ticks["price"].sum()
        return state, (state["n"], int(state["total"][0]))


class OneArray:
    """A tape of one partition in memory."""

    def __init__(self, a: Ticks) -> None:
        self.a = a

    def rows(self, _partition: int) -> int:
        return int(self.a.size)

    def read(self, _partition: int, start: int, count: int) -> Ticks:
        return self.a[start : start + count]

    def seek(self, _partition: int, ts_ns: int) -> int:
        return int(np.searchsorted(self.a["ts_ns"], ts_ns))


def ticks(n: int) -> Ticks:
    a = np.zeros(n, TICK_V1)
    a["ts_ns"] = np.arange(n) * 10
    a["price"] = np.random.default_rng(7).integers(1, 1000, n)
    a["symbol"] = np.arange(n) % 3
    return a


def summing_flow(
    a: Ticks, out: list[Any], batch: int, drain: Drain | None = None, stop_after: int | None = None, stage: type[Any] = Summing
) -> tuple[Dataflow, Lifted]:
    meters = Meters()
    cursor = TapeCursor(OneArray(a), 1, [0, 1, 2], np.arange(3, dtype=np.int32), [[0], [0], [0]], 100)
    drain = drain or Drain()

    def on_rows(rows: int) -> None:
        if stop_after is not None and rows >= stop_after:
            drain.ask()

    source = TapeSource("ticks", cursor, batch, 100, drain, Credit(0, open_batches=10**9), meters, on_rows=on_rows)
    lifted = Lifted(
        "sum", lambda b: shard_key(b.shard), lambda _: ChainJoint(stage(), lambda b: b.first_offset + 1, lambda b: b.ticks.size), meters
    )
    flow = Dataflow("summing")
    batches = op.filter_value("ticks_only", op.input("ticks", flow, source), lambda m: not isinstance(m, Mark))
    op.output("out", lift("sum", batches, lifted), TestingSink(out))
    return flow, lifted


def finals(lifted: Lifted) -> dict[str, tuple[int, int]]:
    return {key: (logic.state["n"], int(logic.state["total"][0])) for key, logic in lifted.logics.items()}


def expected(a: Ticks) -> dict[str, tuple[int, int]]:
    return {shard_key(s): (int(np.count_nonzero(a["symbol"] == s)), int(a["price"][a["symbol"] == s].sum())) for s in range(3)}


@pytest.mark.parametrize(("workers", "batch", "epoch_s"), [(1, 7, 0.0), (1, 1000, 10.0), (2, 50, 0.05), (3, 13, 10.0)])
def test_workers_batches_and_epochs_do_not_change_the_state(workers: int, batch: int, epoch_s: float) -> None:
    a = ticks(2000)
    flow, lifted = summing_flow(a, [], batch)
    cli_main(flow, workers_per_process=workers, epoch_interval=timedelta(seconds=epoch_s))
    assert finals(lifted) == expected(a)


def test_a_drained_run_goes_on_where_it_was_with_other_workers(tmp_path: Path) -> None:
    a = ticks(3000)
    versions = {"summing.ticks": 1, "summing.sum": 1}
    stops = [500, 1100, None]
    read = 0
    for workers, stop in zip((1, 2, 1), stops, strict=True):
        out: list[Any] = []
        flow, lifted = summing_flow(a, out, 50, stop_after=stop)
        recovery, resumed = opened(tmp_path, versions)
        assert resumed == (stop != 500)
        cli_main(flow, workers_per_process=workers, epoch_interval=timedelta(seconds=10), recovery_config=recovery)
        done = sum(n for n, _ in finals(lifted).values())
        assert done >= (stop or 3000)
        assert done > read
        read = done
    assert finals(lifted) == expected(a)


class Averaging(Summing):
    """The second version of the stage: its state counts under another name and knows the largest price."""

    version = 2
    migrations = {1: lambda s: {"count": s["n"], "total": s["total"], "largest": 0}}  # noqa: RUF012

    def start(self) -> State:
        return {"count": 0, "total": np.zeros(1, np.int64), "largest": 0}

    def step(self, state: State, x: TickBatch) -> tuple[State, tuple[int, int]]:
        state["count"] += x.ticks.size
        state["total"][0] += x.ticks["price"].sum()
        state["largest"] = max(state["largest"], int(x.ticks["price"].max()))
        return state, (state["count"], int(state["total"][0]))


class Unable(Averaging):
    migrations: dict[int, Any] = {}  # noqa: RUF012


def stored_at_version_1(folder: Path) -> Path:
    """The recovery store of a run of `summing_flow` over ticks(3000), drained at 1,120 of them, as version 1 left it."""
    with closing(sqlite3.connect(folder / "part-0.sqlite3")) as db:
        db.executescript((FIXTURES / "summing_state_v1.sql").read_text())
        db.execute("PRAGMA user_version = 5")
    write_registry(folder / REGISTRY, {"summing.ticks": 1, "summing.sum": 1})
    return folder


def test_a_stored_state_of_an_older_version_is_migrated_and_gone_on_with(tmp_path: Path) -> None:
    a = ticks(3000)
    recovery, resumed = opened(stored_at_version_1(tmp_path), {"summing.ticks": 1, "summing.sum": 2})
    assert resumed
    flow, lifted = summing_flow(a, [], 50, stage=Averaging)
    cli_main(flow, workers_per_process=2, epoch_interval=timedelta(seconds=10), recovery_config=recovery)
    states = {key: logic.state for key, logic in lifted.logics.items()}
    assert {key: (s["count"], int(s["total"][0])) for key, s in states.items()} == expected(a)
    rest = a[1120:]
    assert {key: s["largest"] for key, s in states.items()} == {
        shard_key(s): int(rest["price"][rest["symbol"] == s].max()) for s in range(3)
    }


def test_a_stored_state_of_an_older_version_without_a_migration_is_refused(tmp_path: Path) -> None:
    recovery, _ = opened(stored_at_version_1(tmp_path), {"summing.ticks": 1, "summing.sum": 2})
    flow, _ = summing_flow(ticks(3000), [], 50, stage=Unable)
    with pytest.raises(StateMismatchError, match="'sum': the store holds state version 1, this code needs 2 and has no migration from 1"):
        cli_main(flow, recovery_config=recovery)
    opened(tmp_path, {"summing.ticks": 1, "summing.sum": 1})


def test_a_changed_bit_of_a_stored_state_is_found_before_the_flow_starts(tmp_path: Path) -> None:
    part = stored_at_version_1(tmp_path) / "part-0.sqlite3"
    with closing(sqlite3.connect(part)) as db, db:
        (stored,) = db.execute("SELECT ser_change FROM snaps WHERE state_key = 's01'").fetchone()
    harmless = 0
    for at in range(len(stored)):
        raw = bytearray(stored)
        raw[at] ^= 1 << at % 8
        with closing(sqlite3.connect(part)) as db, db:
            db.execute("UPDATE snaps SET ser_change = ? WHERE state_key = 's01'", (bytes(raw),))
        if stored_is_whole(bytes(raw)):
            assert pickle.loads(raw) == pickle.loads(stored), at
            harmless += 1
            continue
        with pytest.raises(SpiketapeError, match="step 'summing.sum', key 's01', is damaged.*--fresh"):
            opened(tmp_path, {"summing.ticks": 1, "summing.sum": 1})
    assert harmless < 20, "only bits of the pickle's frame that say nothing"


def test_an_error_in_a_stage_names_step_key_and_slices() -> None:
    class Failing(Summing):
        def step(self, state: State, x: TickBatch) -> tuple[State, tuple[int, int]]:
            msg = "no"
            raise ValueError(msg)

    joint = ChainJoint(Failing(), lambda b: b.first_offset + 1, lambda b: b.ticks.size)
    from operators.timeline.logic import StageLogic

    logic = StageLogic(Lifted("gate", lambda _: "s00", lambda _: joint, Meters()), "s00")
    a = ticks(10)
    with pytest.raises(ValueError, match="no") as caught:
        logic.on_batch([TickBatch(0, 0, 0, a["ts_ns"] // 100, a)])
    assert "step 'gate', key 's00', slices [" in caught.value.__notes__[0]


BACK_PRESSURE = """
import sys, threading, time
from datetime import timedelta
import bytewax.operators as op, numpy as np
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from bytewax.testing import TestingSink
from operators.sources.replay import TapeCursor
from operators.sources.replay.operator import TapeSource
from operators.timeline.control import Credit, Drain, Meters, peak_rss_mb
from schemas.ticks import TICK_V1, Mark
from tests_tape import MadeTape
open_batches = int(sys.argv[1])
credit = Credit(10, open_batches)
cursor = TapeCursor(MadeTape(6_000_000), 1, [0, 1], np.zeros(1, np.int32), [[0], []], 100)
source = TapeSource("ticks", cursor, 60_000, 100, Drain(), credit, Meters())
flow = Dataflow("pressed")
reader = []
def keyed_by(batch):
    reader[:] = [threading.get_ident()]
    return f"k{batch.first_offset // 60_000 % 8}"
def slow(state, batch):
    if threading.get_ident() != reader[0]:
        time.sleep(0.04)
    credit.done(int(batch.slices[-1]) + 1)
    return state, []
s = op.input("ticks", flow, source)
batches = op.filter("batches", op.map("m", s, lambda kv: kv[1]), lambda m: not isinstance(m, Mark))
# keys of both workers; the one that does not read is slow: without credit its half piles up on the way to it
keyed = op.key_on("key", batches, keyed_by)
op.output("out", op.stateful_flat_map("slow", keyed, slow), TestingSink([]))
def peak_kib():  # ru_maxrss of a child begins with its parent's peak, VmHWM does not
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
base = peak_kib()
cli_main(flow, workers_per_process=2, epoch_interval=timedelta(seconds=60))
print((peak_kib() - base) // 1024)
"""

MADE_TAPE = """
import numpy as np
from schemas.ticks import TICK_V1
class MadeTape:
    def __init__(self, n): self.n = n
    def rows(self, p): return self.n
    def read(self, p, start, count):
        a = np.zeros(min(count, self.n - start), TICK_V1)
        a["ts_ns"] = np.arange(start, start + a.size) * 10
        return a
    def seek(self, p, ts_ns): return ts_ns // 10
"""


def grown_mib(tmp_path: Path, open_batches: int) -> int:
    (tmp_path / "tests_tape.py").write_text(MADE_TAPE)
    run = subprocess.run(
        [sys.executable, "-c", BACK_PRESSURE, str(open_batches)],
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return int(run.stdout)


def test_credit_bounds_the_memory_between_a_fast_source_and_a_slow_stage(tmp_path: Path) -> None:
    """6 M ticks are 432 MB: without the bound the slow half of them is in flight at once, with it three batches (13 MB) are."""
    held = grown_mib(tmp_path, 3)
    free = grown_mib(tmp_path, 10**9)
    assert free > held + 120
