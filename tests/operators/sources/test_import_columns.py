"""CSV and Parquet by a stated mapping: exact numbers, times and zones, what is refused, what a wrong mapping says."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from operators.sources.importers import ColumnMapping, text
from schemas.errors import InstrumentError, UsageError
from schemas.ticks import QUOTE, TRADE


def csv(folder: Path, content: str, name: str = "ticks.csv") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000) * 1_000_000


TRADES = ColumnMapping.parse("ts=time,unit=ms,price=px,size=qty,side=side,name=X")


def test_trades_become_exact_fixed_point_with_the_decimals_found(tmp_path, read_all) -> None:
    got = read_all(
        [csv(tmp_path, "time,px,qty,side\n1000,1.25,3,buy\n1001,1.5,0.125,SELL\n1002,1.750,2e-3,\n1003,1,4,-1\n")], "columns", TRADES
    )
    ticks = got.only()
    (x,) = got.instruments.instruments
    assert (x.price_exponent, x.size_exponent, x.tick_size, x.lot_size, x.sized) == (2, 3, 1, 1, True)
    assert (x.quoted, x.tradeable) == (False, False)
    assert ticks["price"].tolist() == [125, 150, 175, 100]
    assert ticks["size"].tolist() == [3000, 125, 2, 4000]
    assert ticks["side"].tolist() == [1, -1, 0, -1]
    assert ticks["ts_ns"].tolist() == [10**9 + i * 10**6 for i in range(4)]
    assert got.lines["X", "columns"].tolist() == [2, 3, 4, 5]


def test_quotes_of_several_symbols_in_one_file(tmp_path, read_all) -> None:
    mapping = ColumnMapping.parse("ts=t,unit=us,symbol=s,bid=b,bid_size=bs,ask=a,ask_size=as,tick_size=0.01,calendar=us_equity")
    content = "s,t,b,bs,a,as\nAA,5,1.01,2,1.02,3\nBB,6,10.5,1,10.6,1\nAA,7,1.00,2,1.02,3\nno way,8,1,1,1,1\nAA,x,1,1,1,1\n"
    got = read_all([csv(tmp_path, content)], "auto", mapping)
    assert got.instruments.symbols == ("AA", "BB")
    assert [i.tick_size for i in got.instruments.instruments] == [1, 1]
    assert got.ticks["AA", "columns"]["price"].tolist() == [101, 100]
    assert got.ticks["BB", "columns"]["ask"].tolist() == [1060]
    assert got.ticks["AA", "columns"]["kind"].tolist() == [QUOTE, QUOTE]
    assert sorted((n, r) for _, n, r in got.refusals()) == [
        (5, "symbol has other characters than A-Z a-z 0-9 _ . : / - or more than 32"),
        (6, "ts is not a number"),
    ]


def test_trades_and_quotes_in_one_file_are_told_by_their_empty_fields(tmp_path, read_all) -> None:
    mapping = ColumnMapping.parse("ts=#1,unit=s,price=#2,size=#3,bid=#4,bid_size=#5,ask=#6,ask_size=#7,name=X")
    got = read_all([csv(tmp_path, "1,5,1,,,,\n2,,,4,1,6,2\n3,,,4,1,,\n4,,,,,,\n")], "columns", mapping)
    assert got.only()["kind"].tolist() == [TRADE, QUOTE]
    assert got.only()["ask"].tolist() == [0, 6]
    assert [(n, r) for _, n, r in got.refusals()] == [
        (3, "neither a whole trade nor a whole quote"),
        (4, "neither a whole trade nor a whole quote"),
    ]


def test_without_sizes_the_instrument_is_unsized(tmp_path, read_all) -> None:
    got = read_all(
        [csv(tmp_path, "t;b;a\n1;1.1;1.2\n")], "columns", ColumnMapping.parse("ts=t,bid=b,ask=a,name=EURUSD,delimiter=;,currency=USD")
    )
    assert not got.instruments.instruments[0].sized
    assert got.only()["size"].tolist() == [0]
    assert got.only()["ts_ns"].tolist() == [1]


TIMES = [
    ("2013-10-07T13:30:00Z", "UTC", "2013-10-07T13:30"),
    ("2013-10-07 13:30:00.125+00:00", "UTC", "2013-10-07T13:30:00.125"),
    ("2013-10-07T09:30:00-04:00", "UTC", "2013-10-07T13:30"),
    ("2013-10-07T09:30:00", "America/New_York", "2013-10-07T13:30"),
    ("2013-11-04T09:30:00", "America/New_York", "2013-11-04T14:30"),
    ("2013-11-03T01:30:00", "America/New_York", "2013-11-03T05:30"),
    ("20200101 170010447", "UTC", "2020-01-01T17:00:10.447"),
    ("2013-10-07", "UTC", "2013-10-07T00:00"),
    ("2024-02-29T23:59:59.999", "UTC", "2024-02-29T23:59:59.999"),
]


@pytest.mark.parametrize(("written", "zone", "expected"), TIMES)
def test_iso_times(written, zone, expected, tmp_path, read_all) -> None:
    mapping = ColumnMapping.parse(f"ts=t,unit=iso,zone={zone},price=p,name=X")
    assert read_all([csv(tmp_path, f"t,p\n{written},1\n")], "columns", mapping).only()["ts_ns"].tolist() == [at(expected)]


@pytest.mark.parametrize(
    "written", ["2013-13-01", "2013-02-29", "2013-10-07T24:00", "noon", "2013-10-07T09:30:00+9", "", "1600-01-01", "2013-10-07T09:30:00."]
)
def test_impossible_times_are_refused(written, tmp_path, read_all) -> None:
    got = read_all([csv(tmp_path, f"t,p\n2013-10-07,1\n{written},1\n")], "columns", ColumnMapping.parse("ts=t,unit=iso,price=p,name=X"))
    assert [(n, r) for _, n, r in got.refusals()] == [(3, "ts is not a date and time")]


def test_a_wall_clock_time_that_was_skipped_is_refused(tmp_path, read_all) -> None:
    mapping = ColumnMapping.parse("ts=t,unit=iso,zone=America/New_York,price=p,name=X")
    got = read_all([csv(tmp_path, "t,p\n2013-03-10T01:30:00,1\n2013-03-10T02:30:00,2\n2013-03-10T03:30:00,3\n")], "columns", mapping)
    assert got.only()["price"].tolist() == [1, 3]
    assert got.refusals() == [("ticks.csv", 3, "the clock in America/New_York never showed this time")]


def test_what_cannot_be_held_is_refused_and_what_can_is_left_to_the_gate(tmp_path, read_all) -> None:
    rows = [
        ("1,1.5,2,buy", None),
        ("2,NaN,2,buy", "price is not a number"),
        ("3,inf,2,buy", "price is not a number"),
        ("4,-1.5,2,buy", None),
        ("5,0,0,buy", None),
        ("6,1.5,2", "it has not the 4 fields expected"),
        ("7,1.5,2,buy,9", "it has not the 4 fields expected"),
        ("8,one,2,buy", "price is not a number"),
        ("9,1.5,2,hold", "side is none of buy, sell, b, s, 1, -1"),
        ("", "it has not the 4 fields expected"),
        ("10,1.55,2,buy", "price is finer than the instrument's fixed point"),
        ("99999999999999999,1.5,2,buy", "ts is too large for 64 bits in fixed point"),
        ('11," 1.5 ","2",buy', None),
        ("12,1.5.1,2,buy", "price is not a number"),
        ("13,1_000,2,buy", "price is not a number"),
        ("14,0x10,2,buy", "price is not a number"),
        ("15,9223372036854775807,2,buy", "price is too large for 64 bits in fixed point"),
    ]
    mapping = ColumnMapping.parse("ts=time,unit=ms,price=px,size=qty,side=side,name=X,price_exponent=1")
    got = read_all([csv(tmp_path, "time,px,qty,side\n" + "".join(r + "\n" for r, _ in rows))], "columns", mapping)
    assert got.only()["price"].tolist() == [15, -15, 0, 15]
    assert sorted((n, r) for _, n, r in got.refusals()) == [(i + 2, r) for i, (_, r) in enumerate(rows) if r is not None]


@pytest.mark.parametrize("block_lines", [1, 3, 65_536])
def test_blocks_of_any_size_give_the_same(block_lines, tmp_path, read_all, monkeypatch) -> None:
    monkeypatch.setattr(text, "BLOCK_LINES", block_lines)
    content = "time,px,qty,side\n" + "".join(f"{i},{i / 8},{i},{'buy' if i % 3 else 'zzz'}\n" for i in range(20))
    got = read_all([csv(tmp_path, content)], "columns", TRADES)
    assert got.lines["X", "columns"].tolist() == [i + 2 for i in range(20) if i % 3]
    assert len(got.refusals()) == 7


NUMBERED = "ts=t,unit=ms,price=p,size=q,bid=b,ask=a,symbol=s,sequence=n"
ROWS = [
    "1,5.0,1,,,X,7",
    "2,5.0,1,,,Y,7",  # another symbol's numbers are its own
    "3,,,4.0,6.0,X,7",  # so are those of quotes
    "4,5.0,1,,,X,9",
    "5,5.0,1,,,X,7",
    "6,5.0,1,,,X,8",  # late, but new
    "7,,,4.0,6.0,X,7",
    "8,5.0,1,,,X,",  # cannot be told
    "8,5.0,1,,,X,",
    "9,5.0,1,,,X,12",
]


@pytest.mark.parametrize("block_lines", [1, 2, 65_536])
def test_a_row_whose_sequence_number_came_before_is_refused(block_lines, tmp_path, read_all, monkeypatch) -> None:
    monkeypatch.setattr(text, "BLOCK_LINES", block_lines)
    paths = [csv(tmp_path, "t,p,q,b,a,s,n\n" + "\n".join(ROWS) + "\n"), csv(tmp_path, "t,p,q,b,a,s,n\n10,5.0,1,,,X,9\n", "uticks.csv")]
    repeat = "a repeat: this sequence number came before"
    got = read_all(paths, "columns", ColumnMapping.parse(NUMBERED))
    assert got.lines["X", "columns"].tolist() == [2, 4, 5, 7, 9, 10, 11]
    assert got.lines["Y", "columns"].tolist() == [3]
    assert got.refusals() == [("ticks.csv", 6, repeat), ("ticks.csv", 8, repeat), ("uticks.csv", 2, repeat)]
    assert not got.ticks["X", "columns"]["gap"].any()
    counted = read_all(paths, "columns", ColumnMapping.parse(NUMBERED + ",sequence_gaps=yes,sequence_restarts=file"))
    assert counted.lines["X", "columns"].tolist() == [2, 4, 5, 7, 9, 10, 11, 2], "the second file's numbers are its own"
    assert counted.ticks["X", "columns"]["gap"].tolist() == [0, 0, 1, 0, 0, 0, 2, 0]


PARQUET = ColumnMapping.parse("ts=t,unit=ms,price=p,size=q,buyer_maker=m,name=X")


def test_parquet_floats_are_read_to_fifteen_digits(tmp_path, read_all) -> None:
    frame = pl.DataFrame(
        {"t": [1, 2, 3, 4], "p": [0.1, 0.29, None, float("nan")], "q": [0.1 + 0.2, 2.5, 1.0, 1.0], "m": [True, False, True, None]}
    )
    frame.write_parquet(tmp_path / "x.parquet")
    got = read_all([tmp_path / "x.parquet"], "auto", PARQUET)
    assert got.only()["price"].tolist() == [10, 29]
    assert got.only()["size"].tolist() == [3, 25]
    assert got.only()["side"].tolist() == [-1, 1]
    assert [(n, r) for _, n, r in got.refusals()] == [(3, "price is not a number"), (4, "price is not a number")]


def test_parquet_decimals_integers_and_timestamps(tmp_path, read_all) -> None:
    frame = pl.DataFrame(
        {
            "t": pl.Series([datetime(2013, 10, 7, 9, 30)]).cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York"),
            "p": pl.Series([Decimal("12.50")], dtype=pl.Decimal(10, 2)),
            "q": [7],
        }
    )
    frame.write_parquet(tmp_path / "x.parquet")
    got = read_all([tmp_path / "x.parquet"], "columns", ColumnMapping.parse("ts=t,unit=iso,price=p,size=q,name=X,price_exponent=2"))
    assert got.only()["price"].tolist() == [1250]
    assert got.only()["ts_ns"].tolist() == [at("2013-10-07T13:30")]


@pytest.mark.parametrize("damage", ["cut", "flip", "magic only"])
def test_a_damaged_parquet_file_is_a_refusal(damage, tmp_path, read_all) -> None:
    path = tmp_path / "x.parquet"
    n = 5000
    pl.DataFrame({"t": range(n), "p": np.arange(n) / 4, "q": range(n), "m": [True] * n}).write_parquet(path)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "flip":
        data[40:400] = bytes(360)
    else:
        data = bytearray(b"PAR1")
    path.write_bytes(data)
    good = csv(tmp_path, "t,p,q,m\n1,1,1,true\n", "good.csv")
    got = read_all([path, good], "columns", PARQUET)
    assert len(got.only()) == 1
    assert [(f, "damaged" in r) for f, _, r in got.refusals()] == [("x.parquet", True)]


WRONG = [
    ("price=p,name=X", "state the column of the time"),
    ("ts=t,price=p", "either a symbol column"),
    ("ts=t,price=p,symbol=s,name=X", "either a symbol column"),
    ("ts=t,name=X", "state price for trades, or bid and ask"),
    ("ts=t,bid=b,name=X", "state price for trades, or bid and ask"),
    ("ts=t,bid=b,ask=a,bid_size=c,name=X", "bid_size and ask_size come together"),
    ("ts=t,price=p,name=X,colour=red", "no key 'colour'; columns are ts, symbol"),
    ("ts=t,price=p,name=X,unit=days", "unit must be one of s, ms, us, ns, iso, given 'days'"),
    ("ts=t,price=p,name=X,zone=Mars/Base", "no time zone 'Mars/Base'"),
    ("ts=t,price=p,name=X,calendar=lunar", "calendar must be one of always, us_equity, forex"),
    ("ts=t,price=p,name=X,tick_size=0", "tick_size must be above 0"),
    ("ts=t,price=p,name=X,tick_size=abc", "tick_size must be a decimal"),
    ("ts=t,price=p,name=X,price_exponent=11", "price_exponent must be a whole number from 0 to 10"),
    ("ts=t,price=p,name=X,delimiter=||", "delimiter must be one ASCII character"),
    ("ts=t,ts=u,price=p,name=X", "ts is given twice"),
    ("ts,price=p,name=X", "expected key=value, given 'ts'"),
    ("ts=t,price=p,name=X,sequence_gaps=yes", "say something of a sequence column"),
    ("ts=t,price=p,name=X,sequence_restarts=file", "say something of a sequence column"),
    ("ts=t,price=p,name=X,sequence=n,sequence_restarts=day", "sequence_restarts must be one of file, no, given 'day'"),
]


@pytest.mark.parametrize(("mapping", "message"), WRONG)
def test_a_wrong_mapping_says_what_is_wrong(mapping, message) -> None:
    with pytest.raises(UsageError, match=message.replace("|", r"\|")):
        ColumnMapping.parse(mapping)


def test_a_mapping_that_does_not_fit_the_file_names_its_columns(tmp_path, read_all) -> None:
    with pytest.raises(UsageError, match="no column for ts=time, side=side; its columns are t, px, qty"):
        read_all([csv(tmp_path, "t,px,qty\n1,1,1\n")], "columns", TRADES)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="has no column t, p, q, m; its columns are a"):
        read_all([tmp_path / "x.parquet"], "columns", PARQUET)
    with pytest.raises(UsageError, match="state what its columns are"):
        read_all([csv(tmp_path, "t,px,qty\n1,1,1\n")])


def test_more_decimals_than_money_has_or_a_tick_finer_than_kept_is_refused(tmp_path, read_all) -> None:
    path = csv(tmp_path, "t,p,q\n1,0.1234567,0.12345\n")
    with pytest.raises(InstrumentError, match="7 decimals of price and 5 of size"):
        read_all([path], "columns", ColumnMapping.parse("ts=t,price=p,size=q,name=X"))
    with pytest.raises(UsageError, match="tick_size 0.01 is finer than the 1 decimals kept"):
        read_all(
            [csv(tmp_path, "t,p,q\n1,0.1,1\n")],
            "columns",
            ColumnMapping.parse("ts=t,price=p,size=q,name=X,tick_size=0.01,price_exponent=1"),
        )


def test_a_stated_tick_keeps_its_decimals(tmp_path, read_all) -> None:
    got = read_all(
        [csv(tmp_path, "t,p,q\n1,5,1\n")], "columns", ColumnMapping.parse("ts=t,price=p,size=q,name=X,tick_size=0.25,lot_size=100")
    )
    (x,) = got.instruments.instruments
    assert (x.price_exponent, x.tick_size, x.lot_size, got.only()["price"].tolist()) == (2, 25, 100, [500])


def test_a_file_without_a_readable_row_is_refused_row_by_row(tmp_path, read_all) -> None:
    bad, good = csv(tmp_path, "time,px,qty,side\na,b,c,d\ne,f,g,h\n", "bad.csv"), csv(tmp_path, "time,px,qty,side\n1,1,1,buy\n", "good.csv")
    got = read_all([bad, good], "columns", TRADES)
    assert [(f, n) for f, n, _ in got.refusals()] == [("bad.csv", 2), ("bad.csv", 3)]
    with pytest.raises(UsageError, match="nothing to import"):
        read_all([bad], "columns", TRADES)


def test_recorded_files_of_others(market_data, read_all) -> None:
    folder = market_data / "nautilus_test_data"
    got = read_all(
        [folder / "truefx" / "usdjpy-ticks.csv.gz"],
        "columns",
        ColumnMapping.parse("ts=timestamp,unit=iso,bid=bid,ask=ask,name=USDJPY,calendar=forex,currency=JPY"),
    )
    rows = gzip.decompress((folder / "truefx" / "usdjpy-ticks.csv.gz").read_bytes()).decode().split("\n")
    assert len(got.only()) == len([r for r in rows if r]) - 1
    assert got.only()[0]["ts_ns"] == at("2013-01-01T22:00:00.295")
    assert (got.only()["price"][0], got.instruments.instruments[0].price_exponent) == (86_655, 3)
    got = read_all([folder / "quote_tick_data.csv.gz"], "columns", ColumnMapping.parse("ts=#1,unit=iso,bid=#2,ask=#3,name=EURUSD"))
    assert got.only()["ts_ns"][1] == at("2020-01-01T17:00:10.447")
    got = read_all(
        [folder / "binance" / "btcusdt-trades.parquet"],
        "columns",
        ColumnMapping.parse("ts=timestamp,unit=iso,price=price,size=quantity,buyer_maker=buyer_maker,name=BTCUSDT"),
    )
    frame = pl.read_parquet(folder / "binance" / "btcusdt-trades.parquet")
    (btc,) = got.instruments.instruments
    assert len(got.only()) == frame.height == 2001
    assert (got.only()["price"] / 10**btc.price_exponent) == pytest.approx(frame["price"].to_numpy(), rel=1e-15)
    assert (got.only()["size"] / 10**btc.size_exponent) == pytest.approx(frame["quantity"].to_numpy(), rel=1e-15)
    assert got.only()["side"].tolist() == [-1 if m == "True" else 1 for m in frame["buyer_maker"]]
