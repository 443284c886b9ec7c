"""A tape: what goes in comes out, however it is partitioned; reading copies nothing and stays in bounded memory."""

from __future__ import annotations

import json
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from operators.sources.tape import Tape, describe
from operators.sources.tape import writer as writer_module
from operators.sources.tape.format import content_hash
from schemas.instruments import InstrumentList
from schemas.ticks import QUOTE, TICK_V1, TRADE, Ticks, shard_of
from tests.operators.sources.tapes import calls_of, read_all, ticks_of, write

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def ticks() -> Ticks:
    return ticks_of(150_000)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory, ticks: Ticks) -> Tape:
    return write(tmp_path_factory.mktemp("tape") / "t", ticks, (1, 7, 70_000), partitions=2)


@pytest.mark.parametrize("partitions", [1, 2, 4, 8, 40])
def test_any_number_of_partitions_holds_the_same_rows_and_hash(tmp_path: Path, ticks: Ticks, tape: Tape, partitions: int) -> None:
    other = write(tmp_path / "t", ticks, (50_000,), partitions=partitions)
    assert other.manifest.tape_hash == tape.manifest.tape_hash
    assert other.manifest.symbols == tape.manifest.symbols
    parts = read_all(other)
    for p, part in enumerate(parts):
        assert {shard_of(f"SYM{s:02d}", 64) % partitions for s in np.unique(part["symbol"])} <= {p}
    merged = np.concatenate(parts)
    merged = merged[np.lexsort((merged["seq"], merged["symbol"], merged["ts_ns"]))]
    assert merged.tobytes() == ticks.tobytes()
    other.verify()


@pytest.mark.parametrize("field", ["price", "late_ns", "conditions", "flags"])
def test_one_changed_number_changes_the_hash(tmp_path: Path, ticks: Ticks, tape: Tape, field: str) -> None:
    changed = ticks.copy()
    changed[field][77_777] ^= 1
    assert write(tmp_path / "t", changed).manifest.tape_hash != tape.manifest.tape_hash


def test_instruments_are_part_of_the_hash(tape: Tape) -> None:
    m = tape.manifest
    rows = [(s.symbol, s.rows, s.xxh3_128) for s in m.symbols]
    assert content_hash(m.instruments, rows) == m.tape_hash
    assert content_hash(m.instruments.model_copy(update={"sessions": {"x": ((0, 5),)}}), rows) != m.tape_hash


def test_a_default_that_is_stated_does_not_change_the_hash(tape: Tape) -> None:
    """So that a new field of instruments, with a default, leaves older tapes as they are."""
    rows = [(s.symbol, s.rows, s.xxh3_128) for s in tape.manifest.symbols]
    bare = InstrumentList.model_validate(tape.instruments.model_dump(exclude_defaults=True))
    assert content_hash(bare, rows) == tape.manifest.tape_hash
    changed = [i.model_copy(update={"shortable": False}) for i in bare.instruments]
    assert content_hash(bare.model_copy(update={"instruments": tuple(changed)}), rows) != tape.manifest.tape_hash


def test_the_manifest_counts_what_is_there(tape: Tape, ticks: Ticks) -> None:
    m = tape.manifest
    assert (m.rows, m.first_ts_ns, m.last_ts_ns) == (len(ticks), ticks["ts_ns"][0], ticks["ts_ns"][-1])
    assert m.kinds == {"quote": int((ticks["kind"] == QUOTE).sum()), "trade": int((ticks["kind"] == TRADE).sum())}
    for i, s in enumerate(m.symbols):
        mine = ticks[ticks["symbol"] == i]
        assert (s.rows, s.late, s.gaps) == (len(mine), (mine["late_ns"] > 0).sum(), (mine["gap"] > 0).sum())
        assert (s.largest_late_ns, s.missing) == (mine["late_ns"].max(), mine["gap"].sum())
        assert (s.first_ts_ns, s.last_ts_ns) == (mine["ts_ns"][0], mine["ts_ns"][-1])
    d = describe(tape)
    assert d.checksum_ok
    assert (d.late, d.missing, d.rows) == ((ticks["late_ns"] > 0).sum(), ticks["gap"].sum(), len(ticks))
    assert sum(p.symbols for p in d.partitions) == 6
    assert json.loads(d.model_dump_json())["origin"] == {"seed": 3}


def test_any_arrow_reader_reads_a_partition(tape: Tape) -> None:
    path = tape.path / "part-000.arrow"
    table = pa.ipc.open_file(path).read_all()
    assert table.schema.metadata[b"spiketape.layout"] == b"TICK_V1"
    assert b"".join(v.as_py() for v in table["tick"]) == read_all(tape)[0].tobytes()
    assert [pa.ipc.open_file(path).get_batch(0).num_rows, tape.manifest.partitions[0].batches[0].rows] == [65_536] * 2


@pytest.mark.parametrize("rows", [1, 2, 3, 12, 13])
def test_tiny_batches_are_found_in_the_file(tmp_path: Path, rows: int) -> None:
    tape = write(tmp_path / "t", ticks_of(rows), partitions=1)
    assert read_all(tape)[0].tobytes() == ticks_of(rows).tobytes()


def test_reading_copies_nothing_and_is_read_only(tape: Tape) -> None:
    a, b = tape.read(0, 10, 100), tape.read(0, 50, 100)
    assert np.shares_memory(a, b)
    base = a
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        a["price"] = 1


def test_a_read_ends_at_a_batch_and_past_the_end_is_empty(tape: Tape) -> None:
    p = max(range(2), key=tape.rows)
    assert len(tape.read(p, 65_000, 10_000)) == 536
    assert len(tape.read(p, 65_536, 10_000)) == 10_000
    assert len(tape.read(p, tape.rows(p), 5)) == 0
    assert len(tape.read(p, 0, 0)) == 0
    with pytest.raises(ValueError, match="counted from 0"):
        tape.read(p, -1, 5)


def test_seek_finds_the_first_row_at_a_time(tape: Tape) -> None:
    rng = np.random.default_rng(9)
    for p, part in enumerate(read_all(tape)):
        for ts in [-(2**70), -1, 0, 1, *rng.integers(0, 51_000 * 10**6, 200).tolist(), int(part["ts_ns"][-1]), 2**62, 2**70]:
            expected = int((part["ts_ns"].astype(object) < ts).sum()) if abs(ts) > 2**62 else int((part["ts_ns"] < ts).sum())
            assert tape.seek(p, ts) == expected


def test_resident_memory_does_not_grow_while_a_tape_is_read(tmp_path: Path) -> None:
    """40 MB are read; only the pages of the latest batches may stay resident."""
    write(tmp_path / "t", ticks_of(600_000, seed=8), partitions=1)
    code = (
        "import sys; from pathlib import Path; from operators.sources.tape import Tape\n"
        "t = Tape.open(Path(sys.argv[1])); row = 0; sizes = []\n"
        "while row < t.rows(0):\n"
        "    row += len(t.read(0, row, 65536))\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    sizes.append(int(status.split('VmRSS:')[1].split()[0]))\n"
        "print(sizes[-1] - sizes[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "t")], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8_000


def test_an_empty_tape_and_an_empty_partition(tmp_path: Path) -> None:
    tape = write(tmp_path / "t", ticks_of(0), partitions=8)
    tape.verify()
    assert (tape.manifest.rows, tape.manifest.first_ts_ns, tape.rows(0), tape.seek(0, 5)) == (0, None, 0, 0)
    assert len(tape.read(0, 0, 10)) == 0


def test_writing_and_reading_do_no_work_row_by_row(tmp_path: Path) -> None:
    """Calls from Python do not grow with the rows of a batch: finds a loop over ticks."""
    ticks = ticks_of(400_000)
    read_all(write(tmp_path / "imports", ticks[:10]))
    assert calls_of(lambda: read_all(write(tmp_path / "t", ticks))) < len(ticks) / 10


def test_the_writers_schema_documents_the_record() -> None:
    fields = json.loads(writer_module.TAPE_SCHEMA.metadata[b"spiketape.fields"])
    assert np.dtype([(f["name"], f["dtype"]) for f in fields]) == TICK_V1


def test_reading_tapes_needs_neither_bytewax_nor_polars() -> None:
    code = "import sys, operators.sources.tape; print([m for m in ('bytewax', 'polars', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
