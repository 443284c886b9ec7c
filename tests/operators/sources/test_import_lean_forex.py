"""LEAN forex ticks: exact prices, the brokers' clocks, crossed rows kept."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import UsageError


def write(folder: Path, broker: str, rows: list[str], pair: str = "eurusd", day: str = "20140502") -> Path:
    path = folder / broker / "tick" / pair / f"{day}_quote.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr(f"{day}_{pair}_tick_quote.csv", "".join(r + "\n" for r in rows))
    return path


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000) * 1_000_000


def test_prices_are_exact_and_clocks_are_the_brokers(tmp_path, read_all) -> None:
    rows = ["611,1.38626,1.38627", "809,1.3862,1.4"]
    got = read_all([write(tmp_path, "oanda", rows), write(tmp_path, "fxcm", rows)])
    oanda, fxcm = got.ticks["EURUSD.OANDA", "lean_forex_oanda"], got.ticks["EURUSD.FXCM", "lean_forex_fxcm"]
    assert oanda["price"].tolist() == [138626, 138620]
    assert oanda["ask"].tolist() == [138627, 140000]
    assert oanda["ts_ns"].tolist() == [at("2014-05-02T00:00:00.611"), at("2014-05-02T00:00:00.809")]
    assert fxcm["ts_ns"].tolist() == [at("2014-05-02T05:00:00.611"), at("2014-05-02T05:00:00.809")]
    assert not oanda["size"].any()
    assert got.instruments.symbols == ("EURUSD.FXCM", "EURUSD.OANDA")
    assert not any(i.sized for i in got.instruments.instruments)


def test_yen_has_three_decimals(tmp_path, read_all) -> None:
    got = read_all([write(tmp_path, "oanda", ["1,102.345,102.35", "2,102.3456,102.35"], "usdjpy")])
    assert got.only()["price"].tolist() == [102345]
    assert got.refusals() == [("20140502_quote.zip", 2, "bid is finer than the instrument's fixed point")]


def test_crossed_and_negative_rows_are_kept_and_unreadable_ones_refused(tmp_path, read_all) -> None:
    rows = ["1,1.5,1.4", "2,-1.5,1.4", "3,nan,1.4", "4,inf,1.4", "5,1.4", "6,1.4,1.5,9", "7,1e-05,1.5", "8,1.4,1.5 "]
    got = read_all([write(tmp_path, "oanda", rows)], "lean_forex")
    assert got.only()["price"].tolist() == [150000, -150000, 1, 140000]
    assert [(line, reason) for _, line, reason in got.refusals()] == [
        (3, "bid is not a number"),
        (4, "bid is not a number"),
        (5, "it has not the 3 fields expected"),
        (6, "it has not the 3 fields expected"),
    ]


def test_a_file_of_no_known_broker_is_refused_because_its_clock_is_unknown(tmp_path, read_all) -> None:
    path = write(tmp_path, "elsewhere", ["1,1.4,1.5"])
    with pytest.raises(UsageError, match="below a folder oanda or fxcm"):
        read_all([path])


def test_recorded_days_of_both_brokers(market_data, read_all) -> None:
    folder = market_data / "lean_fx_ticks"
    got = read_all([folder / b / "tick" / "eurusd" / "20140502_quote.zip" for b in ("oanda", "fxcm")])
    oanda, fxcm = got.ticks["EURUSD.OANDA", "lean_forex_oanda"], got.ticks["EURUSD.FXCM", "lean_forex_fxcm"]
    assert got.report.rows_read == len(oanda) + len(fxcm)
    assert got.report.rows_refused == 0
    assert np.count_nonzero(oanda["price"] > oanda["ask"]) == 0
    assert 0.05 < np.count_nonzero(fxcm["price"] > fxcm["ask"]) / len(fxcm) < 0.15
    ((opens, closes), *_) = got.instruments.sessions["forex"]
    assert (opens, closes) == (at("2014-04-27T21:00"), at("2014-05-02T21:00"))
    # Friday's last rows come just before the week's close on both brokers' clocks, which tells that the offsets are right.
    assert 0 < closes - oanda["ts_ns"][-1] < 2_000_000_000
    assert 0 < closes - fxcm["ts_ns"][-1] < 60 * 60 * 1_000_000_000
    both = np.searchsorted(oanda["ts_ns"], fxcm["ts_ns"], "right") - 1
    later = both >= 0
    apart = np.abs(fxcm["price"][later] - oanda["price"][both[later]])
    assert np.median(apart) <= 10
