"""LOBSTER: trades and level 1 from the pair of files."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from operators.sources.importers import text
from schemas.errors import UsageError
from schemas.registry import LOBSTER_CROSS, LOBSTER_HIDDEN
from schemas.ticks import QUOTE, TRADE


def write(folder: Path, messages: list[str], books: list[str], symbol: str = "XYZ") -> list[Path]:
    paths = [folder / f"{symbol}_2012-06-21_34200000_57600000_{kind}_1.csv" for kind in ("message", "orderbook")]
    for path, rows in zip(paths, (messages, books), strict=True):
        path.write_text("".join(r + "\n" for r in rows))
    return paths


def midnight(ns: int) -> int:
    """Nanoseconds since midnight of 21 June 2012 in New York."""
    return ns - int(datetime(2012, 6, 21, 4, tzinfo=UTC).timestamp()) * 10**9


def lines_of(folder: Path, kind: str) -> list[str]:
    return gzip.decompress(next(folder.glob(f"*_{kind}_*")).read_bytes()).decode().split()


BOOK = "1010000,5,1000000,7"


def test_each_type_of_message(tmp_path, read_all) -> None:
    messages = [
        "34200.000000001,1,11,5,1010000,-1",
        "34200.1,4,11,2,1010000,-1",
        "34200.2,5,0,3,1005000,1",
        "34200.3,6,-1,9000,1004000,-1",
        "34200.4,7,0,0,-1,-1",
        "34200.5,7,0,0,1,-1",
        "34200.6,3,11,3,1010000,-1",
    ]
    books = [
        BOOK,
        "1010000,3,1000000,7",
        "1010000,3,1000000,7",
        "1010000,3,1000000,7",
        "1010000,3,1000000,7",
        "1010000,3,1000000,7",
        "1020000,1,1000000,7",
    ]
    got = read_all(write(tmp_path, messages, books))
    ticks = got.only()
    assert ticks["kind"].tolist() == [QUOTE, TRADE, QUOTE, TRADE, TRADE, QUOTE]
    trades = ticks[ticks["kind"] == TRADE]
    assert trades["side"].tolist() == [1, -1, 0]
    assert trades["conditions"].tolist() == [0, LOBSTER_HIDDEN, LOBSTER_CROSS]
    assert trades["price"].tolist() == [1_010_000, 1_005_000, 1_004_000]
    assert trades["size"].tolist() == [2, 3, 9000]
    quotes = ticks[ticks["kind"] == QUOTE]
    assert [tuple(q) for q in quotes[["price", "size", "ask", "ask_size"]].tolist()] == [
        (1_000_000, 7, 1_010_000, 5),
        (1_000_000, 7, 1_010_000, 3),
        (1_000_000, 7, 1_020_000, 1),
    ]
    assert midnight(ticks["ts_ns"][0]) == 34_200 * 10**9 + 1
    assert midnight(ticks["ts_ns"][-1]) == 34_200_600_000_000
    assert got.lines["XYZ", "lobster"].tolist() == [1, 2, 2, 3, 4, 7]
    assert [(n, r) for _, n, r in got.refusals()] == [(5, "trading halted: no tick, told here"), (6, "trading resumed: no tick, told here")]
    (stock,) = got.instruments.instruments
    assert stock.conditions.no_fill == LOBSTER_HIDDEN | LOBSTER_CROSS


def test_unreadable_rows_of_either_file_are_refused_alone(tmp_path, read_all) -> None:
    messages = [
        "34200.1,1,1,5,1,1",
        "34200.2,x,1,5,1,1",
        "34200.3,4,1,5,1010000,-1",
        "99999999,1,1,5,1,1",
        "34200.5,9,1,5,1,1",
        "34200.6,1,1,5,1,1",
    ]
    books = [BOOK, "1010000,4,1000000,7", "1010000,NaN,1000000,7", BOOK, BOOK, "9999999999,0,1000000,7"]
    got = read_all(write(tmp_path, messages, books))
    assert got.only()["kind"].tolist() == [QUOTE, TRADE]
    assert sorted((f.split("_")[4], n, r) for f, n, r in got.refusals()) == [
        ("message", 2, "type is not a number"),
        ("message", 4, "time is not within the day in seconds"),
        ("message", 5, "type is none of 1 to 7"),
        ("orderbook", 2, "its message has no time"),
        ("orderbook", 3, "ask size is not a number"),
        ("orderbook", 4, "its message has no time"),
        ("orderbook", 5, "its message has no time"),
        ("orderbook", 6, "the book has only one side"),
    ]


def test_lines_that_one_file_has_more_are_refused(tmp_path, read_all) -> None:
    got = read_all(write(tmp_path, ["34200.1,1,1,5,1,1"] * 3, [BOOK]))
    assert len(got.only()) == 1
    assert [n for _, n, _ in got.refusals()] == [2, 3]


def test_a_file_without_its_partner_is_refused(tmp_path, read_all) -> None:
    message, book = write(tmp_path, ["34200.1,1,1,5,1,1"], [BOOK])
    with pytest.raises(UsageError, match="its orderbook file is missing"):
        read_all([message])
    with pytest.raises(UsageError, match="its message file is missing"):
        read_all([book])


def test_a_pair_of_hours_that_another_pair_has_is_refused_whole(tmp_path, read_all) -> None:
    rows, copy = (["34200.1,4,1,5,1,1"], [BOOK]), tmp_path / "copy"
    copy.mkdir()
    write(tmp_path, *rows)
    again = write(copy, *rows)
    part = [p.rename(p.with_name(p.name.replace("57600000", "45000000"))) for p in again]
    next_day = [p.rename(p.with_name(p.name.replace("06-21", "06-22"))) for p in write(copy, *rows)]
    got = read_all([tmp_path])
    assert len(got.only()) == 4, "a trade and a quote of each day"
    reason = "a repeat: another pair of this symbol and day has these hours"
    whole = [f"XYZ_2012-06-21_34200000_57600000_{kind}_1.csv" for kind in ("message", "orderbook")]
    assert got.refusals() == [(name, 1, reason) for name in whole], "the shorter one of two that begin together is read"
    assert all(p.exists() for p in (*part, *next_day))


def test_the_recorded_slice(market_data, tmp_path, read_all, monkeypatch) -> None:
    folder = market_data / "lobster_aapl_slice"
    got = read_all([folder])
    ticks = got.only()
    messages = np.genfromtxt(lines_of(folder, "message"), delimiter=",")
    books = np.genfromtxt(lines_of(folder, "orderbook"), delimiter=",", dtype=np.int64)[:, [2, 3, 0, 1]]
    trades, quotes = ticks[ticks["kind"] == TRADE], ticks[ticks["kind"] == QUOTE]
    executed = messages[np.isin(messages[:, 1], (4, 5))]
    assert len(trades) == 98 + 61
    assert trades["size"].tolist() == executed[:, 3].astype(int).tolist()
    assert trades["side"].tolist() == (-executed[:, 5]).astype(int).tolist()
    assert np.count_nonzero(trades["conditions"] == LOBSTER_HIDDEN) == 61
    changed = np.concatenate([[True], (books[1:] != books[:-1]).any(axis=1)])
    assert np.array_equal(np.stack([quotes[n] for n in ("price", "size", "ask", "ask_size")], axis=1), books[changed])
    assert (got.report.rows_read, got.report.rows_merged) == (
        2 * len(messages),
        2 * len(messages) - len(ticks),
    )
    assert midnight(ticks["ts_ns"][0]) == 34_200_004_241_176
    assert len(got.instruments.sessions["us_equity"]) >= 1
    monkeypatch.setattr(text, "BLOCK_LINES", 13)
    assert np.array_equal(read_all([folder]).only(), ticks)
