"""LEAN US equity ticks: day files of quotes and trades, milliseconds since midnight in New York, prices times 10,000.

Quotes come as one-sided rows: bid and bid size with an ask of 0, or the other way round. An update of the best bid and offer is a
bid row followed by the ask row of the same millisecond: one tick, published on the ask row, and the bid row counts as merged. An
ask row without its bid row is a tick with the bid carried on; a bid row that no ask row of its millisecond follows (none in the
recorded 5.7 million quote rows) is a tick with the ask carried on. Sides are carried within a day's file only. A row that comes
before the other side is known is refused, as it shows no market yet.

A tick has one `venue`; the two sides of the best bid and offer stand on different exchanges in six of ten updates. `venue` is the
bid's exchange letter; where the ask's is another, it stands in the top eight bits of `conditions` (schemas/ticks.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from operators.sources.importers import kernels as k
from operators.sources.importers import quote_kernels as q
from operators.sources.importers.fields import Layout, read_block, refuse_where, ticks_of
from operators.sources.importers.lean_days import WallClock, day_and_kind, first_of_day, symbol_of
from operators.sources.importers.text import line_blocks
from operators.sources.tape.merge import Feed, FeedChunk, ImportReport
from schemas import registry
from schemas.instruments import Instrument
from schemas.ticks import FLAG_SUSPICIOUS, QUOTE, TICK_V1, TRADE

ZONE: Final = ZoneInfo("America/New_York")
LEADER: Final = "SPY"

QUOTES: Final = Layout(
    (
        ("time", k.NUMBER, 0),
        ("bid", k.NUMBER, 0),
        ("bid size", k.NUMBER, 0),
        ("ask", k.NUMBER, 0),
        ("ask size", k.NUMBER, 0),
        ("exchange", k.LETTER, 0),
        ("conditions", k.HEX, 0),
        ("suspicious", k.NUMBER, 0),
    )
)
TRADES: Final = Layout(
    (
        ("time", k.NUMBER, 0),
        ("price", k.NUMBER, 0),
        ("size", k.NUMBER, 0),
        ("exchange", k.LETTER, 0),
        ("conditions", k.HEX, 0),
        ("suspicious", k.NUMBER, 0),
    )
)
_OTHER_DAY: Final = "time is not within the day in milliseconds"
_ONE_SIDE: Final = "the other side of the market is not known yet"
_NO_SIDE: Final = "neither a bid nor an ask"


def open_files(paths: Sequence[Path], report: ImportReport) -> tuple[list[Feed], list[Instrument], list[date]]:
    """Feeds (quotes and trades of each symbol apart, days in order), instruments, and the days covered."""
    found: dict[tuple[str, str], dict[date, Path]] = {}
    for path in paths:
        named = day_and_kind(path)
        if named is None:
            report.read(1)
            report.refuse(str(path), 1, "a LEAN day file is named YYYYMMDD_quote.zip or YYYYMMDD_trade.zip", "")
        else:
            first_of_day(found.setdefault((symbol_of(path), named[1]), {}), named[0], path, report)
    symbols = sorted({symbol for symbol, _ in found})
    leader = LEADER if LEADER in symbols else None
    instruments = [registry.us_equity(s, quoted=(s, "quote") in found, leader=None if s == LEADER else leader) for s in symbols]
    feeds = [
        Feed(symbol, f"lean_equity_{kind}", partial(_quotes if kind == "quote" else _trades, sorted(days.items()), report))
        for (symbol, kind), days in sorted(found.items())
    ]
    return feeds, instruments, sorted({day for days in found.values() for day in days})


def _trades(days: list[tuple[date, Path]], report: ImportReport) -> Iterator[FeedChunk]:
    for day, path in days:
        clock = WallClock(day, ZONE)
        for block in line_blocks(path, report):
            rows = read_block(block, TRADES)
            good = rows.refuse_unreadable(report)
            other_day = good & clock.outside(rows.column("time"))
            refuse_where(other_day, block, report, _OTHER_DAY)
            keep = np.flatnonzero(good & ~other_day)
            ticks = ticks_of(keep.size, TRADE)
            ticks["ts_ns"] = clock.ns(rows.column("time")[keep])
            ticks["price"] = rows.column("price")[keep]
            ticks["size"] = rows.column("size")[keep]
            ticks["venue"] = rows.column("exchange")[keep]
            ticks["conditions"] = rows.column("conditions")[keep]
            ticks["flags"] = np.where(rows.column("suspicious")[keep] != 0, FLAG_SUSPICIOUS, 0)
            yield FeedChunk(ticks, rows.lines()[keep], block.file)


def _quotes(days: list[tuple[date, Path]], report: ImportReport) -> Iterator[FeedChunk]:
    for day, path in days:
        clock = WallClock(day, ZONE)
        carried = np.zeros(q.CARRIED, np.int64)
        last = None
        for block in line_blocks(path, report):
            last = block
            rows = read_block(block, QUOTES)
            good = rows.refuse_unreadable(report)
            other_day = good & clock.outside(rows.column("time"))
            refuse_where(other_day, block, report, _OTHER_DAY)
            n = block.size
            ticks, lines, fate = np.zeros(n + 1, TICK_V1), np.empty(n + 1, np.int64), np.empty(n, np.uint8)
            waited = int(carried[q.WAITING_LINE])
            usable = (good & ~other_day).astype(np.uint8)
            made, orphan = q.pair_quotes(rows.values, usable, block.first, carried, ticks, lines, fate)
            if orphan:
                report.refuse(block.file, waited, _ONE_SIDE, "")
            refuse_where(fate == q.ONE_SIDED, block, report, _ONE_SIDE)
            refuse_where(fate == q.SIDELESS, block, report, _NO_SIDE)
            report.merged(int(carried[q.MERGED]))
            carried[q.MERGED] = 0
            yield _published(ticks[:made], lines[:made], clock, block.file)
        if last is not None and carried[q.WAITING_LINE]:
            ticks, lines = np.zeros(1, TICK_V1), np.empty(1, np.int64)
            if q.publish_waiting(carried, ticks, lines):
                yield _published(ticks, lines, clock, last.file)
            else:
                report.refuse(last.file, int(lines[0]), _ONE_SIDE, "")


def _published(ticks: np.ndarray, lines: np.ndarray, clock: WallClock, file: str) -> FeedChunk:  # type: ignore[type-arg]
    ticks["ts_ns"] = clock.ns(ticks["ts_ns"])
    ticks["kind"] = QUOTE
    ticks["flags"] = np.where(ticks["flags"] != 0, FLAG_SUSPICIOUS, 0)
    return FeedChunk(ticks, lines, file)
