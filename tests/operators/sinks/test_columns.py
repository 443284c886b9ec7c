"""Rows to columns and back: nothing may be lost, and what is shown must be the number it stands for."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.sinks.columns import Columns
from operators.sinks.decimals import from_decimals, to_decimals
from operators.sinks.layout import NO_SYMBOL
from schemas.errors import LakeError
from schemas.instruments import InstrumentList
from schemas.tables import HASHED_TABLES, TABLES, Rows

INT64 = st.integers(-(2**63), 2**63 - 1)


@pytest.fixture
def columns(instruments: InstrumentList, made: Any) -> Columns:
    return Columns.of(instruments, "spiketape", 64, made.codebook)


@given(st.lists(st.tuples(INT64, st.integers(0, 10)), min_size=1, max_size=20))
def test_a_decimal_is_the_exact_value_and_comes_back(pairs: list[tuple[int, int]]) -> None:
    value = np.array([v for v, _ in pairs], np.int64)
    exponent = np.array([e for _, e in pairs], np.int64)
    shown = to_decimals(value, exponent, 10)
    shown.validate(full=True)
    # integers: a Decimal context of 28 digits would round before comparing
    assert [int(d.scaleb(10)) for d in shown.to_pylist()] == [v * 10 ** (10 - e) for v, e in pairs]
    assert from_decimals(shown, exponent, "test").tolist() == value.tolist()


def test_a_decimal_with_more_places_than_its_instrument_is_refused() -> None:
    shown = pa.array([Decimal("1.23"), Decimal("1.234")], pa.decimal128(38, 10))
    with pytest.raises(LakeError, match=r"1\.2340000000 \(row 1\) is not a multiple"):
        from_decimals(shown, 2, "price")


def test_a_decimal_beyond_64_bits_is_refused() -> None:
    shown = pa.array([Decimal(2**63)], pa.decimal128(38, 10))
    with pytest.raises(LakeError, match="not a multiple"):
        from_decimals(shown, 0, "price")


@pytest.mark.parametrize("table", TABLES)
def test_every_integer_of_every_table_comes_back(table: str, columns: Columns, made: Any) -> None:
    pieces = [made.rows(table, key, 5, 17, symbol) for key, symbol in made.keys(table)]
    marks = np.arange(17, dtype=np.int64) - 8 if table in HASHED_TABLES else np.empty(0, np.int64)
    read = columns.table(table, [(p.key, p.a, marks) for p in pieces])
    read.validate(full=True)
    keys, rows, which, digests = columns.rows(table, read)
    assert keys == [p.key for p in pieces]
    for i, piece in enumerate(pieces):
        back = rows[which == i]
        for name in TABLES[table].names or ():
            if name != "pad":
                assert back[name].tolist() == piece.a[name].tolist(), name
    assert digests.tolist() == marks.tolist() * (len(pieces) if table in HASHED_TABLES else 0)


def test_a_form_read_from_its_description_reads_the_same_rows(columns: Columns, made: Any) -> None:
    piece = made.rows("verdicts", "main", 0, 9, 1)
    read = columns.table("verdicts", [("main", piece.a, np.zeros(9, np.int64))])
    again = Columns.from_description(columns.described("verdicts"), "here")
    assert again.rows("verdicts", read)[1].tobytes() == columns.rows("verdicts", read)[1].tobytes()
    with pytest.raises(LakeError, match="was not written by spiketape"):
        Columns.from_description("a table of somebody else", "here")


def test_what_a_row_shows(columns: Columns) -> None:
    a = np.zeros(1, TABLES["executions"])
    a["n"], a["order_n"], a["quantity"], a["price"], a["fee_e10"], a["symbol"], a["side"], a["liquidity"] = (
        7,
        3,
        150_000_000,
        12_345,
        -25,
        1,
        -1,
        2,
    )
    shown = columns.table("executions", [("main", a, np.zeros(1, np.int64))]).to_pylist()[0]
    assert shown["id"] == "spiketape/executions/main/7"
    assert shown["order_id"] == "spiketape-main-3"
    assert (shown["account"], shown["symbol"], shown["side"], shown["liquidity"]) == ("main", "BTC/USDT", "sell", "taker")
    assert shown["quantity"] == Decimal("1.5")  # 150,000,000 * 10**-8
    assert shown["price"] == Decimal("123.45")  # 12,345 * 10**-2
    assert shown["fee"] == Decimal("-0.0000000025")


def test_codes_without_a_name_read_as_their_number_and_come_back(columns: Columns, made: Any) -> None:
    piece = made.rows("verdicts", "main", 0, 2, 0)
    read = columns.table("verdicts", [("main", piece.a, np.zeros(2, np.int64))])
    assert read.column("rule").to_pylist() == ["777", "STOP_MISSING"]
    assert columns.rows("verdicts", read)[1]["rule"].tolist() == [777, 9]


def test_an_unknown_symbol_and_no_symbol_are_kept_apart(columns: Columns) -> None:
    a = np.zeros(3, TABLES["dead_letters"])
    a["n"], a["symbol"] = [0, 1, 2], [2, 99, NO_SYMBOL]
    read = columns.table("dead_letters", [("EURUSD", a, np.zeros(3, np.int64))])
    assert read.column("symbol").to_pylist() == ["EURUSD", "#99", None]
    assert columns.rows("dead_letters", read)[1]["symbol"].tolist() == [2, 99, NO_SYMBOL]


def test_ids_of_many_digits(columns: Columns) -> None:
    n = [0, 9, 10, 99, 100, 2**63 - 1]
    a = np.zeros(6, TABLES["statistics"])
    a["n"] = n
    read = columns.table("statistics", [("s03", a, np.empty(0, np.int64))])
    assert read.column("id").to_pylist() == [f"spiketape/statistics/s03/{i}" for i in n]


def test_a_codebook_whose_names_repeat_is_refused(instruments: InstrumentList) -> None:
    with pytest.raises(LakeError, match="names must be distinct"):
        Columns.of(instruments, "spiketape", 64, {"rule": {1: "LIMIT", 2: "LIMIT"}})


def test_a_changed_id_is_found(columns: Columns, made: Any) -> None:
    piece: Rows = made.rows("equity", "main", 0, 3, 0)
    read = columns.table("equity", [("main", piece.a, np.zeros(3, np.int64))])
    ids = read.column("id").to_pylist()
    forged = read.set_column(0, "id", pa.array([ids[0], "spiketape/equity/main/7", ids[2]]))
    with pytest.raises(LakeError, match=r"has the id 'spiketape/equity/main/7' where 'spiketape/equity/main/1' was expected"):
        columns.rows("equity", forged)


def test_the_pure_part_does_not_import_bytewax() -> None:
    code = "import sys, operators.sinks; sys.exit('bytewax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
