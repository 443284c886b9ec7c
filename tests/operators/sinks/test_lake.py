"""The lake: once each row, whatever is killed when."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from operators.sinks import Lake, Ledger
from operators.sinks.delta import TOKEN
from operators.sinks.reading import LakeReader
from schemas.errors import LakeError, RefusedError
from schemas.settings import Settings
from schemas.tables import TABLES, Rows

ROOT = Path(__file__).resolve().parents[3]
Open = Callable[..., Lake]
NewLedger = Callable[[], Ledger]


def held(path: Path) -> dict[tuple[str, str], list[int]]:
    """n of every row in a lake, by table and key."""
    return {(t.name, k.key): k.rows["n"].tolist() for t in LakeReader(path).tables() for k in t.keys}


def complete(made: Any, count: int) -> dict[tuple[str, str], list[int]]:
    return {(table, key): list(range(count)) for table in TABLES for key, _ in made.keys(table)}


def test_a_crash_between_epochs_loses_and_doubles_nothing(tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any) -> None:
    lake, ledger = open_lake(tmp_path), new_ledger()
    made.say(lake, ledger, made.all(0, 10))
    lake.flush()
    epoch = ledger.snapshot()  # the recovery store is here, the lake goes on
    made.say(lake, ledger, made.all(10, 10))
    lake.flush()
    made.say(lake, ledger, made.all(20, 5))  # buffered, then killed

    lake, ledger = open_lake(tmp_path), new_ledger()
    ledger.restore(epoch)
    lake.require(ledger.counts())
    for first in range(10, 40, 3):  # the flow sends again from the epoch, cut at other places
        made.say(lake, ledger, made.all(first, 3))
    lake.finish()
    assert lake.skipped == 10 * sum(len(made.keys(t)) for t in TABLES)
    assert held(tmp_path) == complete(made, 40)
    whole = new_ledger()
    for piece in made.all(0, 40):
        whole.take(piece)
    assert ledger.output_hash() == whole.output_hash()


def test_the_first_epoch_replayed_whole_is_left_out(tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any) -> None:
    for _ in range(3):
        lake, ledger = open_lake(tmp_path), new_ledger()
        made.say(lake, ledger, made.all(0, 12))
        lake.flush()
    assert lake.commits == 0
    assert lake.skipped == 12 * sum(len(made.keys(t)) for t in TABLES)
    assert held(tmp_path) == complete(made, 12)


def test_a_crash_between_two_tables_is_mended_by_their_own_tokens(
    tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any
) -> None:
    lake, ledger = open_lake(tmp_path), new_ledger()
    made.say(lake, ledger, made.all(0, 6))
    lake._buffer["executions"] = []
    for table in ("signals", "orders"):
        lake._hand_over(table)
        lake._settle(table)
    assert held(tmp_path).keys() == {(t, k) for t in ("signals", "orders") for k, _ in made.keys(t)}
    lake, ledger = open_lake(tmp_path), new_ledger()
    made.say(lake, ledger, made.all(0, 6))
    lake.finish()
    assert held(tmp_path) == complete(made, 6)


def test_missing_rows_are_an_error_and_rows_lost_behind_the_recovery_state_too(tmp_path: Path, open_lake: Open, made: Any) -> None:
    lake = open_lake(tmp_path)
    lake.write(made.rows("statistics", "s03", 0, 4, 0))
    with pytest.raises(LakeError, match="table statistics, key s03: rows 4 to 5 are missing"):
        lake.write(made.rows("statistics", "s03", 6, 4, 0))
    holes = made.rows("statistics", "s17", 0, 4, 0)
    holes.a["n"][2] = 7
    with pytest.raises(LakeError, match="must run up by one"):
        lake.write(holes)
    lake.flush()
    with pytest.raises(LakeError, match="s03 has 4 rows, the recovery state says 9: rows 4 to 8 are lost"):
        lake.require({("statistics", "s03"): 9})


def test_an_older_token_is_refused_here_because_deltalake_takes_it(tmp_path: Path, open_lake: Open, made: Any) -> None:
    lake = open_lake(tmp_path)
    lake.write(made.rows("statistics", "s03", 0, 4, 0))
    lake.flush()
    other = open_lake(tmp_path)
    other.write(made.rows("statistics", "s03", 4, 4, 0))
    other.flush()
    lake.write(made.rows("statistics", "s03", 4, 4, 0))
    with pytest.raises(LakeError, match="transaction spiketape/statistics stands at version 8, 4 was expected: another process writes"):
        lake.flush()
    lake.flush()  # opened anew: what the other one wrote is left out
    assert held(tmp_path)["statistics", "s03"] == list(range(8))
    # the fact about the library on which the comparison stands
    table = DeltaTable(tmp_path / "statistics")
    old = CommitProperties(app_transactions=[Transaction("spiketape/statistics", 2)])
    write_deltalake(table, table.to_pyarrow_table(), mode="append", commit_properties=old)
    assert DeltaTable(tmp_path / "statistics").transaction_version("spiketape/statistics") == 2


def test_a_lake_that_was_changed_from_outside_is_not_written_on(tmp_path: Path, open_lake: Open, made: Any) -> None:
    lake = open_lake(tmp_path)
    lake.write(made.rows("statistics", "s03", 0, 4, 0))
    lake.flush()
    DeltaTable(tmp_path / "statistics").delete("n = 3")
    with pytest.raises(LakeError, match="does not hold what was committed to it .s03: 3 rows, 4 committed"):
        open_lake(tmp_path)


def test_a_token_lost_from_the_log_is_found_again_in_the_rows(tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any) -> None:
    lake, ledger = open_lake(tmp_path), new_ledger()
    made.say(lake, ledger, made.all(0, 5))
    lake.flush()
    table = DeltaTable(tmp_path / "signals")
    table.create_checkpoint()
    log = tmp_path / "signals" / "_delta_log" / "00000000000000000000.json"
    log.write_text("".join(line for line in log.read_text().splitlines(True) if TOKEN not in line))
    assert open_lake(tmp_path).tokens()["signals"] == {"AAPL": 4, "BTC/USDT": 4, "EURUSD": 4}


def test_another_deployment_is_refused(tmp_path: Path, open_lake: Open, settings: Settings, instruments: Any, made: Any) -> None:
    lake = open_lake(tmp_path)
    lake.write(made.rows("statistics", "s03", 0, 4, 0))
    lake.flush()
    with pytest.raises(RefusedError, match="of another deployment"):
        Lake(tmp_path, instruments, settings.model_copy(update={"deployment": "other"}), made.codebook)


def test_many_small_commits_leave_few_files_and_a_short_log(tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any) -> None:
    lake, ledger = open_lake(tmp_path, compact_every_commits=10), new_ledger()
    most = 0
    for n in range(64):
        made.say(lake, ledger, [made.rows("statistics", "s03", 3 * n, 3, 0), made.rows("equity", "main", n, 1, 0)])
        lake.flush()
        most = max(most, len(DeltaTable(tmp_path / "statistics").file_uris()))
    assert most <= 11
    lake.finish()
    for table in ("statistics", "equity"):
        assert len(DeltaTable(tmp_path / table).file_uris()) <= 8
        assert len(list((tmp_path / table).glob("*.parquet"))) == len(DeltaTable(tmp_path / table).file_uris())
    assert held(tmp_path)["statistics", "s03"] == list(range(192))
    again = open_lake(tmp_path)
    assert again.tokens()["statistics"] == {"s03": 191}
    assert again.tokens()["equity"] == {"main": 63}


def test_large_files_are_not_merged_again(tmp_path: Path, open_lake: Open) -> None:
    lake = open_lake(tmp_path, compact_every_commits=4, target_rows_per_file=1000, flush_rows=1000)
    for first in range(0, 20_000, 1000):
        a = np.zeros(1000, TABLES["statistics"])
        a["n"] = np.arange(first, first + 1000)
        lake.write(Rows("statistics", "s03", a))
    lake.finish()
    assert lake.commits == 20
    operations = [c["operation"] for c in DeltaTable(tmp_path / "statistics").history()]
    assert "OPTIMIZE" not in operations


def test_the_buffer_is_bounded_without_an_epoch(tmp_path: Path, open_lake: Open, made: Any) -> None:
    lake = open_lake(tmp_path, flush_rows=10)
    most = 0
    for first in range(0, 60, 6):
        lake.write(made.rows("statistics", "s03", first, 6, 0))
        most = max(most, lake.buffered)
    assert most <= 6 + 12  # what waits, and one commit under way
    lake.flush()
    assert lake.buffered == 0
    assert lake.commits == 5


def test_the_lake_reads_as_it_stands_with_polars_and_any_delta_reader(finished_run: Path) -> None:
    lake = finished_run / "lake"
    frame = pl.scan_delta(str(lake / "executions")).filter(pl.col("account") == "main").collect().sort("n")
    assert frame["n"].to_list() == list(range(40))
    assert frame["id"][39] == "spiketape/executions/main/39"
    assert frame.schema["price"] == pl.Decimal(38, 10)
    assert frame.schema["ts_ns"] == pl.Int64
    assert DeltaTable(lake / "signals").to_pyarrow_table().num_rows == 120
    # without statistics of every column this reader skips the file that holds the row
    found = DeltaTable(lake / "signals").to_pyarrow_table(filters=[("id", "=", "spiketape/signals/BTC/USDT/17")])
    assert found.column("symbol").to_pylist() == ["BTC/USDT"]
    assert {p.name for p in lake.iterdir()} == set(TABLES)


def test_tables_without_rows_are_there_with_their_columns(tmp_path: Path, open_lake: Open) -> None:
    open_lake(tmp_path).finish()
    for table in TABLES:
        frame = pl.scan_delta(str(tmp_path / table)).collect()
        assert frame.height == 0
        assert frame.columns[:1] == ["id"]
    lake = open_lake(tmp_path)
    assert lake.tokens()["orders"] == {}


def test_a_full_disk_is_a_clear_error_and_the_next_run_goes_on(small_disk: Callable[[str], Path], open_lake: Open) -> None:
    def noise(first: int) -> Rows:
        a = np.zeros(3000, TABLES["statistics"])
        for name in TABLES["statistics"].names or ():
            a[name] = np.random.default_rng(first).integers(0, 2**62, 3000)
        a["n"] = np.arange(first, first + 3000)
        return Rows("statistics", "s03", a)

    disk = small_disk("2m")
    lake = open_lake(disk)

    def fill() -> None:
        for first in range(0, 60_000, 3000):
            lake.write(noise(first))
            lake.flush()

    with pytest.raises(LakeError, match="the disk is full. Make room and run the same command again"):
        fill()
    failed_at = lake.rows
    assert 0 < failed_at < 60_000
    assert held(disk)["statistics", "s03"] == list(range(failed_at))
    with pytest.raises(LakeError, match="disk is full"):
        lake.flush()
    small_disk("20m")
    again = open_lake(disk)
    for first in range(0, 60_000, 3000):
        again.write(noise(first))
    again.finish()
    assert again.skipped == failed_at
    assert held(disk)["statistics", "s03"] == list(range(60_000))
    on_disk = {p.name for p in (disk / "statistics").glob("*.parquet")}
    assert on_disk == {Path(u).name for u in DeltaTable(disk / "statistics").file_uris()}


NOBODY = 65534
AS_NOBODY = """
import os, sys, tempfile
from pathlib import Path
import numpy as np
from operators.sinks import Lake
from schemas.errors import LakeError
from schemas.instruments import Instrument, InstrumentList
from schemas.settings import Settings
from schemas.tables import TABLES, Rows

def work(path, rows):
    one = InstrumentList(instruments=(Instrument(symbol="A", price_exponent=2, size_exponent=0, tick_size=1, lot_size=1),))
    a = np.zeros(rows, TABLES["statistics"])
    a["n"] = np.arange(a.size)
    lake = Lake(path, one, Settings(), {})
    lake.write(Rows("statistics", "s03", a))
    lake.flush()

if os.getuid() == 0:
    with tempfile.TemporaryDirectory() as first:  # so that all is imported: the interpreter may lie where nobody may look
        work(Path(first), 1), work(Path(first), 2)
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
try:
    work(Path(sys.argv[1]), int(sys.argv[3]))
except LakeError as e:
    print(e)
"""


def test_a_folder_without_the_right_to_write_is_a_clear_error() -> None:
    path = Path(tempfile.mkdtemp())  # tmp_path is for its owner only

    def said(rows: int) -> str:
        command = [sys.executable, "-c", AS_NOBODY, str(path / "lake"), str(NOBODY), str(rows)]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    try:
        path.chmod(0o777)
        assert said(4) == ""
        path.chmod(0o755)
        for inner in [path / "lake", *(path / "lake").rglob("*")]:
            inner.chmod(0o555 if inner.is_dir() else 0o444)
        assert "no right to write there. Mend the rights or give another --out" in said(8)
        assert held(path / "lake")["statistics", "s03"] == [0, 1, 2, 3]
        shutil.rmtree(path / "lake")
        assert "no right to write there" in said(4)
    finally:
        for inner in [path, *path.rglob("*")]:
            inner.chmod(0o777)
        shutil.rmtree(path)


def test_what_a_cut_short_creation_leaves_is_gone_on_with(tmp_path: Path, open_lake: Open, new_ledger: NewLedger, made: Any) -> None:
    (tmp_path / "orders" / "_delta_log").mkdir(parents=True)
    (tmp_path / "orders" / "part-orphan.parquet").write_bytes(b"PAR1")
    lake, ledger = open_lake(tmp_path), new_ledger()
    made.say(lake, ledger, made.all(0, 4))
    lake.finish()
    assert held(tmp_path) == complete(made, 4)
    assert not (tmp_path / "orders" / "part-orphan.parquet").exists()


def test_a_log_whose_last_entry_was_lost_to_a_power_failure_is_a_clear_error(tmp_path: Path, open_lake: Open, made: Any) -> None:
    lake = open_lake(tmp_path)
    for first in (0, 4):
        lake.write(made.rows("statistics", "s03", first, 4, 0))
        lake.flush()
    (tmp_path / "statistics" / "_delta_log" / "00000000000000000001.json").write_bytes(b"")
    with pytest.raises(LakeError, match="statistics"):
        open_lake(tmp_path).require({("statistics", "s03"): 8})


WRITER = """
import sys
from pathlib import Path
import numpy as np
from operators.sinks import Lake
from schemas.instruments import Instrument, InstrumentList
from schemas.settings import Settings
from schemas.tables import TABLES, Rows

one = InstrumentList(instruments=(Instrument(symbol="A", price_exponent=2, size_exponent=0, tick_size=1, lot_size=1),))
lake = Lake(Path(sys.argv[1]), one, Settings(lake={"compact_every_commits": 4}), {})
first = min(lake.tokens()["statistics"].get("s03", -1) + 1, lake.tokens()["skill"].get("A", -1) + 1)
for n in range(max(0, first - 30), 100_000, 10):  # what the flow sends again begins before what is held
    for table, key in (("statistics", "s03"), ("skill", "A")):
        a = np.zeros(10, TABLES[table])
        a["n"] = np.arange(n, n + 10)
        lake.write(Rows(table, key, a))
    lake.flush()
    if n == first:
        print("wrote", flush=True)
"""


def test_kill_9_at_any_moment_of_a_commit_or_a_compaction(tmp_path: Path) -> None:
    delays = np.random.default_rng(7).uniform(0.05, 0.4, 3).tolist()
    before = 0
    for delay in delays:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "wrote\n"
        time.sleep(delay)
        writer.kill()
        writer.communicate()
        now = held(tmp_path)
        for n in now.values():
            assert n == list(range(len(n)))
        after = len(now.get(("statistics", "s03"), []))
        assert after > before  # each attempt has added something before it was killed
        before = after
