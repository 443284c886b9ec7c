"""LEAN equity ticks: pairing of one-sided quote rows, times, and a recorded day against an independent reading."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from operators.sources.importers import text
from schemas.ticks import ASK_VENUE_SHIFT, FLAG_SUSPICIOUS, QUOTE, TRADE

FIELDS = ["ms", "bid", "bid_size", "ask", "ask_size", "exchange", "conditions", "suspicious"]


def write(folder: Path, name: str, rows: list[str], symbol: str = "ibm") -> Path:
    day, kind = name.split("_")
    path = folder / symbol / f"{name}.zip"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(f"{day}_{symbol}_{kind.title()}_Tick.csv", "".join(r + "\n" for r in rows))
    return path


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000) * 1_000_000


def test_bid_row_and_ask_row_of_a_millisecond_are_one_update(tmp_path, read_all) -> None:
    rows = ["34200000,1800100,300,0,0,P,1,0", "34200000,0,0,1818000,3000,Q,8,0"]
    got = read_all([write(tmp_path, "20131007_quote", rows)])
    (tick,) = got.only()
    assert (tick["price"], tick["size"], tick["ask"], tick["ask_size"]) == (1800100, 300, 1818000, 3000)
    assert tick["ts_ns"] == at("2013-10-07T13:30")
    assert (tick["kind"], tick["side"], chr(tick["venue"])) == (QUOTE, 0, "P")
    assert chr(tick["conditions"] >> ASK_VENUE_SHIFT) == "Q"
    assert tick["conditions"] & 0xFFFFFF == 9
    assert got.lines["IBM", "lean_equity_quote"].tolist() == [2]
    assert (got.report.rows_read, got.report.rows_merged) == (2, 1)


CASES = [
    (
        "ask alone carries the bid",
        ["10,100,1,0,0,P,1,0", "10,0,0,200,2,P,1,0", "11,0,0,300,3,P,1,0"],
        [(10, 100, 1, 200, 2, 2), (11, 100, 1, 300, 3, 3)],
        1,
        [],
    ),
    (
        "bid alone, followed by another millisecond, is published by itself",
        ["10,100,1,0,0,P,1,0", "10,0,0,200,2,P,1,0", "11,110,5,0,0,P,1,0", "12,0,0,300,3,P,1,0"],
        [(10, 100, 1, 200, 2, 2), (11, 110, 5, 200, 2, 3), (12, 110, 5, 300, 3, 4)],
        1,
        [],
    ),
    (
        "two bids of a millisecond: the second is the pair's",
        ["10,100,1,0,0,P,1,0", "10,0,0,200,2,P,1,0", "11,110,5,0,0,P,1,0", "11,120,6,0,0,P,1,0", "11,0,0,300,3,P,1,0"],
        [(10, 100, 1, 200, 2, 2), (11, 110, 5, 200, 2, 3), (11, 120, 6, 300, 3, 5)],
        2,
        [],
    ),
    (
        "bid alone at the end of the file",
        ["10,100,1,0,0,P,1,0", "10,0,0,200,2,P,1,0", "11,110,5,0,0,P,1,0"],
        [(10, 100, 1, 200, 2, 2), (11, 110, 5, 200, 2, 3)],
        1,
        [],
    ),
    ("an ask before any bid is no market", ["10,0,0,200,2,P,1,0", "11,100,1,0,0,P,1,0"], [(11, 100, 1, 200, 2, 2)], 0, [1]),
    ("a bid before any ask is no market", ["10,100,1,0,0,P,1,0", "11,0,0,200,2,P,1,0"], [(11, 100, 1, 200, 2, 2)], 0, [1]),
    ("a lone bid in the whole file", ["10,100,1,0,0,P,1,0"], [], 0, [1]),
    ("a row with both sides", ["10,100,1,200,2,P,1,0"], [(10, 100, 1, 200, 2, 1)], 0, []),
    ("a row with no side", ["10,0,0,0,0,P,1,0", "10,100,1,200,2,P,1,0"], [(10, 100, 1, 200, 2, 2)], 0, [1]),
    (
        "an unreadable row between the halves does not part them",
        ["10,100,1,0,0,P,1,0", "10,abc,0,0,0,P,1,0", "10,0,0,200,2,P,1,0"],
        [(10, 100, 1, 200, 2, 3)],
        1,
        [2],
    ),
    ("a negative price can be held: the gate refuses it", ["10,-100,1,0,0,P,1,0", "10,0,0,200,2,P,1,0"], [(10, -100, 1, 200, 2, 2)], 1, []),
]


@pytest.mark.parametrize("block_lines", [1, 2, 65_536])
@pytest.mark.parametrize(("name", "rows", "expected", "merged", "refused"), CASES, ids=[c[0] for c in CASES])
def test_pairing(name, rows, expected, merged, refused, block_lines, tmp_path, read_all, monkeypatch) -> None:
    monkeypatch.setattr(text, "BLOCK_LINES", block_lines)
    got = read_all([write(tmp_path, "20131007_quote", rows)])
    ticks, lines = got.only(), got.lines["IBM", "lean_equity_quote"]
    midnight = at("2013-10-07T04:00")
    found = [
        ((t["ts_ns"] - midnight) // 1_000_000, t["price"], t["size"], t["ask"], t["ask_size"], n) for t, n in zip(ticks, lines, strict=True)
    ]
    assert found == expected
    assert got.report.rows_merged == merged
    assert [line for _, line, _ in got.refusals()] == refused


def test_trades_keep_exchange_conditions_and_suspicion(tmp_path, read_all) -> None:
    rows = ["14430270,1815200,283,P,20002020,0", "34200001,1816000,100,D,1,1"]
    ticks = read_all([write(tmp_path, "20131007_trade", rows)]).only()
    assert ticks["kind"].tolist() == [TRADE, TRADE]
    assert ticks["conditions"].tolist() == [0x20002020, 1]
    assert bytes(ticks["venue"]) == b"PD"
    assert ticks["flags"].tolist() == [0, FLAG_SUSPICIOUS]
    assert ticks["side"].tolist() == [0, 0]
    assert ticks["ts_ns"].tolist() == [at("2013-10-07T08:00:30.270"), at("2013-10-07T13:30:00.001")]


def test_either_suspicious_half_makes_the_update_suspicious(tmp_path, read_all) -> None:
    rows = ["10,100,1,0,0,P,1,1", "10,0,0,200,2,P,1,0", "11,100,1,0,0,P,1,0", "11,0,0,200,2,P,1,0"]
    assert read_all([write(tmp_path, "20131007_quote", rows)]).only()["flags"].tolist() == [FLAG_SUSPICIOUS, 0]


@pytest.mark.parametrize(("day", "utc"), [("20130308", "14:30"), ("20130311", "13:30"), ("20131101", "13:30"), ("20131104", "14:30")])
def test_wall_clock_follows_daylight_saving(day, utc, tmp_path, read_all) -> None:
    (tick,) = read_all([write(tmp_path, f"{day}_trade", ["34200000,100,1,P,1,0"])]).only()
    assert tick["ts_ns"] == at(f"{day[:4]}-{day[4:6]}-{day[6:]}T{utc}")


REFUSALS = [
    ("34200000,1,1,P,1", "it has not the 6 fields expected"),
    ("34200000,1,1,P,1,0,7", "it has not the 6 fields expected"),
    ("", "it has not the 6 fields expected"),
    ("34200000,NaN,1,P,1,0", "price is not a number"),
    ("34200000,1,many,P,1,0", "size is not a number"),
    ("34200000,1,,P,1,0", "size is not a number"),
    ("34200000,1.5,1,P,1,0", "price is finer than the instrument's fixed point"),
    ("34200000,99999999999999999999,1,P,1,0", "price is too large for 64 bits in fixed point"),
    ("34200000,1,1,PP,1,0", "exchange is more than one character where an exchange letter is expected"),
    ("34200000,1,1,P,xyz,0", "conditions is not a hexadecimal number of 32 bits"),
    ("34200000,1,1,P,123456789,0", "conditions is not a hexadecimal number of 32 bits"),
    ("86400000,1,1,P,1,0", "time is not within the day in milliseconds"),
    ("-1,1,1,P,1,0", "time is not within the day in milliseconds"),
    ("\x00\xff\x01", "it has not the 6 fields expected"),
]


def test_each_unreadable_row_is_refused_with_its_line_and_the_import_goes_on(tmp_path, read_all) -> None:
    good = "34200000,100,1,P,1,0"
    rows = [r for bad, _ in REFUSALS for r in (good, bad)]
    got = read_all([write(tmp_path, "20131007_trade", rows)])
    assert len(got.only()) == len(REFUSALS)
    assert sorted(got.refusals()) == [("20131007_trade.zip", 2 * i + 2, reason) for i, (_, reason) in enumerate(REFUSALS)]


def test_windows_line_ends_and_a_last_line_without_end_are_read(tmp_path, read_all) -> None:
    path = tmp_path / "ibm" / "20131007_trade.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("20131007_ibm_Trade_Tick.csv", "34200000,100,1,P,1,0\r\n34200001,101,2,P,1,0")
    assert read_all([path]).only()["price"].tolist() == [100, 101]


def test_days_chain_in_order_and_no_side_is_carried_over_night(tmp_path, read_all) -> None:
    day = ["10,100,1,0,0,P,1,0", "10,0,0,200,2,P,1,0"]
    late = write(tmp_path, "20131008_quote", ["9,0,0,300,3,P,1,0", *day])
    early = write(tmp_path, "20131007_quote", day)
    got = read_all([late, early])
    assert (np.diff(got.only()["ts_ns"]) == 86_400_000_000_000).all()
    assert [(f, n) for f, n, _ in got.refusals()] == [("20131008_quote.zip", 1)]


def test_a_second_file_of_a_symbol_kind_and_day_is_refused_whole(tmp_path, read_all) -> None:
    trades = ["10,100,1,P,1,0", "11,100,1,P,1,0"]
    (tmp_path / "copy").mkdir()
    paths = [write(folder, "20131007_trade", trades) for folder in (tmp_path, tmp_path / "copy")]
    paths.append(write(tmp_path, "20131008_trade", trades))
    got = read_all([tmp_path])
    assert len(got.only()) == 4
    assert got.refusals() == [("20131007_trade.zip", 0, "a repeat: another file of this symbol, kind and day is imported")]
    assert got.report.summary()["examples"][0]["file"] == str(paths[0]), "files are read in the order of their names"


def test_a_symbol_with_trades_only_leads_and_is_not_tradeable(tmp_path, read_all) -> None:
    quotes = ["10,100,1,0,0,P,1,0", "10,0,0,200,2,P,1,0"]
    trades = ["10,100,1,P,1,0"]
    paths = [write(tmp_path, "20131007_quote", quotes, "ibm"), write(tmp_path, "20131007_trade", trades, "ibm")]
    paths += [write(tmp_path, "20131007_trade", trades, "spy")]
    listed = {i.symbol: i for i in read_all(paths).instruments.instruments}
    assert (listed["SPY"].quoted, listed["SPY"].tradeable, listed["SPY"].leader) == (False, False, None)
    assert (listed["IBM"].quoted, listed["IBM"].tradeable, listed["IBM"].leader) == (True, True, "SPY")
    assert read_all(paths[:1]).instruments.instruments[0].leader is None


def test_recorded_day_of_ibm_against_an_independent_reading(market_data, read_all) -> None:
    folder = market_data / "lean_equity_ticks" / "ibm"
    got = read_all([folder / "20131007_quote.zip", folder / "20131007_trade.zip"])
    quotes, trades = got.ticks["IBM", "lean_equity_quote"], got.ticks["IBM", "lean_equity_trade"]
    assert (got.report.rows_read, got.report.rows_merged, len(quotes), len(trades)) == (109_067 + 24_293, 54_533, 54_533, 24_293)
    assert got.refusals() == [("20131007_quote.zip", 1, "the other side of the market is not known yet")]

    with zipfile.ZipFile(folder / "20131007_quote.zip") as z:
        raw = pl.read_csv(
            io.BytesIO(z.read(z.namelist()[0])), has_header=False, new_columns=FIELDS, schema_overrides={"conditions": pl.String}
        )
    has_bid = pl.col("bid_size") > 0
    carried = raw.with_columns(
        bid=pl.when(has_bid).then("bid").forward_fill(), bid_size=pl.when(has_bid).then("bid_size").forward_fill()
    ).filter((pl.col("ask_size") > 0) & pl.col("bid").is_not_null())
    midnight = at("2013-10-07T04:00")
    assert np.array_equal((quotes["ts_ns"] - midnight) // 1_000_000, carried["ms"].to_numpy())
    for name, column in (("price", "bid"), ("size", "bid_size"), ("ask", "ask"), ("ask_size", "ask_size")):
        assert np.array_equal(quotes[name], carried[column].to_numpy()), name
    ask_venue = np.where(quotes["conditions"] >> ASK_VENUE_SHIFT, quotes["conditions"] >> ASK_VENUE_SHIFT, quotes["venue"])
    assert bytes(ask_venue.astype(np.uint8)).decode() == "".join(carried["exchange"])
    assert got.instruments.sessions["us_equity"] == ((at("2013-10-07T13:30"), at("2013-10-07T20:00")),)
    assert np.count_nonzero(quotes["price"] > quotes["ask"]) == (carried["bid"] > carried["ask"]).sum()
    alike = np.count_nonzero(trades.view("V72")[1:] == trades.view("V72")[:-1])
    assert alike == 1054, "trades that equal the one before in all they say: so a repeat cannot be told by that (docs/tape.md)"


@pytest.mark.parametrize("damage", ["cut at 100", "cut at 300000", "flip 60000", "empty"])
def test_a_damaged_archive_is_one_refusal_and_the_import_goes_on(damage, market_data, tmp_path, read_all) -> None:
    data = bytearray((market_data / "lean_equity_ticks" / "ibm" / "20131007_quote.zip").read_bytes())
    what, _, place = damage.replace("at ", "").partition(" ")
    if what == "flip":
        data[int(place)] ^= 0x10
    else:
        del data[int(place or 0) :]
    path = tmp_path / "ibm" / "20131007_quote.zip"
    path.parent.mkdir()
    path.write_bytes(data)
    sound = write(tmp_path, "20131007_trade", ["34200000,100,1,P,1,0"])
    got = read_all([path, sound])
    assert sum(map(len, got.ticks.values())) == 1
    ((file, line, reason),) = got.refusals()
    assert file == "20131007_quote.zip"
    assert line <= 1
    assert "damaged or cut off" in reason or "empty" in reason


def test_a_wrong_name_is_refused(tmp_path, read_all) -> None:
    good = write(tmp_path, "20131007_trade", ["34200000,100,1,P,1,0"])
    bad = tmp_path / "20139907_trade.zip"
    bad.write_bytes(good.read_bytes())
    got = read_all([good, bad], "lean_equity")
    assert got.refusals() == [("20139907_trade.zip", 1, "a LEAN day file is named YYYYMMDD_quote.zip or YYYYMMDD_trade.zip")]
