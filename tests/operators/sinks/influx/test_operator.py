"""The sink in a Bytewax flow: epochs that end in errors, and what a snapshot promises."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main

from operators.sinks.influx import Writer
from operators.sinks.influx.operator import InfluxHolder, InfluxSink
from operators.timeline.seal import unsealed
from schemas.errors import InfluxError
from schemas.instruments import InstrumentList
from schemas.tables import Rows

Open = Callable[..., Writer]


def test_crashes_at_any_item_lose_and_double_nothing(
    held: Any, writer_for: Open, instruments: InstrumentList, made: Any, tmp_path: Path
) -> None:
    rows = made.many(2000)
    items: list[Any] = [("main", (Rows(rows.table, rows.key, rows.a[i : i + 40]),)) for i in range(0, 2000, 40)]
    for out in made.ranges(instruments, held.settings, 100, seed=5):
        items += [("s", piece) for piece in [*made.cut(out, list(range(out.lo, out.hi, 9))), made.end(out)]]
    rng = random.Random(7)
    for at in sorted(rng.sample(range(1, len(items)), 5), reverse=True):
        items.insert(at, TestingSource.ABORT())
    init_db_dir(tmp_path, 1)
    attempts = 0
    while True:
        holder = InfluxHolder()
        attempts += 1
        flow = Dataflow("sinks")
        sink = InfluxSink(lambda needed: writer_for(held.settings, needed=needed), holder)
        op.output("influx", op.input("items", flow, TestingSource(items, batch_size=3)), sink)
        run_main(flow, epoch_interval=timedelta(milliseconds=attempts % 3), recovery_config=RecoveryConfig(str(tmp_path)))
        assert holder.writer is not None
        waiting = holder.writer.finish(60)
        holder.writer.stop()
        if attempts == 6:
            break
    assert waiting == 0
    points = held.points("execution", "account", "side", "symbol")
    expected = made.expected(instruments, rows)
    assert len(points) == len(expected) == 2000
    assert all(fields == expected[fields["n"]][2] for fields in points.values())


def test_what_a_snapshot_covers_is_in_the_spool_or_the_server(held: Any, writer_for: Open, made: Any) -> None:
    sink = InfluxSink(lambda needed: writer_for(held.settings, needed=needed), InfluxHolder())
    part = sink.build_part("s", "influx", None)
    part.write_batch([made.many(70)])
    state = unsealed("s", part.snapshot())
    assert state["needed"] == 1
    assert state["version"] == sink.version


def test_a_spool_behind_its_recovery_state_is_refused(held: Any, writer_for: Open, made: Any, tmp_path: Path) -> None:
    part = InfluxSink(lambda n: writer_for(held.settings, spool=tmp_path / "a", needed=n), InfluxHolder()).build_part("s", "influx", None)
    part.write_batch([made.many(70)])
    state = part.snapshot()
    with pytest.raises(InfluxError, match="lacks records 0"):
        InfluxSink(lambda n: writer_for(held.settings, spool=tmp_path / "b", needed=n), InfluxHolder()).build_part("s", "influx", state)
