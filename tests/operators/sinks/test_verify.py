"""`verify`, `diff` and `query` on copies of a finished run that were damaged in each way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from operators.sinks import Lake, LakeReader, Ledger, RunFolder, chain_table, diff, verify
from operators.sinks.query import query
from schemas.errors import LakeError, UsageError
from schemas.tables import HASHED_TABLES, Rows

Open = Callable[..., Lake]
NewLedger = Callable[[], Ledger]


def table_of(run: Path, name: str) -> DeltaTable:
    return DeltaTable(run / "lake" / name)


def rewritten(run: Path, name: str, predicate: str, change: dict[str, str]) -> None:
    table_of(run, name).update(updates=change, predicate=predicate)


def found(run: Path) -> list[tuple[str, str, str | None, int | None]]:
    return [(p.kind, p.table, p.key, p.n) for p in verify(run).problems]


def test_an_undamaged_run_is_found_sound(finished_run: Path) -> None:
    report = verify(finished_run)
    assert report.ok
    assert report.problems == []
    assert report.output_hash == json.loads((finished_run / "run.json").read_text())["output_hash"]
    assert report.rows["signals"] == 120
    assert report.rows["statistics"] == 80


@pytest.mark.parametrize("chains", [True, False], ids=["chains in run.json", "hash only"])
@pytest.mark.parametrize("n", [0, 17, 39], ids=["first", "inner", "last"])
@pytest.mark.parametrize(
    ("table", "key"), [("executions", "second"), ("signals", "BTC/USDT"), ("dead_letters", "AAPL"), ("statistics", "s17")]
)
def test_a_missing_row_is_named(finished_run: Path, table: str, key: str, n: int, chains: bool) -> None:
    if not chains:
        RunFolder(finished_run).write_run({"output_hash": verify(finished_run).output_hash})
    table_of(finished_run, table).delete(f"id = 'spiketape/{table}/{key}/{n}'")
    assert found(finished_run) == [("missing", table, key, n)]
    assert not verify(finished_run).ok


@pytest.mark.parametrize("n", [0, 17, 39], ids=["first", "inner", "last"])
@pytest.mark.parametrize(("table", "key"), [("positions", "main"), ("signals", "EURUSD"), ("statistics", "s03")])
def test_a_doubled_row_is_named(finished_run: Path, table: str, key: str, n: int) -> None:
    lake = table_of(finished_run, table)
    rows = lake.to_pyarrow_table(filters=[("id", "=", f"spiketape/{table}/{key}/{n}")])
    assert rows.num_rows == 1
    write_deltalake(lake, rows, mode="append")
    assert ("doubled", table, key, n) in found(finished_run)
    assert {f[1:3] for f in found(finished_run)} == {(table, key)}
    assert not verify(finished_run).ok


@pytest.mark.parametrize(
    ("table", "key", "column", "value"),
    [
        ("executions", "main", "price", "price + cast(1 as decimal(38, 10))"),
        ("executions", "main", "fee", "fee + cast(0.0000000001 as decimal(38, 10))"),
        ("executions", "main", "symbol", "'EURUSD'"),
        ("signals", "AAPL", "confidence", "confidence + cast(0.000001 as decimal(38, 6))"),
        ("verdicts", "second", "approved", "not approved"),
        ("orders", "main", "state", "'expired'"),
        ("dead_letters", "AAPL", "sequence", "cast(5 as decimal(20, 0))"),
        ("equity", "main", "ts_ns", "ts_ns + 1"),
    ],
)
def test_a_changed_row_is_named(finished_run: Path, table: str, key: str, column: str, value: str) -> None:
    rewritten(finished_run, table, f"id = 'spiketape/{table}/{key}/17'", {f'"{column}"': value})
    assert found(finished_run) == [("changed", table, key, 17)]
    assert verify(finished_run).output_hash != verify(finished_run).recorded_hash


def test_a_value_that_no_row_can_have_is_unreadable(finished_run: Path) -> None:
    rewritten(finished_run, "executions", "account = 'main' and n = 17", {"price": "price + cast(0.0000000001 as decimal(38, 10))"})
    report = verify(finished_run)
    assert not report.ok
    assert any(p.kind == "unreadable" and "not a multiple of the fixed-point unit" in p.text for p in report.problems)


def test_rows_rewritten_together_with_their_digests_are_found_by_the_recorded_chain(
    finished_run: Path, open_lake: Open, new_ledger: NewLedger, made: Any
) -> None:
    told = json.loads((finished_run / "run.json").read_text())
    shutil.rmtree(finished_run / "lake" / "equity")
    lake, ledger = open_lake(finished_run / "lake"), new_ledger()
    for key, symbol in made.keys("equity"):
        made.say(lake, ledger, [made.rows("equity", key, 0, 40, symbol, seed=key == "second")])
    lake.flush()
    assert found(finished_run) == [("changed", "equity", "second", None)]
    del told["chains"]
    RunFolder(finished_run).write_run(told)
    assert found(finished_run) == [("changed", "", None, None)]


def test_a_table_that_is_gone_and_a_key_that_is_gone(finished_run: Path) -> None:
    table_of(finished_run, "orders").delete("account = 'second'")
    assert ("missing", "orders", "second", None) in found(finished_run)
    shutil.rmtree(finished_run / "lake" / "orders")
    assert found(finished_run) == [("missing", "orders", "main", None), ("missing", "orders", "second", None)]


def test_a_flipped_byte_is_found_wherever_it_changes_what_is_read(finished_run: Path) -> None:
    """A flip in a column's data or the file's frame; bytes that nothing reads (statistics, names of the writer) may pass."""
    path = next((finished_run / "lake" / "executions").glob("*.parquet"))
    original = path.read_bytes()
    before = pq.ParquetFile(path).read().to_pylist()
    harmless = 0
    for at in np.linspace(0, len(original) - 1, 24).astype(int).tolist():
        path.write_bytes(original[:at] + bytes([original[at] ^ 0x40]) + original[at + 1 :])
        report = verify(finished_run)
        if report.ok:
            harmless += 1
            columns = ["price", "quantity", "fee", "side", "symbol", "n", "id"]
            shown = pq.ParquetFile(path).read(columns=columns).to_pylist()
            assert shown == [{c: row[c] for c in columns} for row in before], at
        else:
            assert {p.table for p in report.problems} == {"executions"}
    assert harmless < 16
    path.write_bytes(original)
    assert verify(finished_run).ok


def test_a_truncated_and_a_missing_file(finished_run: Path) -> None:
    path = next((finished_run / "lake" / "orders").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-9])
    report = verify(finished_run)
    assert report.problems[0].kind == "unreadable"
    assert path.name in report.problems[0].text
    path.unlink()
    assert verify(finished_run).problems[0].kind == "unreadable"


def test_an_unfinished_run_and_no_run_are_errors(finished_run: Path, tmp_path: Path) -> None:
    (finished_run / "run.json").unlink()
    with pytest.raises(LakeError, match=r"has no run.json: the run is not finished"):
        verify(finished_run)
    with pytest.raises(LakeError, match=r"has no run.json"):
        verify(tmp_path / "nowhere")


# diff


@pytest.fixture
def other_run(tmp_path: Path, open_lake: Open, new_ledger: NewLedger) -> Callable[[list[Rows]], Path]:
    def run(pieces: list[Rows]) -> Path:
        folder = RunFolder(tmp_path / "other")
        lake, ledger = open_lake(folder.lake), new_ledger()
        for piece in pieces:
            lake.write(*ledger.take(piece))
        lake.finish()
        folder.write_settings({"slice_ms": 100, "risk": {"max_drawdown": "0.2"}, "model": "m"})
        folder.write_run({"output_hash": ledger.output_hash(), "chains": chain_table(ledger.chains())})
        return folder.path

    return run


def test_equal_runs_do_not_differ_but_their_settings_do(finished_run: Path, other_run: Any, made: Any) -> None:
    difference = diff(finished_run, other_run(made.all(0, 40)))
    assert difference.same
    assert difference.settings == {"model": (None, "m"), "risk.max_drawdown": ("0.15", "0.2")}


def test_the_first_difference_is_by_slice_then_table(finished_run: Path, other_run: Any, made: Any) -> None:
    pieces = made.all(0, 40)
    for piece in pieces:
        if (piece.table, piece.key) == ("signals", "AAPL"):
            piece.a["score_e6"][30] += 1  # slice 1010
        if (piece.table, piece.key) == ("executions", "second"):
            piece.a["fee_e10"][23] = 7  # slice 1007
        if (piece.table, piece.key) == ("equity", "main"):
            piece.a["cash_e10"][21] = 7  # slice 1007, a later table
    first = diff(finished_run, other_run(pieces)).first
    assert first is not None
    assert (first.slice, first.table, first.key, first.n) == (1007, "executions", "second", 23)
    assert first.a is not None
    assert first.b is not None
    assert first.b["fee"] == Decimal("0.0000000007")
    assert [name for name in first.a if first.a[name] != first.b[name]] == ["fee"]


def test_a_run_that_ends_earlier_differs_in_the_first_row_it_lacks(finished_run: Path, other_run: Any, made: Any) -> None:
    pieces = [Rows(p.table, p.key, p.a[:31]) if (p.table, p.key) == ("orders", "main") else p for p in made.all(0, 40)]
    first = diff(finished_run, other_run(pieces)).first
    assert first is not None
    assert (first.slice, first.table, first.key, first.n) == (1010, "orders", "main", 31)
    assert first.b is None
    assert first.a is not None
    assert first.a["id"] == "spiketape/orders/main/31"


# query


def test_sql_over_the_tables_of_a_run(finished_run: Path) -> None:
    answer = query(finished_run, "SELECT account, count(*) AS n, sum(fee) AS fees FROM executions GROUP BY account ORDER BY account")
    rows = LakeReader(finished_run / "lake").table("executions").keys
    assert answer["account"].to_list() == ["main", "second"]
    assert answer["n"].to_list() == [40, 40]
    assert [int(f.scaleb(10)) for f in answer["fees"].to_list()] == [int(k.rows["fee_e10"].astype(object).sum()) for k in rows]
    joined = query(finished_run, "SELECT o.order_id FROM orders o JOIN executions e ON o.order_id = e.order_id WHERE o.n = 3")
    assert joined.height >= 0


def test_a_table_not_written_yet_is_empty(tmp_path: Path, open_lake: Open, made: Any) -> None:
    lake = open_lake(tmp_path / "lake")
    lake.write(made.rows("statistics", "s03", 0, 4, 0))
    lake.flush()
    assert query(tmp_path, "SELECT count(*) AS n FROM orders")["n"].to_list() == [0]
    assert query(tmp_path, "SELECT max(n) AS n FROM statistics")["n"].to_list() == [3]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELEC 1", "must begin with one of SELECT, WITH"),
        ("SELECT * FROM fills", "tables: signals, verdicts, orders, executions"),
        ("SELECT colour FROM executions", "colour"),
        ("", "must begin with one of SELECT, WITH"),
    ],
)
def test_wrong_sql_is_wrong_use_and_says_what_there_is(finished_run: Path, sql: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        query(finished_run, sql)


def test_hashed_tables_are_what_diff_compares(finished_run: Path) -> None:
    assert set(HASHED_TABLES) < set(LakeReader(finished_run / "lake").names())
