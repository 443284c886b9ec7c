"""A tape: what goes in comes out, however it is partitioned; damage is found and named; nothing unfinished looks finished."""

from __future__ import annotations

import json
import mmap
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from operators.sources.tape import Feed, FeedChunk, ImportReport, Tape, TapeWriter, describe, write_feeds
from operators.sources.tape import writer as writer_module
from operators.sources.tape.format import MANIFEST, content_hash, parse_manifest
from schemas.errors import RefusedError, SpiketapeError, TapeError
from schemas.instruments import Instrument, InstrumentList
from schemas.ticks import QUOTE, TICK_V1, TRADE, Ticks, shard_of

ROOT = Path(__file__).resolve().parents[3]


def listed(n: int = 6) -> InstrumentList:
    return InstrumentList(
        instruments=tuple(
            Instrument(symbol=f"SYM{i:02d}", price_exponent=2, size_exponent=0, tick_size=1, lot_size=1, calendar="x") for i in range(n)
        ),
        sessions={"x": ((0, 10**15),)},
    )


def ticks_of(n: int, symbols: int = 6, seed: int = 3) -> Ticks:
    """Random ticks in a tape's order, with many equal times."""
    rng = np.random.default_rng(seed)
    t = np.frombuffer(rng.bytes(n * TICK_V1.itemsize), TICK_V1).copy()
    t["ts_ns"] = np.sort(rng.integers(0, max(1, n // 3), n)) * 1_000_000
    t["symbol"] = rng.integers(0, symbols, n)
    t["late_ns"] = np.where(rng.random(n) < 0.1, rng.integers(1, 10**9, n), 0)
    t["gap"] = np.where(rng.random(n) < 0.05, rng.integers(1, 9, n), 0)
    t["kind"] = rng.choice([QUOTE, TRADE], n)
    t = t[np.lexsort((t["symbol"], t["ts_ns"]))]
    for s in range(symbols):
        mine = t["symbol"] == s
        t["seq"][mine] = np.arange(mine.sum())
    return t


def write(path: Path, ticks: Ticks, cuts: tuple[int, ...] = (), **how: int) -> Tape:
    with TapeWriter(path, listed(), origin={"seed": 3}, **how) as tape:
        for part in np.split(ticks, cuts):
            tape.append(part)
    return Tape.open(path)


def read_all(tape: Tape, count: int = 10_000) -> list[Ticks]:
    out = []
    for p in range(tape.partitions):
        parts: list[Ticks] = [np.empty(0, TICK_V1)]
        row = 0
        while row < tape.rows(p):
            parts.append(tape.read(p, row, count))
            row += len(parts[-1])
        out.append(np.concatenate(parts))
    return out


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


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t["ts_ns"].__setitem__(50, 0), "comes before its predecessor"),
        (lambda t: t["symbol"].__setitem__(50, 6), "symbol id that is not in the instrument list"),
        (lambda t: t["seq"].__setitem__(50, 999), "next sequence number"),
        (lambda t: t["late_ns"].__setitem__(50, -1), "negative late_ns"),
    ],
)
def test_ticks_that_do_not_continue_the_tape_are_refused(tmp_path: Path, change: Callable[[Ticks], None], match: str) -> None:
    bad = ticks_of(1000)
    change(bad)
    with pytest.raises(TapeError, match=match):
        write(tmp_path / "t", bad, (20,))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_path_is_refused_and_only_a_tape_is_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "t", ticks_of(100))
    with pytest.raises(RefusedError, match="exists already"):
        TapeWriter(tmp_path / "t", listed())
    with TapeWriter(tmp_path / "t", listed(), overwrite=True) as tape:
        tape.append(ticks_of(50))
        assert Tape.open(tmp_path / "t").manifest.rows == 100
    assert Tape.open(tmp_path / "t").manifest.rows == 50
    assert [f.name for f in tmp_path.iterdir()] == ["t"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RefusedError, match="is not a tape"):
        TapeWriter(tmp_path / "mine", listed(), overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with TapeWriter(tmp_path / "t", listed()) as tape:
            tape.append(ticks_of(100_000))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    code = (
        "import sys, time; sys.path.insert(0, 'tests/operators/sources')\n"
        "from pathlib import Path; from test_tape import listed, ticks_of, TapeWriter\n"
        "w = TapeWriter(Path(sys.argv[1]), listed()); w.append(ticks_of(300_000)); print('written', flush=True); time.sleep(60)"
    )
    out = tmp_path / "t"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(out)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"written\n"
    (partial,) = tmp_path.iterdir()
    assert partial.name == f"t.partial-{child.pid}"
    with TapeWriter(tmp_path / "t", listed()) as tape:
        tape.append(ticks_of(10))
        assert partial.is_dir(), "a living writer's folder stays"
        tape.abort()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert partial.is_dir()
    with pytest.raises(TapeError, match="there is no tape"):
        Tape.open(out)
    with pytest.raises(TapeError, match="no finished tape"):
        Tape.open(partial)
    write(out, ticks_of(10))
    assert [f.name for f in tmp_path.iterdir()] == ["t"]


def test_a_writer_killed_at_any_moment_leaves_no_tape_or_a_whole_one(tmp_path: Path) -> None:
    """The child writes and overwrites one tape again and again, so that a kill may come in the middle of the rename too."""
    code = (
        "import sys; sys.path.insert(0, 'tests/operators/sources')\n"
        "from pathlib import Path; from test_tape import listed, ticks_of, TapeWriter\n"
        "ticks = ticks_of(3000); print('ready', flush=True)\n"
        "while True:\n"
        "    with TapeWriter(Path(sys.argv[1]), listed(), overwrite=True) as w: w.append(ticks)"
    )
    rng = random.Random(7)
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "t")], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0.1, 0.4))
            child.kill()
        if (tmp_path / "t").exists():
            Tape.open(tmp_path / "t").verify()
    with TapeWriter(tmp_path / "t", listed(), overwrite=True) as writer:
        writer.append(ticks_of(10))
    assert [f.name for f in tmp_path.iterdir()] == ["t"]


def test_a_replacement_that_was_cut_off_keeps_the_older_tape(tmp_path: Path) -> None:
    """The old tape has been put aside and the new one has not taken its name: the next writer puts the old one back."""
    write(tmp_path / "t", ticks_of(100))
    (tmp_path / "t").rename(tmp_path / "t.replaced-999999999")
    with pytest.raises(RefusedError, match="exists already"):
        TapeWriter(tmp_path / "t", listed())
    assert Tape.open(tmp_path / "t").manifest.rows == 100
    assert [f.name for f in tmp_path.iterdir()] == ["t"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB; skipped where one may not be mounted."""
    path = tmp_path / "small"
    path.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root's rights")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(SpiketapeError, match="the disk is full"):
        write(small_disk / "t", ticks_of(200_000), tuple(range(0, 200_000, 10_000)))
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(("rows", "refused"), [(100_000, 0), (200_000, 0), (10, 80_000)], ids=["merging", "reading", "refusing"])
def test_a_disk_that_fills_while_feeds_are_merged(small_disk: Path, rows: int, refused: int) -> None:
    report = ImportReport()
    report.read(rows)

    def chunks() -> Iterator[FeedChunk]:
        for line in range(refused):
            report.refuse("a.csv", line, "no number", "x" * 100)
        ticks = ticks_of(rows, 1)
        ticks["late_ns"] = 0
        yield FeedChunk(ticks, np.arange(rows))

    with pytest.raises(SpiketapeError, match="the disk is full"):
        write_feeds([Feed("SYM00", "a.csv", chunks)], small_disk / "t", listed(), report=report)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 100, 1_000_000])
def test_a_file_size_limit_is_a_clear_error_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        with pytest.raises(SpiketapeError, match="cannot be written"), TapeWriter(tmp_path / "t", listed()) as tape:
            tape.append(ticks_of(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpiketapeError, match="cannot be written"):
        TapeWriter(tmp_path / "file" / "t", listed())


def test_an_empty_tape_and_an_empty_partition(tmp_path: Path) -> None:
    tape = write(tmp_path / "t", ticks_of(0), partitions=8)
    tape.verify()
    assert (tape.manifest.rows, tape.manifest.first_ts_ns, tape.rows(0), tape.seek(0, 5)) == (0, None, 0, 0)
    assert len(tape.read(0, 0, 10)) == 0


def test_writing_and_reading_are_fast_enough(tmp_path: Path) -> None:
    """Far below what is measured (several million rows a second): finds a loop over ticks in Python, not a slow machine."""
    ticks = ticks_of(400_000)
    write(tmp_path / "warm", ticks[:10])
    began = time.process_time()
    tape = write(tmp_path / "t", ticks)
    read_all(tape)
    assert time.process_time() - began < 4.0


class TestDamage:
    """Each kind of damage is a TapeError that names the file."""

    @pytest.fixture
    def damaged(self, tmp_path: Path) -> Path:
        write(tmp_path / "t", ticks_of(150_000), partitions=2)
        return tmp_path / "t"

    def flip(self, path: Path, at: int) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 4
        path.write_bytes(data)

    def test_a_flipped_bit_in_a_record_names_file_and_batch(self, damaged: Path) -> None:
        p = max(range(2), key=Tape.open(damaged).rows)
        batch = Tape.open(damaged).manifest.partitions[p].batches[1]
        self.flip(damaged / f"part-00{p}.arrow", batch.offset + 72 * 100 + 30)
        tape = Tape.open(damaged)
        assert len(tape.read(p, 0, 65_536)) == 65_536
        for use in (lambda: tape.read(p, 65_536, 1), lambda: tape.seek(p, batch.first_ts_ns + 1), tape.verify):
            with pytest.raises(TapeError, match=rf"part-00{p}.arrow.*(batch 1|hash)"):
                use()
        assert describe(tape).damage is not None

    def test_a_flipped_bit_anywhere_is_found_by_verify(self, damaged: Path) -> None:
        path = damaged / "part-001.arrow"
        whole = path.read_bytes()
        rng = random.Random(1)
        for at in [0, 5, 8, 500, 900, len(whole) - 1, len(whole) - 300, *(rng.randrange(len(whole)) for _ in range(10))]:
            self.flip(path, at)
            with pytest.raises(TapeError, match=r"part-001\.arrow"):
                Tape.open(damaged).verify()
            path.write_bytes(whole)
        Tape.open(damaged).verify()

    @pytest.mark.parametrize("size", [0, 1, 7, 1000, -1, -72])
    def test_a_truncated_partition(self, damaged: Path, size: int) -> None:
        path = damaged / "part-001.arrow"
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(TapeError, match=r"part-001\.arrow has \d+ bytes"):
            Tape.open(damaged)

    def test_a_missing_partition(self, damaged: Path) -> None:
        (damaged / "part-001.arrow").unlink()
        with pytest.raises(TapeError, match=r"part-001\.arrow is missing"):
            Tape.open(damaged)

    def test_a_folder_in_place_of_a_partition(self, damaged: Path) -> None:
        (damaged / "part-001.arrow").unlink()
        (damaged / "part-001.arrow").mkdir()
        with pytest.raises(TapeError, match=r"part-001\.arrow"):
            Tape.open(damaged)

    def test_a_missing_empty_or_truncated_manifest(self, damaged: Path) -> None:
        path = damaged / MANIFEST
        whole = path.read_bytes()
        path.unlink()
        with pytest.raises(TapeError, match="no finished tape"):
            Tape.open(damaged)
        for size, match in ((0, "is empty"), (len(whole) // 2, "not valid JSON")):
            path.write_bytes(whole[:size])
            with pytest.raises(TapeError, match=match):
                Tape.open(damaged)

    def test_a_file_that_is_no_tape(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("hello")
        with pytest.raises(TapeError, match="there is no tape"):
            Tape.open(tmp_path / "x")

    @pytest.mark.parametrize(
        ("key", "value", "match"),
        [
            ("version", 2, "format version 2"),
            ("tick_version", 9, "tick version 9"),
            ("format", "other", "not a manifest of a tape"),
            ("rows", 3, "does not fit its own checksum"),
            ("tape_hash", "0" * 64, "does not fit its own checksum"),
        ],
    )
    def test_a_changed_manifest(self, damaged: Path, key: str, value: object, match: str) -> None:
        tree = json.loads((damaged / MANIFEST).read_bytes())
        (damaged / MANIFEST).write_text(json.dumps(tree | {key: value}))
        with pytest.raises(TapeError, match=match):
            Tape.open(damaged)


def test_five_thousand_mutated_manifests_raise_nothing_but_tape_error(tape: Tape, tmp_path: Path) -> None:
    data = (tape.path / MANIFEST).read_bytes()
    rng = random.Random(5)
    for i in range(5000):
        broken = bytearray(data)
        if i % 4 == 0:
            broken = broken[: rng.randrange(len(broken))]
        elif i % 4 == 1:
            at = rng.randrange(len(broken))
            broken[at : at + rng.randrange(40)] = rng.randbytes(rng.randrange(40))
        else:
            for _ in range(rng.randrange(1, 5)):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            parsed = parse_manifest(bytes(broken), "m")
        except TapeError:
            continue
        assert parsed == tape.manifest, "only white space may have changed"


def leaves(tree: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    if isinstance(tree, dict | list) and tree:
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return [leaf for key, value in pairs for leaf in leaves(value, (*path, key))]
    return [path]


def test_manifests_that_lie_but_carry_a_fitting_checksum(tape: Tape, tmp_path: Path) -> None:
    """Wrong numbers with a right checksum: opening, reading and verifying end well or with a TapeError, never in a crash."""
    from operators.sources.tape.format import _checksum

    for part in tape.path.glob("part-*"):
        os.link(part, tmp_path / part.name)
    data = (tape.path / MANIFEST).read_bytes()
    paths = leaves(json.loads(data))
    rng = random.Random(6)
    values = [0, -1, 1, 2**31, 2**63, 2**70, 7, 65_537, None, "", "x", "../../etc/passwd", 1.5, True, [], {}]
    found = 0
    for _ in range(600):
        tree = json.loads(data)
        tree.pop("checksum")
        path = rng.choice(paths)
        if path == ("checksum",):
            continue
        node = tree
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = (
            rng.choice(values) if rng.random() < 0.7 or not isinstance(node[path[-1]], int) else node[path[-1]] + rng.choice([-8, 8, 72])
        )
        (tmp_path / MANIFEST).write_text(json.dumps({"checksum": _checksum(tree), **tree}))
        try:
            lying = Tape.open(tmp_path)
            for p in range(lying.partitions):
                lying.read(p, lying.rows(p) // 2, 10)
                lying.seek(p, 10**9)
        except TapeError:
            found += 1
    assert found > 250


def test_the_writers_schema_documents_the_record() -> None:
    fields = json.loads(writer_module.TAPE_SCHEMA.metadata[b"spiketape.fields"])
    assert np.dtype([(f["name"], f["dtype"]) for f in fields]) == TICK_V1


def test_reading_tapes_needs_neither_bytewax_nor_polars() -> None:
    code = "import sys, operators.sources.tape; print([m for m in ('bytewax', 'polars', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
