"""Feeds to a tape: order, effective time and sequence against a plain reference; nothing is lost; failure leaves nothing."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.sources.tape import Feed, FeedChunk, ImportReport, Tape, merge, write_feeds
from operators.sources.tape.format import IMPORT_REPORT, REJECTED
from schemas.errors import InstrumentError, RefusedError, SpiketapeError
from schemas.instruments import Instrument, InstrumentList
from schemas.ticks import DEPTH, QUOTE, TICK_V1, TRADE, Ticks
from tests.operators.sources.tapes import calls_of

S = 1_000_000_000
START = 1_381_152_600 * S
SYMBOLS = ("AAA", "BBB", "CCC")
LISTED = InstrumentList(
    instruments=tuple(Instrument(symbol=s, price_exponent=2, size_exponent=0, tick_size=1, lot_size=1) for s in SYMBOLS)
)

Row = tuple[int, int, int]
"""Original time, kind, price: prices are different in all rows of a test, so that rows can be told apart."""


def ticks_of(rows: list[Row]) -> Ticks:
    t = np.zeros(len(rows), TICK_V1)
    for i, (ts, kind, price) in enumerate(rows):
        t[i]["ts_ns"], t[i]["kind"], t[i]["price"] = ts, kind, price
    t["symbol"] = 77
    t["seq"] = 99
    return t


def feed_of(symbol: str, rows: list[Row], cut: int = 1000, source: str = "feed") -> Feed:
    ticks = ticks_of(rows)

    def chunks() -> Iterator[FeedChunk]:
        for i in range(0, len(ticks), cut):
            yield FeedChunk(ticks[i : i + cut], np.arange(i + 1, i + 1 + len(ticks[i : i + cut])))

    return Feed(symbol, source, chunks)


def rows_of(tape: Tape) -> list[tuple[Any, ...]]:
    """(effective time, symbol, seq, kind, price, lateness) in global order."""
    parts = []
    for p in range(tape.partitions):
        row = 0
        while row < tape.rows(p):
            parts.append(tape.read(p, row, 10**9))
            row += len(parts[-1])
    ticks = np.concatenate(parts) if parts else np.empty(0, TICK_V1)
    ticks = ticks[np.lexsort((ticks["seq"], ticks["symbol"], ticks["ts_ns"]))]
    return list(zip(*(ticks[c].tolist() for c in ("ts_ns", "symbol", "seq", "kind", "price", "late_ns")), strict=True))


def reference(feeds: list[tuple[str, list[Row]]]) -> list[tuple[Any, ...]]:
    """The order of the module's docstring, by sorting everything. No time needs refusing here."""
    keyed = []
    for f, (symbol, rows) in enumerate(feeds):
        latest = 0
        for i, (ts, kind, price) in enumerate(rows):
            latest = max(latest, ts)
            keyed.append((latest, SYMBOLS.index(symbol), kind != TRADE, f, i, ts, kind, price))
    seq = dict.fromkeys(range(len(SYMBOLS)), 0)
    out = []
    for latest, symbol, _, _, _, ts, kind, price in sorted(keyed):
        out.append((latest, symbol, seq[symbol], kind, price, latest - ts))
        seq[symbol] += 1
    return sorted(out)


FEEDS = st.lists(
    st.tuples(
        st.sampled_from(SYMBOLS),
        st.lists(st.tuples(st.integers(START, START + 25), st.sampled_from([QUOTE, TRADE, DEPTH])), min_size=0, max_size=40),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=40, deadline=None)
@given(FEEDS, st.integers(1, 50), st.booleans())
def test_order_effective_time_and_sequence_are_the_definition(
    tmp_path_factory: pytest.TempPathFactory, given_feeds: list[tuple[str, list[tuple[int, int]]]], cut: int, tiny_windows: bool
) -> None:
    price = iter(range(10**6))
    feeds = [(symbol, [(ts, kind, next(price)) for ts, kind in rows]) for symbol, rows in given_feeds]
    out = tmp_path_factory.mktemp("merge") / "t"
    with pytest.MonkeyPatch.context() as patch:
        if tiny_windows:
            patch.setattr(merge, "_WINDOWS_BYTES", 0)
            patch.setattr(merge, "_OUT_ROWS", 3)
        write_feeds([feed_of(s, r, cut) for s, r in feeds], out, LISTED, partitions=2)
    tape = Tape.open(out)
    tape.verify()
    assert rows_of(tape) == reference(feeds)


def test_windows_and_runs_of_any_length_merge_alike(tmp_path: Path) -> None:
    """Long runs that overlap, chain, and end at other places than the windows; one chunk of 64 rows is one window here."""
    rng = np.random.default_rng(4)
    feeds = []
    for day in range(4):
        for i, symbol in enumerate(SYMBOLS):
            for kind in (QUOTE, TRADE):
                n = int(rng.integers(1, 900))
                ts = START + day * 2 * 10**6 + np.sort(rng.integers(0, 3 * 10**6, n)) + rng.integers(-3, 3, n)
                feeds.append((symbol, [(int(t), kind, (day * 100 + i * 10 + kind) * 1000 + j) for j, t in enumerate(ts)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "_WINDOWS_BYTES", 0)
        write_feeds([feed_of(s, r, 100) for s, r in feeds], tmp_path / "t", LISTED)
    assert rows_of(Tape.open(tmp_path / "t")) == reference(feeds)


def test_trades_come_before_quotes_at_equal_time(tmp_path: Path) -> None:
    rows: list[Row] = [(START, QUOTE, 1), (START, TRADE, 2), (START, DEPTH, 3), (START, TRADE, 4)]
    write_feeds([feed_of("BBB", rows), feed_of("BBB", [(START, TRADE, 5)])], tmp_path / "t", LISTED)
    assert [r[4] for r in rows_of(Tape.open(tmp_path / "t"))] == [2, 4, 5, 1, 3]


def test_lateness_is_kept(tmp_path: Path) -> None:
    rows: list[Row] = [(START, QUOTE, 1), (START + 10, QUOTE, 2), (START + 4, QUOTE, 3), (START + 11, QUOTE, 4)]
    write_feeds([feed_of("AAA", rows)], tmp_path / "t", LISTED)
    tape = Tape.open(tmp_path / "t")
    assert [(r[0] - START, r[5]) for r in rows_of(tape)] == [(0, 0), (10, 0), (10, 6), (11, 0)]
    assert (tape.manifest.symbols[0].late, tape.manifest.symbols[0].largest_late_ns) == (1, 6)


@pytest.mark.parametrize("cut", [1, 2, 3, 1000])
def test_an_absurd_time_is_refused_with_file_and_line(tmp_path: Path, cut: int) -> None:
    rows: list[Row] = [(START + i * S, TRADE, i) for i in range(10)]
    rows[6] = (START + 10**18, TRADE, 6)
    report = ImportReport()

    def chunks() -> Iterator[FeedChunk]:
        for i in range(0, 10, cut):
            part = ticks_of(rows[i : i + cut])
            report.read(len(part))
            yield FeedChunk(part, np.arange(i + 1, i + 1 + len(part)), "" if i < 5 else "second.csv")

    write_feeds([Feed("AAA", "first.csv", chunks)], tmp_path / "t", LISTED, report=report)
    assert [r[4] for r in rows_of(Tape.open(tmp_path / "t"))] == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    saved = json.loads((tmp_path / "t" / IMPORT_REPORT).read_text())
    assert (saved["rows_read"], saved["ticks"], saved["refused"]) == (10, 9, 1)
    (example,) = saved["examples"]
    assert (example["file"], example["line"]) == ("second.csv" if cut < 1000 else "first.csv", 7)
    assert f"ts_ns={START + 10**18}" in example["text"]
    assert "price=6" in example["text"]
    assert json.loads((tmp_path / "t" / REJECTED).read_text())["line"] == 7


@pytest.mark.parametrize("cut", [1, 4, 1000])
@pytest.mark.parametrize(("other", "kept"), [(3600, True), (3301, True), (3299, False), (5, False)])
def test_a_last_tick_after_a_silence_is_confirmed_by_another_feed(tmp_path: Path, cut: int, other: int, kept: bool) -> None:
    """As on the recorded tape: the last trade of IBM comes an hour after the one before it, while quotes go on."""
    trades: list[Row] = [(START + i, TRADE, i) for i in range(5)] + [(START + 3600 * S + 4, TRADE, 5)]
    quotes: list[Row] = [(START + i * S * other // 20 + 4, QUOTE, 100 + i) for i in range(21)]
    feeds = [feed_of("AAA", trades, cut, "trades"), feed_of("BBB", quotes, cut, "quotes")]
    write_feeds(feeds, tmp_path / "t", LISTED)
    tape = Tape.open(tmp_path / "t")
    tape.verify()
    assert tape.manifest.symbols[0].rows == 5 + kept
    saved = json.loads((tmp_path / "t" / IMPORT_REPORT).read_text())
    assert [(e["file"], e["line"]) for e in saved["examples"]] == ([] if kept else [("trades", 6)])


def test_every_refused_row_is_kept_beyond_the_examples(tmp_path: Path) -> None:
    report = ImportReport(examples=5)
    report.read(8)
    for i in range(3):
        report.refuse("a.csv", i, "before the tape was there", "x" * 500)

    def chunks() -> Iterator[FeedChunk]:
        for i in range(4):
            report.refuse("b.csv", i, "price", f"row {i}")
        yield FeedChunk(ticks_of([(START, QUOTE, 1)]), np.array([9]))

    write_feeds([Feed("AAA", "b.csv", chunks)], tmp_path / "t", LISTED, report=report)
    saved = json.loads((tmp_path / "t" / IMPORT_REPORT).read_text())
    assert saved["refused_by"] == [
        {"file": "a.csv", "reason": "before the tape was there", "rows": 3},
        {"file": "b.csv", "reason": "price", "rows": 4},
    ]
    assert [len(e["text"]) for e in saved["examples"]] == [200] * 3 + [5] * 2
    rejected = [json.loads(line) for line in (tmp_path / "t" / REJECTED).read_text().splitlines()]
    assert [(r["file"], r["line"], len(r["text"])) for r in rejected] == [("a.csv", i, 500) for i in range(3)] + [
        ("b.csv", i, 5) for i in range(4)
    ]


@pytest.mark.parametrize("wrong", [1, -1])
def test_an_importer_that_loses_count_makes_no_tape(tmp_path: Path, wrong: int) -> None:
    report = ImportReport()
    report.read(3 + wrong)
    report.merged(1)
    with pytest.raises(SpiketapeError, match="lost count"):
        write_feeds([feed_of("AAA", [(START, QUOTE, 1), (START, QUOTE, 2)])], tmp_path / "t", LISTED, report=report)
    assert list(tmp_path.iterdir()) == []


def test_a_feed_that_fails_makes_no_tape(tmp_path: Path) -> None:
    def chunks() -> Iterator[FeedChunk]:
        yield FeedChunk(ticks_of([(START, QUOTE, 1)] * 10), np.arange(10))
        raise SpiketapeError("the file is damaged")

    with pytest.raises(SpiketapeError, match="the file is damaged"):
        write_feeds([Feed("AAA", "x", chunks)], tmp_path / "t", LISTED)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_symbol_or_a_taken_name_is_refused_before_reading(tmp_path: Path) -> None:
    def chunks() -> Iterator[FeedChunk]:
        raise AssertionError("must not be read")

    with pytest.raises(InstrumentError, match="ZZZ"):
        write_feeds([Feed("ZZZ", "x", chunks)], tmp_path / "t", LISTED)
    (tmp_path / "t").mkdir()
    with pytest.raises(RefusedError, match="exists already"):
        write_feeds([Feed("AAA", "x", chunks)], tmp_path / "t", LISTED)


def test_no_feeds_and_empty_feeds_make_an_empty_tape(tmp_path: Path) -> None:
    assert write_feeds([], tmp_path / "a", LISTED).rows == 0
    assert write_feeds([feed_of("AAA", [])], tmp_path / "b", LISTED).rows == 0


def long_feeds(days: int, rows: int) -> list[Feed]:
    """Feeds that make their ticks while they are read: `days` for each symbol, quotes and trades."""

    def chunks(day: int, kind: int) -> Iterator[FeedChunk]:
        for first in range(0, rows, 10_000):
            t = np.zeros(10_000, TICK_V1)
            t["ts_ns"] = START + day * 86_400 * S + np.arange(first, first + 10_000) * 10**6
            t["kind"] = kind
            yield FeedChunk(t, np.arange(first, first + 10_000))

    return [
        Feed(s, f"{s}-{day}-{kind}", lambda day=day, kind=kind: chunks(day, kind))  # type: ignore[misc]
        for day in range(days)
        for s in SYMBOLS
        for kind in (QUOTE, TRADE)
    ]


def test_memory_does_not_grow_with_the_length_of_the_feeds(tmp_path: Path) -> None:
    peaks = []
    write_feeds(long_feeds(1, 10_000), tmp_path / "warm", LISTED)
    for days in (2, 8):
        tracemalloc.start()
        manifest = write_feeds(long_feeds(days, 20_000), tmp_path / f"{days}", LISTED)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert manifest.rows == days * 6 * 20_000
    assert peaks[1] < peaks[0] + 2_000_000


def test_progress_tells_both_passes_to_the_last_tick(tmp_path: Path) -> None:
    said: list[tuple[str, int]] = []
    write_feeds(long_feeds(1, 20_000), tmp_path / "t", LISTED, progress=lambda what, n: said.append((what, n)))
    assert said[-1] == ("merge", 120_000)
    assert [n for what, n in said if what == "read"][-1] == 120_000
    assert said == sorted(said, key=lambda x: (x[0] == "merge", x[1]))


def test_merging_is_compiled(tmp_path: Path) -> None:
    """Finds a loop over ticks in Python that calls anything, as all of them do that touch a record."""
    write_feeds(long_feeds(1, 10_000), tmp_path / "warm", LISTED)
    feeds = long_feeds(2, 50_000)
    assert calls_of(lambda: write_feeds(feeds, tmp_path / "t", LISTED)) < 2 * 6 * 50_000 / 10
