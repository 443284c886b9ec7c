"""The promise of the product: the same tape gives the same output however it is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.offline import booked, shard_outs
from flows.replay import cursor_of
from flows.trading import Stages
from operators.sinks import Ledger, verify
from operators.spiking import load_model
from schemas.settings import load_settings

SHORT = 6_000


def test_the_run_has_something_to_compare(tapes: Callable[..., Any], run_once: Callable[..., Any]) -> None:
    run = run_once(tapes()).run
    assert run["rows_read"] == 150_000 == run["ticks"] + sum(run["dead_letters"].values())
    assert run["signals"] > 20
    assert run["orders"] > 20
    assert run["fills"] > 10
    assert set(run["chains"]) >= {"signals", "verdicts", "orders", "executions", "positions", "equity"}


@pytest.mark.parametrize(
    "execution",
    [
        {"workers": 2},
        {"workers": 3},
        {"batch_ticks": 1000},
        {"batch_ticks": 50_000},
        {"epoch_s": 0.0, "batch_ticks": 20_000},
        {"epoch_s": 0.2, "batch_ticks": 5_000},
        {"epoch_s": 10.0, "workers": 2, "batch_ticks": 3_000},
    ],
    ids=str,
)
def test_execution_never_changes_the_output(execution: dict[str, Any], tapes: Callable[..., Any], run_once: Callable[..., Any]) -> None:
    outcome = run_once(tapes(), **execution)
    assert outcome.run["output_hash"] == run_once(tapes()).run["output_hash"]
    assert verify(outcome.folder.path).ok


@pytest.mark.parametrize("batch_ticks", [1, 7])
def test_tiny_batches_never_change_the_output(batch_ticks: int, tapes: Callable[..., Any], run_once: Callable[..., Any]) -> None:
    """Signals at every tick, so that a short tape says something."""
    loud = ("signal.enter_share=1.0", "signal.min_interval_ms=0", "book.entry=market", "book.holding_s=2")
    whole = run_once(tapes(SHORT, seed=3), *loud)
    assert whole.run["fills"] > 5
    assert run_once(tapes(SHORT, seed=3), *loud, batch_ticks=batch_ticks).run["output_hash"] == whole.run["output_hash"]


@pytest.mark.parametrize("partitions", [1, 8])
def test_partitions_of_the_tape_never_change_the_output(partitions: int, tapes: Callable[..., Any], run_once: Callable[..., Any]) -> None:
    other = tapes(partitions=partitions)
    assert other.partitions == partitions
    assert other.manifest.tape_hash == tapes().manifest.tape_hash
    assert run_once(other).run["output_hash"] == run_once(tapes()).run["output_hash"]


def test_shards_never_change_the_output(tapes: Callable[..., Any], run_once: Callable[..., Any]) -> None:
    assert run_once(tapes(), "shards=16").run["output_hash"] == run_once(tapes()).run["output_hash"]
    assert run_once(tapes(), "shards=1").run["output_hash"] == run_once(tapes()).run["output_hash"]


def test_the_stages_without_bytewax_say_the_same(tapes: Callable[..., Any], run_once: Callable[..., Any]) -> None:
    tape = tapes()
    stages = Stages(load_settings(None, (), {}), tape.instruments, load_model())
    ledger = Ledger(tape.instruments.symbols, [i.notional_scale for i in tape.instruments.instruments])
    for _, rows in booked(stages.account("main"), shard_outs(stages, cursor_of(tape, stages), 9_000)):
        for r in rows:
            ledger.take(r)
    assert ledger.output_hash() == run_once(tape).run["output_hash"]


@pytest.mark.parametrize("cpu", ["haswell", "x86-64-v2"])
def test_another_generation_of_cpu_gives_the_same_output(
    cpu: str, tapes: Callable[..., Any], run_once: Callable[..., Any], spiketape: Callable[..., Any], tmp_path: Path
) -> None:
    tape = tapes()
    env = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    done = spiketape("replay", tape.path, "--out", tmp_path / "run", "--no-report", "--json", env=env, timeout=400)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output_hash"] == run_once(tape).run["output_hash"]


def test_another_tape_gives_another_output(tapes: Callable[..., Any], run_once: Callable[..., Any]) -> None:
    assert run_once(tapes(seed=6)).run["output_hash"] != run_once(tapes()).run["output_hash"]


def test_time_bounds_show_no_data_from_later(tapes: Callable[..., Any], run_once: Callable[..., Any]) -> None:
    """A run that ends at T says, for whole slices before T, what the full run says."""
    from tests.runs.conftest import rows_of

    tape = tapes()
    full = run_once(tape)
    first, last = tape.manifest.partitions[0].first_ts_ns, tape.manifest.partitions[0].last_ts_ns
    w = full.run["slice_ms"] * 1_000_000
    compared = 0
    for part in (0.3, 0.55, 0.8):
        to = int(first + (last - first) * part)
        cut = run_once(tape, f"replay.to_ns={to}")
        for table in ("signals", "verdicts", "orders", "executions", "positions", "equity", "dead_letters"):
            whole_rows, cut_rows = rows_of(full, table), rows_of(cut, table)
            assert set(cut_rows) <= set(whole_rows)
            for key, rows in whole_rows.items():
                before = rows[rows["slice"] < to // w]
                mine = cut_rows.get(key, rows[:0])
                mine = mine[mine["slice"] < to // w]
                assert mine.tobytes() == before.tobytes(), (part, table, key)
                compared += before.size
    assert compared > 200
