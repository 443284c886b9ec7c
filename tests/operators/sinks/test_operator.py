"""The sink in a Bytewax flow: epochs, crashes, and errors that reach the driver."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main

from operators.sinks import Lake, LakeReader, Ledger
from operators.sinks.operator import Holder, RowsSink
from operators.timeline.seal import unsealed
from schemas.errors import LakeError
from schemas.tables import TABLES, Rows

Open = Callable[..., Lake]
NewLedger = Callable[[], Ledger]


def flow_of(items: list[Any], sink: RowsSink) -> Dataflow:
    flow = Dataflow("sinks")
    stream = op.input("rows", flow, TestingSource(items, batch_size=3))
    op.output("lake", stream, sink)
    return flow


def cut_into_items(made: Any, count: int, seed: int) -> list[tuple[str, Any]]:
    """All rows of `count` a key, in random pieces, mixed as the flow may mix keys; single pieces and tuples of them."""
    rng = random.Random(seed)
    waiting = {(p.table, p.key): p for p in made.all(0, count)}
    items: list[tuple[str, Any]] = []
    while waiting:
        pieces = []
        for place in rng.sample(sorted(waiting), min(len(waiting), rng.randint(1, 4))):
            p = waiting[place]
            k = rng.randint(1, 7)
            pieces.append(Rows(p.table, p.key, p.a[:k]))
            if p.a.size > k:
                waiting[place] = Rows(p.table, p.key, p.a[k:])
            else:
                del waiting[place]
        items.append(("main", pieces[0] if len(pieces) == 1 else tuple(pieces)))
    return items


def test_crashes_at_any_item_lose_and_double_nothing(tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any) -> None:
    items = cut_into_items(made, 25, seed=1)
    rng = random.Random(2)
    for at in sorted(rng.sample(range(1, len(items)), 6), reverse=True):
        items.insert(at, TestingSource.ABORT())  # type: ignore[arg-type]
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(str(tmp_path))
    attempts = 0
    while True:
        holder = Holder()
        attempts += 1
        run_main(
            flow_of(items, RowsSink(new_ledger, lambda: open_lake(tmp_path / "lake"), holder)),
            epoch_interval=timedelta(0) if attempts % 2 else timedelta(milliseconds=2),
            recovery_config=recovery,
        )
        assert holder.ledger is not None
        assert holder.lake is not None
        if sum(holder.ledger.counts().values()) == 25 * sum(len(made.keys(t)) for t in TABLES):
            break
        assert attempts < 20
    assert attempts > 3
    holder.lake.finish()
    held = {(t.name, k.key): k.rows["n"].tolist() for t in LakeReader(tmp_path / "lake").tables() for k in t.keys}
    assert held == {(t, key): list(range(25)) for t in TABLES for key, _ in made.keys(t)}
    whole = new_ledger()
    for piece in made.all(0, 25):
        whole.take(piece)
    assert holder.ledger.output_hash() == whole.output_hash()


def test_without_a_lake_the_hash_is_the_same(open_lake: Open, new_ledger: NewLedger, made: Any) -> None:
    hashes = set()
    for seed in (3, 4):
        holder = Holder()
        run_main(flow_of(cut_into_items(made, 15, seed), RowsSink(new_ledger, None, holder)))
        assert holder.ledger is not None
        assert holder.lake is None
        hashes.add(holder.ledger.output_hash())
    assert len(hashes) == 1


def test_rows_are_durable_before_the_epoch_is(tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any) -> None:
    sink = RowsSink(new_ledger, lambda: open_lake(tmp_path), Holder())
    part = sink.build_part("s", "lake", None)
    part.write_batch([tuple(made.all(0, 7))])
    assert LakeReader(tmp_path).names() == ()
    state = part.snapshot()
    held = {(t.name, k.key): k.rows.size for t in LakeReader(tmp_path).tables() for k in t.keys}
    assert held == unsealed("s", state)["next"]


def test_a_lake_behind_its_recovery_state_is_refused(tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any) -> None:
    part = RowsSink(new_ledger, lambda: open_lake(tmp_path / "a"), Holder()).build_part("s", "lake", None)
    part.write_batch([tuple(made.all(0, 7))])
    state = part.snapshot()
    with pytest.raises(LakeError, match="has 0 rows, the recovery state says 7: rows 0 to 6 are lost"):
        RowsSink(new_ledger, lambda: open_lake(tmp_path / "b"), Holder()).build_part("s", "lake", state)


def test_an_error_of_the_lake_reaches_the_driver_as_what_it_is(tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any) -> None:
    rows = made.rows("statistics", "s03", 5, 4, 0)
    with pytest.raises(LakeError, match="rows 0 to 4 are missing"):
        run_main(flow_of([("main", rows)], RowsSink(new_ledger, lambda: open_lake(tmp_path), Holder())))
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "statistics").write_text("a file where the table should be")
    opening = RowsSink(new_ledger, lambda: open_lake(tmp_path / "blocked"), Holder())
    with pytest.raises(BytewaxRuntimeError) as e:  # Bytewax wraps what building a part raises: open the lake before the flow runs
        run_main(flow_of([("main", made.rows("statistics", "s03", 0, 4, 0))], opening))
    assert isinstance(e.value.__cause__, LakeError)


def test_a_full_disk_at_the_end_of_an_epoch_reaches_the_driver(
    tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("operators.sinks.delta.write_deltalake", full)
    sink = RowsSink(new_ledger, lambda: open_lake(tmp_path), Holder())
    with pytest.raises((LakeError, BytewaxRuntimeError)) as e:
        run_main(flow_of([("main", made.rows("statistics", "s03", 0, 4, 0))], sink), epoch_interval=timedelta(0))
    assert "the disk is full" in f"{e.value} {e.value.__cause__}"
