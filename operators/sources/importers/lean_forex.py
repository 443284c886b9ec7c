"""LEAN forex ticks: day files of `ms, bid, ask` without sizes; OANDA counts from midnight UTC, FXCM from midnight at a fixed UTC-5.

The broker is a folder of the path (`fxcm/tick/eurusd/20140502_quote.zip`) and part of the symbol, `EURUSD.FXCM`: two brokers' quotes
are two books. Crossed rows (a tenth of FXCM's) can be read, so they become ticks; the quality gate refuses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from operators.sources.importers import kernels as k
from operators.sources.importers.fields import Layout, read_block, refuse_where, ticks_of
from operators.sources.importers.lean_days import WallClock, day_and_kind, first_of_day, symbol_of
from operators.sources.importers.text import line_blocks
from operators.sources.tape.merge import Feed, FeedChunk, ImportReport
from schemas import registry
from schemas.instruments import Instrument
from schemas.ticks import QUOTE

BROKERS: Final = {"OANDA": timedelta(0), "FXCM": timedelta(hours=-5)}
"""Offset from UTC of each broker's clock, all year."""


def broker_of(path: Path) -> str | None:
    """The broker named by a folder of the path."""
    return next((part.upper() for part in reversed(path.resolve().parent.parts) if part.upper() in BROKERS), None)


def open_files(paths: Sequence[Path], report: ImportReport) -> tuple[list[Feed], list[Instrument], list[date]]:
    """A feed for each pair and broker, days in order; instruments; the days covered."""
    found: dict[tuple[str, str], dict[date, Path]] = {}
    for path in paths:
        named, broker = day_and_kind(path), broker_of(path)
        if named is None or named[1] != "quote" or broker is None:
            report.read(1)
            known = " or ".join(b.lower() for b in BROKERS)
            report.refuse(
                str(path), 1, f"a LEAN forex file is named YYYYMMDD_quote.zip, below a folder {known} (which tells its time zone)", ""
            )
        else:
            first_of_day(found.setdefault((symbol_of(path), broker), {}), named[0], path, report)
    feeds, instruments = [], []
    for (pair, broker), days in sorted(found.items()):
        instrument = registry.forex_pair(pair, broker)
        instruments.append(instrument)
        feeds.append(
            Feed(
                instrument.symbol,
                f"lean_forex_{broker.lower()}",
                partial(_quotes, sorted(days.items()), instrument, BROKERS[broker], report),
            )
        )
    return feeds, instruments, sorted({day for days in found.values() for day in days})


def _quotes(days: list[tuple[date, Path]], instrument: Instrument, offset: timedelta, report: ImportReport) -> Iterator[FeedChunk]:
    scale = instrument.price_exponent
    layout = Layout((("time", k.NUMBER, 0), ("bid", k.NUMBER, scale), ("ask", k.NUMBER, scale)))
    for day, path in days:
        clock = WallClock(day, offset)
        for block in line_blocks(path, report):
            rows = read_block(block, layout)
            good = rows.refuse_unreadable(report)
            other_day = good & clock.outside(rows.column("time"))
            refuse_where(other_day, block, report, "time is not within the day in milliseconds")
            keep = np.flatnonzero(good & ~other_day)
            ticks = ticks_of(keep.size, QUOTE)
            ticks["ts_ns"] = clock.ns(rows.column("time")[keep])
            ticks["price"] = rows.column("bid")[keep]
            ticks["ask"] = rows.column("ask")[keep]
            yield FeedChunk(ticks, rows.lines()[keep], block.file)
