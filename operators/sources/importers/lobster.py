"""LOBSTER: a message file and the order book after each message, line by line; one NASDAQ stock and day by pair of files.

Names tell symbol, date and hours: `AAPL_2012-06-21_34200000_57600000_message_10.csv`. Times are seconds after midnight in New York,
prices times 10,000.

| row | becomes |
| --- | --- |
| message 4, 5 | trade; the direction is the resting order's, the aggressor's is opposite; 5 (hidden) has condition 1, fills nothing |
| message 6 | trade of an auction (condition 2), no side |
| message 1, 2, 3 | merged: what it did stands in the book row |
| message 7 | refused as a halt, quoting or trading resumed: told in the report, with its line |
| book row | quote, where level 1 has changed; merged where not; refused while a side is empty |

A row of the book has its message's time, and comes after its trade.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from operators.sources.importers import kernels as k
from operators.sources.importers.fields import Layout, Reading, read_block, refuse_where
from operators.sources.importers.lean_days import WallClock
from operators.sources.importers.text import Block, line_blocks, opening
from operators.sources.tape.merge import Feed, FeedChunk, ImportReport
from schemas import registry
from schemas.instruments import Instrument
from schemas.ticks import QUOTE, TICK_V1, TRADE, Ints

NAME: Final = re.compile(r"([A-Za-z0-9.]{1,16})_(\d{4}-\d{2}-\d{2})_(\d+)_(\d+)_(message|orderbook)_(\d+)\.csv", re.IGNORECASE)
ZONE: Final = ZoneInfo("America/New_York")
_VENUE: Final = ord("Q")
_NO_ASK, _NO_BID = 9_999_999_999, -9_999_999_999
_EXECUTED, _HIDDEN, _CROSS, _HALT = 4, 5, 6, 7
_PAIR: Final = ("message", "orderbook")
_HALTS: Final = {-1: "trading halted", 0: "quoting resumed", 1: "trading resumed"}

MESSAGES: Final = Layout(
    (
        ("time", k.NUMBER, 9),
        ("type", k.NUMBER, 0),
        ("order", k.NUMBER, 0),
        ("size", k.NUMBER, 0),
        ("price", k.NUMBER, 0),
        ("direction", k.NUMBER, 0),
    )
)


def open_files(paths: Sequence[Path], report: ImportReport) -> tuple[list[Feed], list[Instrument], list[date]]:
    """A feed for each symbol, its days in order; instruments; the days covered.

    A file without its partner is refused, and a pair whose hours another pair of the symbol and day has: an order's executions have no
    number of their own by which a repeat could be told.
    """
    pairs: dict[tuple[str, date, int, int, str], dict[str, Path]] = {}
    for path in paths:
        found = NAME.match(path.name)
        day = _day(found[2]) if found else None
        if found is None or day is None:
            _refuse(path, "a LOBSTER file is named SYMBOL_YYYY-MM-DD_start_end_message_levels.csv", report)
            continue
        key = (found[1].upper(), day, int(found[3]), int(found[4]), f"{found[6]}_{path.parent}")
        pairs.setdefault(key, {})[found[5].lower()] = path
    days: dict[str, list[tuple[date, Path, Path]]] = {}
    ended: dict[tuple[str, date], int] = {}
    for (symbol, day, start, end, _), pair in sorted(pairs.items()):
        if len(pair) < len(_PAIR):
            for kind, path in pair.items():
                missing = "orderbook" if kind == "message" else "message"
                _refuse(path, f"its {missing} file is missing: LOBSTER's files come in pairs", report)
        elif start < ended.get((symbol, day), start):
            for kind in _PAIR:
                _refuse(pair[kind], "a repeat: another pair of this symbol and day has these hours", report)
        else:
            ended[symbol, day] = end
            days.setdefault(symbol, []).append((day, pair["message"], pair["orderbook"]))
    instruments = [registry.lobster_equity(symbol) for symbol in days]
    feeds = [Feed(symbol, "lobster", partial(_ticks, files, report)) for symbol, files in days.items()]
    return feeds, instruments, sorted({day for files in days.values() for day, _, _ in files})


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _refuse(path: Path, reason: str, report: ImportReport) -> None:
    report.read(1)
    report.refuse(str(path), 1, reason, "")


def _ticks(files: list[tuple[date, Path, Path]], report: ImportReport) -> Iterator[FeedChunk]:
    for day, messages, books in files:
        clock = WallClock(day, ZONE)
        fields = opening(books).split(b"\n")[0].count(b",") + 1
        layout = Layout(
            (("ask", k.NUMBER, 0), ("ask size", k.NUMBER, 0), ("bid", k.NUMBER, 0), ("bid size", k.NUMBER, 0))
            + (("deeper level", k.SKIP, 0),) * max(0, fields - 4)
        )
        last = np.zeros(4, np.int64)
        for message, book in _in_step(messages, books, layout, report):
            yield _chunk(message, book, clock, last, report)


def _in_step(messages: Path, books: Path, layout: Layout, report: ImportReport) -> Iterator[tuple[Reading, Reading]]:
    """Both files by the same lines. Lines that only one of them has are refused."""
    left = (read_block(b, MESSAGES) for b in line_blocks(messages, report))
    right = (read_block(b, layout) for b in line_blocks(books, report))
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        n = min(a.block.size, b.block.size)
        yield _part(a, 0, n), _part(b, 0, n)
        a = _part(a, n, a.block.size) if n < a.block.size else next(left, None)
        b = _part(b, n, b.block.size) if n < b.block.size else next(right, None)
    for rest, others in ((a, left), (b, right)):
        while rest is not None:
            refuse_where(np.ones(rest.block.size, np.bool_), rest.block, report, "the other file of the pair has no such line")
            rest = next(others, None)


def _part(r: Reading, a: int, b: int) -> Reading:
    block = Block(r.block.file, r.block.first + a, r.block.data, r.block.starts[a:b], r.block.ends[a:b])
    return Reading(block, r.layout, r.values[a:b], r.zoned[a:b], r.status[a:b], r.wrong[a:b])


def _chunk(message: Reading, book: Reading, clock: WallClock, last: Ints, report: ImportReport) -> FeedChunk:
    """Trades and changed quotes of the lines of one stretch. `last` int64 (4,): level 1 of the book as published last."""
    readable = message.refuse_unreadable(report)
    ns, kind = message.column("time"), message.column("type")
    other_day = readable & clock.outside(ns // 1_000_000)
    refuse_where(other_day, message.block, report, "time is not within the day in seconds")
    halted = readable & ~other_day & (kind == _HALT)
    for i in np.flatnonzero(halted):
        what = _HALTS.get(int(message.column("price")[i]), "halt message")
        report.refuse(message.block.file, message.block.first + int(i), f"{what}: no tick, told here", message.block.text(int(i)))
    unknown = readable & ~other_day & ((kind < 1) | (kind > _HALT))
    refuse_where(unknown, message.block, report, "type is none of 1 to 7")
    timed = readable & ~other_day & ~unknown
    trades = timed & (kind >= _EXECUTED) & (kind <= _CROSS)
    report.merged(int(np.count_nonzero(timed & (kind < _EXECUTED))))

    quotes = _changed(book, timed, last, report)
    n = int(np.count_nonzero(trades)) + int(np.count_nonzero(quotes))
    ticks = np.zeros(n, TICK_V1)
    # A line's trade at twice its place, its quote one after: sorting these keeps arrival order.
    t, q = np.flatnonzero(trades), np.flatnonzero(quotes)
    order = np.argsort(np.concatenate([2 * t, 2 * q + 1]), kind="stable")
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    at_trade, at_quote = place[: t.size], place[t.size :]
    ticks["kind"][at_trade], ticks["kind"][at_quote] = TRADE, QUOTE
    for name, source in (("price", "price"), ("size", "size")):
        ticks[name][at_trade] = message.column(source)[t]
    ticks["side"][at_trade] = np.where(kind[t] == _CROSS, 0, -np.sign(message.column("direction")[t]))
    ticks["conditions"][at_trade] = np.select([kind[t] == _HIDDEN, kind[t] == _CROSS], [registry.LOBSTER_HIDDEN, registry.LOBSTER_CROSS], 0)
    for name, source in (("price", "bid"), ("size", "bid size"), ("ask", "ask"), ("ask_size", "ask size")):
        ticks[name][at_quote] = book.column(source)[q]
    ticks["venue"] = _VENUE
    lines = np.concatenate([t, q])[order]
    ms = ns[lines] // 1_000_000
    ticks["ts_ns"] = clock.ns(ms) + ns[lines] % 1_000_000
    return FeedChunk(ticks, message.block.first + lines, message.block.file)


def _changed(book: Reading, timed: npt.NDArray[np.bool_], last: Ints, report: ImportReport) -> npt.NDArray[np.bool_]:
    """Book rows that publish a quote; tells the report of the others."""
    readable = book.refuse_unreadable(report)
    refuse_where(readable & ~timed, book.block, report, "its message has no time")
    usable = readable & timed
    one_sided = usable & ((book.column("ask") == _NO_ASK) | (book.column("bid") == _NO_BID))
    refuse_where(one_sided, book.block, report, "the book has only one side")
    usable &= ~one_sided
    best = book.values[:, :4][usable]
    before = np.vstack([last, best[:-1]]) if best.size else best
    differs = (best != before).any(axis=1)
    if best.size:
        last[:] = best[-1]
    report.merged(int(np.count_nonzero(~differs)))
    changed = np.zeros(usable.size, np.bool_)
    changed[np.flatnonzero(usable)[differs]] = True
    return changed
