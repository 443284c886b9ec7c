"""Binance raw captures: event times, exact numbers, gaps, markets, damage; the golden five-minute bar."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from operators.sources.importers import import_sources, text
from operators.sources.tape import Tape
from operators.sources.tape.bars import bars
from schemas.errors import InstrumentError, UsageError
from schemas.ticks import DEPTH, FLAG_SNAPSHOT, QUOTE, TRADE

T0 = 1_723_161_255_000
RECEIVED = 1_600_000_000_000_000_000
UPDATES = count(7)


def trade(ident: int, price: str, size: str, ms: int, maker: bool, symbol: str = "BTCUSDT", spot: bool = True) -> str:
    data = {"e": "trade", "E": ms + 5, "T": ms, "s": symbol, "t": ident, "p": price, "q": size, "m": maker}
    data |= {"M": True} if spot else {"X": "MARKET"}
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data}, separators=(",", ":"))


def ticker(
    bid: str, bid_size: str, ask: str, ask_size: str, symbol: str = "BTCUSDT", ms: int | None = None, update: int | None = None
) -> str:
    data: dict[str, object] = {
        "u": next(UPDATES) if update is None else update,
        "s": symbol,
        "b": bid,
        "B": bid_size,
        "a": ask,
        "A": ask_size,
    }
    if ms is not None:
        data |= {"e": "bookTicker", "T": ms, "E": ms + 3}
    return json.dumps({"stream": f"{symbol.lower()}@bookTicker", "data": data}, separators=(",", ":"))


def depth(first: int, last: int, bids: list[list[str]], asks: list[list[str]], ms: int, symbol: str = "BTCUSDT", **more: object) -> str:
    data = {"e": "depthUpdate", "E": ms, "s": symbol, "U": first, "u": last, "b": bids, "a": asks, **more}
    return json.dumps({"stream": f"{symbol.lower()}@depth", "data": data}, separators=(",", ":"))


def snapshot(bids: list[list[str]], asks: list[list[str]], **more: object) -> str:
    return json.dumps({"lastUpdateId": 1, "bids": bids, "asks": asks, **more}, separators=(",", ":"))


def capture(folder: Path, messages: list[str], name: str = "btcusdt.gz") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress("".join(f"{RECEIVED + i} {m}\n" for i, m in enumerate(messages)).encode()))
    return path


def test_a_trade_takes_its_trade_time_and_the_aggressors_side(tmp_path, read_all) -> None:
    ticks = read_all(
        [capture(tmp_path, [trade(1, "61837.63000000", "0.02000000", T0, True), trade(2, "61837.64", "1.5", T0 + 1, False)])]
    ).only()
    assert ticks["ts_ns"].tolist() == [T0 * 10**6, (T0 + 1) * 10**6]
    assert ticks["price"].tolist() == [6_183_763, 6_183_764]
    assert ticks["size"].tolist() == [20_000, 1_500_000]
    assert ticks["side"].tolist() == [-1, 1]
    assert ticks["kind"].tolist() == [TRADE, TRADE]


def test_a_spot_ticker_takes_the_last_event_time_in_the_file_and_never_the_receive_time(tmp_path, read_all) -> None:
    messages = [
        ticker("1.00", "1", "2.00", "1"),
        trade(1, "1.50", "1", T0, False),
        ticker("1.00", "1", "2.00", "2"),
        depth(1, 2, [["1.00", "3"]], [], T0 + 100),
        ticker("1.00", "1", "2.00", "3"),
    ]
    got = read_all([capture(tmp_path, messages)])
    quotes = got.only()[got.only()["kind"] == QUOTE]
    assert quotes["ts_ns"].tolist() == [T0 * 10**6, (T0 + 100) * 10**6]
    assert quotes["ask_size"].tolist() == [2_000_000, 3_000_000]
    assert got.refusals() == [("btcusdt.gz", 1, "no event time in the message and none before it in the file")]


def test_depth_levels_are_ticks_and_snapshots_are_flagged(tmp_path, read_all) -> None:
    messages = [
        depth(1, 5, [["10.00", "1"], ["9.99", "0.0"]], [["10.01", "2"]], T0),
        snapshot([["10.00", "1"]], [["10.02", "4"]]),
        depth(6, 6, [], [], T0 + 5),
    ]
    got = read_all([capture(tmp_path, messages)])
    ticks = got.only()
    assert ticks["kind"].tolist() == [DEPTH] * 5
    assert ticks["side"].tolist() == [1, 1, -1, 1, -1]
    assert ticks["size"].tolist() == [1_000_000, 0, 2_000_000, 1_000_000, 4_000_000]
    assert ticks["flags"].tolist() == [0, 0, 0, FLAG_SNAPSHOT, FLAG_SNAPSHOT]
    assert set(ticks["ts_ns"]) == {T0 * 10**6}
    assert got.lines["BTCUSDT.SPOT", "binance_raw"].tolist() == [1, 1, 1, 2, 2]
    assert (got.report.rows_read, got.report.rows_merged) == (6, 1)


def test_gaps_count_what_the_venue_sent_and_the_file_has_not(tmp_path, read_all) -> None:
    spot = [
        trade(10, "1", "1", T0, True),
        trade(14, "1", "1", T0, True),
        depth(1, 5, [["1", "1"]], [], T0),
        depth(6, 7, [["1", "1"]], [], T0),
        depth(11, 12, [["1", "1"], ["2", "1"]], [], T0),
    ]
    assert read_all([capture(tmp_path, spot)]).only()["gap"].tolist() == [0, 3, 0, 0, 3, 0]
    futures = [
        depth(1, 5, [["1", "1"]], [], T0, pu=0, T=T0),
        depth(7, 8, [["1", "1"]], [], T0, pu=5, T=T0),
        depth(20, 21, [["1", "1"]], [], T0, pu=15, T=T0),
    ]
    assert read_all([capture(tmp_path, futures)]).only()["gap"].tolist() == [0, 0, 7]


def test_a_repeated_trade_is_refused_and_a_late_one_kept(tmp_path, read_all) -> None:
    got = read_all([capture(tmp_path, [trade(i, "1", "1", T0, True) for i in (1, 3, 2, 3, 4)])])
    assert len(got.only()) == 4
    assert got.refusals() == [("btcusdt.gz", 4, "a duplicate: a trade of this id came before")]


REPEATS = {
    "book ticker": lambda i: ticker("10.00", "1", "10.01", "1", ms=T0 + i, update=i),
    "depth update": lambda i: depth(i, i, [["10.00", "1"]], [], T0 + i),
    "snapshot": lambda i: snapshot([["10.00", "1"]], [], symbol="BTCUSDT", T=T0 + i, lastUpdateId=i),
}


@pytest.mark.parametrize("what", REPEATS)
def test_what_a_second_connection_says_again_is_refused_by_its_id(tmp_path, read_all, what) -> None:
    made: Callable[[int], str] = REPEATS[what]
    got = read_all([capture(tmp_path, [trade(1, "10.00", "1", T0, False), *(made(i) for i in (5, 5, 9, 7, 9, 7, 12))])])
    (ticks,) = (t for t in got.ticks.values() if t["kind"].max() != TRADE or t.size > 1)
    assert ticks[ticks["kind"] != TRADE]["ts_ns"].tolist() == [(T0 + i) * 10**6 for i in (5, 9, 7, 12)]
    assert got.refusals() == [("btcusdt.gz", line, f"a duplicate: a {what} of this id came before") for line in (3, 6, 7)]


def test_of_two_recordings_that_overlap_each_trade_is_imported_once(tmp_path, read_all) -> None:
    """Also far back: thousands of trades after it."""
    first, second = ([trade(i, "1", "1", T0 + i, True) for i in ids] for ids in (range(6000), range(500, 9000)))
    got = read_all([capture(tmp_path, first, "a.gz"), capture(tmp_path, second, "b.gz")])
    assert np.array_equal(got.only()["ts_ns"], (T0 + np.arange(9000)) * 10**6)
    assert not got.only()["gap"].any()
    assert len(got.refusals()) == 5500


def test_a_repeat_does_not_set_the_time_of_the_messages_after_it_back(tmp_path, read_all) -> None:
    messages = [trade(1, "1", "1", T0, True), trade(2, "1", "1", T0 + 50, True), trade(1, "1", "1", T0, True), ticker("1", "1", "2", "1")]
    assert read_all([capture(tmp_path, messages)]).only()["ts_ns"].tolist() == [T0 * 10**6, (T0 + 50) * 10**6, (T0 + 50) * 10**6]


def test_spot_and_futures_of_one_name_stay_apart_even_in_one_file(tmp_path, read_all) -> None:
    messages = [
        trade(1, "10.00", "1", T0, True),
        trade(1, "11.0", "2", T0 + 1, True, spot=False),
        ticker("10.00", "1", "10.01", "1"),
        ticker("11.0", "1", "11.1", "1", ms=T0 + 2),
        trade(1, "12.5", "3", T0 + 3, True, "BTCUSD_PERP", spot=False),
        trade(1, "13.5", "3", T0 + 3, True, "BTCUSDT_240927", spot=False),
        snapshot([["1", "1"]], []),
        snapshot([["9.5", "1"]], [], symbol="BTCUSD_PERP", T=T0 + 4),
    ]
    got = read_all([capture(tmp_path, messages)])
    by_symbol = {symbol: ticks for (symbol, _), ticks in got.ticks.items()}
    assert sorted(by_symbol) == ["BTCUSDT.SPOT", "BTCUSDT.UM", "BTCUSDT_240927.UM", "BTCUSD_PERP.CM"]
    assert by_symbol["BTCUSDT.SPOT"]["kind"].tolist() == [TRADE, QUOTE]
    # the last event time before the spot ticker is the future's
    assert by_symbol["BTCUSDT.SPOT"]["ts_ns"].tolist() == [T0 * 10**6, (T0 + 1) * 10**6]
    assert by_symbol["BTCUSDT.UM"]["price"].tolist() == [1100, 1100]
    assert by_symbol["BTCUSD_PERP.CM"]["price"].tolist() == [125, 95]
    assert got.refusals() == [("btcusdt.gz", 7, "a snapshot that names no symbol, in a file of several")]
    assert {i.symbol: i.leader for i in got.instruments.instruments}["BTCUSDT.SPOT"] == "BTCUSDT.UM"
    assert not got.instruments.instruments[got.instruments.id_of("BTCUSD_PERP.CM")].tradeable


def test_decimals_of_an_unknown_symbol_are_measured(tmp_path, read_all) -> None:
    messages = [trade(1, "0.10120000", "3500.00", T0, True, "DOGEUSDT"), trade(2, "0.10123000", "12.5", T0, True, "DOGEUSDT")]
    got = read_all([capture(tmp_path, messages)])
    (doge,) = got.instruments.instruments
    assert (doge.price_exponent, doge.size_exponent, doge.currency) == (5, 1, "USDT")
    assert got.only()["price"].tolist() == [10120, 10123]
    assert got.only()["size"].tolist() == [35_000, 125]


def test_a_symbol_finer_than_money_is_refused_with_what_to_do(tmp_path, read_all) -> None:
    with pytest.raises(InstrumentError, match=r"PEPEUSDT.SPOT: 8 decimals of price and 3 of size .* state coarser ones"):
        read_all([capture(tmp_path, [trade(1, "0.00001234", "1.001", T0, True, "PEPEUSDT")])])


BAD = [
    (f"{RECEIVED} not json", "not a receive time, a blank and a JSON object"),
    (json.dumps({"data": {}}), "not a receive time, a blank and a JSON object"),
    (f'{RECEIVED} {{"data":{{"e":"trade","s":"BTCUSDT"', "not a receive time, a blank and a JSON object"),
    (f'{RECEIVED} {{"data":{{"e":"trade",,}}}}', "not a Binance message: broken JSON, or a field that is missing or of another type"),
    (f'{RECEIVED} {{"data":[1]}}', "not a Binance message: broken JSON, or a field that is missing or of another type"),
    (f'{RECEIVED} {{"result":null,"id":1}}', "no symbol, or another one than in the rest of the file"),
    (f"{RECEIVED} " + trade(5, "NaN", "1", T0, True), "a price or size is not a number"),
    (f"{RECEIVED} " + trade(5, "abc", "1", T0, True), "a price or size is not a number"),
    (f"{RECEIVED} " + trade(5, "1", "Infinity", T0, True), "a price or size is not a number"),
    (f"{RECEIVED} " + trade(5, "1.001", "1", T0, True), "a price or size is finer than the instrument's fixed point"),
    (f"{RECEIVED} " + trade(5, "9" * 30, "1", T0, True), "a price or size is too large for 64 bits in fixed point"),
    (f"{RECEIVED} " + trade(5, "1e999", "1", T0, True), "a price or size is too large for 64 bits in fixed point, or too small"),
    (f"{RECEIVED} " + trade(5, "1", "1", -3, True), "event time is not in milliseconds since 1970"),
    (f"{RECEIVED} " + trade(5, "1", "1", 10**18, True), "event time is not in milliseconds since 1970"),
    (f"{RECEIVED} " + trade(5, "1", "1", T0, True).replace('"m":true', '"m":1'), "m is neither true nor false"),
    (
        f"{RECEIVED} " + trade(5, "1", "1", T0, True).replace('"e":"trade"', '"e":"kline"'),
        "event is none of trade, bookTicker, depthUpdate",
    ),
    (
        f"{RECEIVED} " + trade(5, "1", "1", T0, True).replace('"p":"1",', ""),
        "not a Binance message: broken JSON, or a field that is missing or of another type",
    ),
    (f"{RECEIVED} " + "[" * 5000, "not a receive time, a blank and a JSON object"),
    (f"{RECEIVED} " + '{"a":' + "[" * 200_000 + "}", "not a Binance message: broken JSON, or a field that is missing or of another type"),
]


def test_each_unreadable_message_is_refused_with_its_line_and_the_import_goes_on(tmp_path, read_all) -> None:
    lines = [x for i, (bad, _) in enumerate(BAD) for x in (f"{RECEIVED} {trade(100 + i, '1.00', '1', T0, True)}", bad)]
    path = tmp_path / "btcusdt.gz"
    path.write_bytes(gzip.compress("".join(f"{x}\n" for x in lines).encode()))
    got = read_all([path])
    assert len(got.only()) == len(BAD)
    assert got.refusals() == [("btcusdt.gz", 2 * i + 2, reason) for i, (_, reason) in enumerate(BAD)]


def test_a_negative_price_can_be_held(tmp_path, read_all) -> None:
    assert read_all([capture(tmp_path, [trade(1, "-1.00", "1", T0, True)])]).only()["price"].tolist() == [-100]


def test_blocks_of_any_size_give_the_same(market_data, tmp_path, read_all, monkeypatch) -> None:
    raw = gzip.decompress((market_data / "binance_ws_raw_hftbacktest" / "spot" / "ethusdt_20240808.gz").read_bytes())
    path = tmp_path / "eth.gz"
    path.write_bytes(gzip.compress(b"\n".join(raw.split(b"\n")[:3000]) + b"\n", 1))
    whole = read_all([path])
    monkeypatch.setattr(text, "BLOCK_LINES", 7)
    monkeypatch.setattr(text, "READ_BYTES", 1000)
    parts = read_all([path])
    assert np.array_equal(whole.only(), parts.only())
    assert whole.refusals() == parts.refusals()


def test_a_capture_that_was_cut_off_gives_its_whole_lines_and_a_refusal(market_data, tmp_path, read_all) -> None:
    data = (market_data / "binance_ws_raw_hftbacktest" / "spot" / "ethusdt_20240808.gz").read_bytes()
    path = tmp_path / "ethusdt.gz"
    path.write_bytes(data[:60_000])
    got = read_all([path])
    assert len(got.only()) > 1000
    _, line, reason = got.refusals()[-1]
    assert line > got.lines["ETHUSDT.SPOT", "binance_raw"][-1] > 1000
    assert "damaged or cut off" in reason


def test_a_capture_with_flipped_bits_is_refused_whole_since_wrong_digits_may_look_right(market_data, tmp_path, read_all) -> None:
    data = bytearray((market_data / "binance_ws_raw_hftbacktest" / "spot" / "ethusdt_20240808.gz").read_bytes())
    data[60_000] ^= 0x04
    path = tmp_path / "ethusdt.gz"
    path.write_bytes(bytes(data))
    got = read_all([path, capture(tmp_path, [trade(1, "1", "1", T0, True)])])
    assert got.instruments.symbols == ("BTCUSDT.SPOT",)
    ((file, line, reason),) = got.refusals()
    assert (file, line) == ("ethusdt.gz", 0)
    assert "none of its rows can be trusted" in reason


def test_an_empty_capture_is_refused(tmp_path, read_all) -> None:
    (tmp_path / "empty.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(UsageError, match="nothing to import"):
        read_all([tmp_path / "empty.gz"])
    got = read_all([tmp_path / "empty.gz", capture(tmp_path, [trade(1, "1", "1", T0, True)])], "binance_raw")
    assert got.refusals() == [("empty.gz", 1, "the file is empty")]
    (tmp_path / "nothing.gz").touch()
    with pytest.raises(UsageError, match="of no known format, or empty"):
        read_all([tmp_path / "nothing.gz"])


@pytest.fixture(scope="module")
def tape(market_data, tmp_path_factory) -> Tape:
    """The recorded captures of BTC and ETH on spot as a tape."""
    out = tmp_path_factory.mktemp("binance") / "tape"
    report = import_sources([market_data / "binance_ws_raw_hftbacktest" / "spot"], out)
    assert report.rows_read == report.ticks + report.rows_refused + report.rows_merged
    assert report.rows_refused == 1
    return Tape.open(out)


def test_golden_five_minute_bar_of_recorded_trades(tape, market_data) -> None:
    table = bars(tape, 300 * 10**9).filter((pl.col("symbol") == "BTCUSDT.SPOT") & (pl.col("start_ns") == 1_723_161_300 * 10**9))
    (bar,) = table.iter_rows(named=True)
    assert [bar[k] for k in ("open", "high", "low", "close")] == [Decimal(x) for x in ("61828.0", "61860.8", "61583.22", "61685.99")]
    assert bar["volume"] == Decimal("199.42863")
    assert round(bar["volume"], 3) == Decimal("199.429")
    published = pl.read_ipc(market_data / "bars_binance_spot_5m" / "BTC_USDT-5m.feather")
    kline = published.filter(pl.col("date").dt.epoch("ns") == bar["start_ns"])
    if kline.height:
        (row,) = kline.iter_rows(named=True)
        assert [float(bar[k]) for k in ("open", "high", "low", "close", "volume")] == [
            row[k] for k in ("open", "high", "low", "close", "volume")
        ]


def test_counts_of_the_recorded_spot_capture(tape) -> None:
    counts = {s.symbol: s for s in tape.manifest.symbols}
    assert counts["BTCUSDT.SPOT"].kinds["trade"] == 9757
    assert counts["BTCUSDT.SPOT"].kinds["quote"] == 28_040
    assert counts["ETHUSDT.SPOT"].kinds["quote"] == 24_077 - 1
    assert counts["BTCUSDT.SPOT"].missing == 0
    assert counts["ETHUSDT.SPOT"].missing == 0


def test_recorded_futures_have_no_sequence_gaps_and_their_markets_names(market_data, read_all) -> None:
    got = read_all([market_data / "binance_ws_raw_hftbacktest" / "cm" / "ethusd_perp_20240808.gz"])
    ticks = got.only()
    assert got.instruments.symbols == ("ETHUSD_PERP.CM",)
    assert np.count_nonzero(ticks["kind"] == TRADE) == 1732
    assert np.count_nonzero(ticks["kind"] == QUOTE) == 15_812
    assert not ticks["gap"].any()
    assert got.report.rows_refused == 0
