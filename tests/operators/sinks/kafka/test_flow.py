"""The sink at the end of a Bytewax dataflow: each shard's items reach the part of its partition, killed or not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main

from operators.sinks.kafka.operator import ENDED, KafkaSink
from schemas.instruments import InstrumentList
from schemas.settings import Settings
from schemas.slice_wire import decode_slice_out


@pytest.mark.parametrize("owned", [(0, 1, 2, 3), (1, 3)], ids=str)
def test_items_reach_their_part_and_a_flow_that_is_aborted_writes_each_range_once(
    owned: tuple[int, ...], deployment: Callable[..., Settings], instruments: InstrumentList, topics: Any, made_rows: Any, tmp_path: Path
) -> None:
    settings = deployment()
    shards = [s for s in range(8) if s % 4 in owned]
    said: list[Any] = [(f"s{s:02d}", made_rows.slices(s, k, k + 1, 1)) for k in range(40) for s in shards]
    for at in (55, 90, 91):
        said.insert(at, TestingSource.ABORT())
    init_db_dir(tmp_path, 1)
    for _ in range(4):
        flow, sink = Dataflow("flow"), KafkaSink(settings, instruments, "signals", owned)
        op.output("out", op.input("in", flow, TestingSource(said, batch_size=3)), sink)
        run_main(flow, epoch_interval=timedelta(milliseconds=1), recovery_config=RecoveryConfig(str(tmp_path)))
    sink.finish(ENDED)
    found = topics.read("slices")
    for shard in shards:
        mine = [s for s in found if s.key == f"s{shard:02d}"]
        assert [decode_slice_out(s.value).lo for s in mine] == list(range(40))
        assert {s.partition for s in mine} == {shard % 4}
    assert {s.key for s in topics.read("tokens")} == {f"spiketape.signals.{p}" for p in owned}
