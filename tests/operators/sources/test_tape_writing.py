"""Writing a tape: what does not fit is refused, nothing unfinished looks finished, whatever ends the writer."""

from __future__ import annotations

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
import pytest

from operators.sources.tape import Feed, FeedChunk, ImportReport, Tape, TapeWriter, write_feeds
from schemas.errors import RefusedError, SpiketapeError, TapeError
from schemas.ticks import Ticks
from tests.operators.sources.tapes import listed, ticks_of, write

ROOT = Path(__file__).resolve().parents[3]


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
        "from pathlib import Path; from tests.operators.sources.tapes import TapeWriter, listed, ticks_of\n"
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
        "import sys\n"
        "from pathlib import Path; from tests.operators.sources.tapes import TapeWriter, listed, ticks_of\n"
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
def disk(small_disk: Callable[[str], Path]) -> Path:
    """A file system of 8 MB."""
    return small_disk("8m")


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(disk: Path) -> None:
    with pytest.raises(SpiketapeError, match="the disk is full"):
        write(disk / "t", ticks_of(200_000), tuple(range(0, 200_000, 10_000)))
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize(("rows", "refused"), [(100_000, 0), (200_000, 0), (10, 80_000)], ids=["merging", "reading", "refusing"])
def test_a_disk_that_fills_while_feeds_are_merged(disk: Path, rows: int, refused: int) -> None:
    report = ImportReport()
    report.read(rows)

    def chunks() -> Iterator[FeedChunk]:
        for line in range(refused):
            report.refuse("a.csv", line, "no number", "x" * 100)
        ticks = ticks_of(rows, 1)
        ticks["late_ns"] = 0
        yield FeedChunk(ticks, np.arange(rows))

    with pytest.raises(SpiketapeError, match="the disk is full"):
        write_feeds([Feed("SYM00", "a.csv", chunks)], disk / "t", listed(), report=report)
    assert list(disk.iterdir()) == []


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
