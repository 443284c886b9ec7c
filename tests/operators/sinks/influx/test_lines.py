"""Line protocol: exact numbers, escaping, times that are unique and the same however rows are cut."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.sinks.influx.lines import INTEGER, Lines, SeriesBook, cut, escaped, series_prefix
from operators.sinks.influx.points import RowPoints
from schemas.errors import InfluxError
from schemas.instruments import InstrumentList
from schemas.tables import TABLES, Rows

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(st.lists(st.tuples(INT64, st.integers(-1, 13), INT64), min_size=1, max_size=40))
def test_every_number_is_written_with_its_exact_digits(numbers: list[tuple[int, int, int]]) -> None:
    book = SeriesBook()
    series = np.full(len(numbers), book.number(b"m,t=1"), np.int64)
    values, places, times = (np.array(column, np.int64) for column in zip(*numbers, strict=True))
    lines = book.lines(series, ["x"], values[:, None], places[:, None], times)
    assert lines.count == len(numbers)
    for text, (value, place, time) in zip(lines.content.decode().splitlines(), numbers, strict=True):
        head, field, at = text.split(" ")
        number = field.removeprefix("x=")
        assert (head, int(at)) == ("m,t=1", time)
        if place == INTEGER:
            assert number == f"{value}i"
        else:
            assert Decimal(number) == Decimal(value).scaleb(-place)
            assert "E" not in number
            assert not ("." in number and number.endswith("0"))


@pytest.mark.parametrize(
    ("text", "written"),
    [("plain", "plain"), ("a b", "a\\ b"), ("a,b=c", "a\\,b\\=c"), ("back\\slash", "back\\slash"), ("ü€", "ü€"), ('"q"', '"q"')],
)
def test_tags_are_escaped(text: str, written: str) -> None:
    assert escaped(text) == written


@pytest.mark.parametrize("text", ["", "ends\\", "two\nlines", "tab\t"])
def test_what_line_protocol_cannot_say_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be a tag"):
        escaped(text)


def test_tags_stand_in_alphabetical_order() -> None:
    assert series_prefix("order", [("symbol", "A B"), ("account", "main")]) == b"order,account=main,symbol=A\\ B"


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=200), st.integers(0, 2**32))
def test_times_are_unique_and_do_not_depend_on_cuts(rows: list[tuple[int, int]], seed: int) -> None:
    series, ts = (np.array([r[i] for r in rows], np.int64) for i in (0, 1))

    def book() -> SeriesBook:
        made = SeriesBook()
        for i in range(3):
            made.number(b"m,t=%d" % i)
        return made

    whole = book().times(series, ts)
    assert len(set(zip(series.tolist(), whole.tolist(), strict=True))) == len(rows)
    assert (whole >= ts).all()
    rng = np.random.default_rng(seed)
    pieces, at, going_on = [], 0, book()
    while at < len(rows):
        k = int(rng.integers(1, 9))
        pieces.append(going_on.times(series[at : at + k], ts[at : at + k]))
        state = pickle.loads(pickle.dumps(going_on.snapshot()))
        going_on = SeriesBook()
        going_on.restore(state)
        at += k
    assert np.concatenate([*pieces, np.empty(0, np.int64)]).tolist() == whole.tolist()


def test_a_row_alone_at_its_time_keeps_it_and_a_late_one_too() -> None:
    book = SeriesBook()
    series = np.full(6, book.number(b"m"), np.int64)
    assert book.times(series, np.array([100, 100, 100, 200, 150, 101])).tolist() == [100, 101, 102, 200, 150, 103]


def test_lines_are_cut_at_line_ends() -> None:
    lines = Lines(7, b"".join(b"m x=%d 1\n" % i for i in range(7)))
    pieces = cut(lines, 3)
    assert [p.count for p in pieces] == [3, 3, 1]
    assert b"".join(p.content for p in pieces) == lines.content
    assert all(p.content.count(b"\n") == p.count for p in pieces)
    assert cut(Lines(0, b""), 3) == []


def test_rows_written_again_are_the_same_lines(instruments: InstrumentList, made: Any) -> None:
    for table in made.tables:
        rows = made.rows(table, "main", 0, 120, 4, seed=1)
        whole = RowPoints(instruments, made.codebook).take(rows)
        again, pieces, at = RowPoints(instruments, made.codebook), [], 0
        rng = np.random.default_rng(3)
        while at < rows.a.size:
            k = int(rng.integers(1, 12))
            overlap = max(0, at - 3)
            lines = again.take(Rows(table, "main", rows.a[overlap : at + k]))
            assert lines is not None
            pieces.append(lines.content)
            state = pickle.loads(pickle.dumps(again.snapshot()))
            again = RowPoints(instruments, made.codebook)
            again.restore(state)
            at += k
        assert whole is not None
        assert b"".join(pieces) == whole.content
        places = [line.split(" ")[0] + line.rsplit(" ", 1)[1] for line in whole.content.decode().splitlines()]
        assert len(set(places)) == whole.count == 120


def test_missing_rows_are_an_error_and_tables_without_a_measurement_are_none(instruments: InstrumentList, made: Any) -> None:
    points = RowPoints(instruments, made.codebook)
    assert points.take(made.rows("signals", "AAPL", 5, 4, 4)) is not None
    with pytest.raises(InfluxError, match="rows 9 to 10 are missing"):
        points.take(made.rows("signals", "AAPL", 11, 2, 4))
    assert points.take(made.rows("skill", "AAPL", 0, 3, 4)) is None


def test_a_row_of_quality_is_a_point_of_its_symbol(instruments: InstrumentList, made: Any) -> None:
    q = np.zeros(1, TABLES["quality"])
    q["ts_ns"], q["symbol"], q["read"], q["score_e6"], q["validity_e6"] = 70, 0, 5, 981_234, 999_000
    lines = RowPoints(instruments, made.codebook).take(Rows("quality", instruments.symbols[0], q))
    assert lines is not None
    (line,) = lines.content.decode().splitlines()
    assert line.startswith(f"quality,symbol={instruments.symbols[0]} score=0.981234,completeness=")
    assert ",validity=0.999,read=5i,dead=0i,late=0i,missing=0i,n=0i 70" in line


def test_codes_without_a_name_read_as_their_number(instruments: InstrumentList, made: Any) -> None:
    rows = made.rows("verdicts", "main", 0, 2, 4)
    rows.a["rule"], rows.a["symbol"] = [9, 777], [2**32 - 1, 0]
    lines = RowPoints(instruments, made.codebook).take(rows)
    assert lines is not None
    heads = [line.split(" ")[0] for line in lines.content.decode().splitlines()]
    assert heads == ["verdict,account=main,rule=STOP_MISSING,symbol=-", "verdict,account=main,rule=777,symbol=AAPL"]
