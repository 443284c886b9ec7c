"""What the benchmarks of InfluxDB write - a mix of rows and seconds, as a flow hands it to the sink - and a server of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.results import codebook
from infra.local import InfluxServer
from operators.encoding import INPUTS
from operators.sinks.influx import Writer
from operators.spiking.model import HIDDEN
from schemas.instruments import Instrument, InstrumentList
from schemas.ranges import SLICE_QUOTE, SliceOut
from schemas.settings import Settings, load_settings
from schemas.tables import SIGNAL, STATISTICS, TABLES, Rows
from schemas.ticks import shard_key, shard_of

SYMBOLS = 16
FIRST_SLICE = 13_811_508_000
PIECE = 512
"""Rows that come to the sink at once, as a range of slices gives them."""
NEURONS = {"input": INPUTS, "hidden": HIDDEN}


def instruments() -> InstrumentList:
    """16 stocks."""
    return InstrumentList(
        instruments=tuple(
            Instrument(symbol=f"SYM{i:02d}", price_exponent=4, size_exponent=0, tick_size=100, lot_size=1) for i in range(SYMBOLS)
        )
    )


@contextmanager
def served(folder: Path) -> Iterator[InfluxServer]:
    """A real influxd in a folder, fresh."""
    with InfluxServer(folder / "server") as server:
        yield server


def settings_for(server: InfluxServer, bucket: str | None = None) -> Settings:
    """The default settings, with this server."""
    chosen = [f"influx.url={server.url}", f"influx.token={server.token}", f"influx.bucket={bucket or server.bucket}"]
    return load_settings(overrides=chosen, env={})


def writer_for(settings: Settings, folder: Path, live: Any = None) -> Writer:
    """A writer with a spool of its own."""
    return Writer(settings, instruments(), codebook(), NEURONS, folder, live=live)


def _rows(table: str, key: str, count: int, over_slices: int, **fields: npt.NDArray[Any] | int) -> list[Rows]:
    """Rows spread evenly over a stretch of slices, several at the same time where they are more."""
    a = np.zeros(count, TABLES[table])
    n = np.arange(count)
    a["n"], a["slice"] = n, FIRST_SLICE + n * over_slices // count
    a["ts_ns"] = a["slice"] * 100_000_000
    for name, values in fields.items():
        a[name] = values
    return [Rows(table, key, a[i : i + PIECE]) for i in range(0, count, PIECE)]


def values(points: int) -> list[Rows | SliceOut]:
    """What a flow says that becomes about so many points: 17.5% quotes, 35% spikes, 17.5% pipeline, 10% equity, 10% signals, 5% orders,
    5% executions. Seconds and equity are dense; orders, executions and signals spread over 24 days.
    """
    n = np.arange(points // 10)
    days = 24 * 864_000
    made: list[Rows | SliceOut] = []
    made += _rows(
        "equity", "main", n.size, 10 * n.size, equity_e10=10**15 + n * 7_919_311, drawdown_e8=n % 99_991, exposure_e10=n * 1_048_573
    )
    orders = n[: n.size // 2]
    shown = {"symbol": orders % SYMBOLS, "side": 1 - 2 * (orders % 2), "price": 1_000_000 + orders % 99_991 * 100, "quantity": orders % 977}
    made += _rows("orders", "main", orders.size, days, order_n=orders // 4, state=1 + orders % 6, **shown)
    made += _rows("executions", "main", orders.size, days, order_n=orders, fee_e10=orders * 104_729 % 10**10, **shown)
    for i in range(SYMBOLS):
        own = n[: n.size // SYMBOLS]
        made += _rows(
            "signals", f"SYM{i:02d}", own.size, days, symbol=i, action=own % 3 - 1, score_e6=own * 31 % 10**6, confidence_e6=own % 10**6
        )
    seconds = points * 7 // (40 * SYMBOLS)
    for i, one in enumerate(instruments().instruments):
        made += _ranges(i, shard_of(one.symbol, Settings().shards), seconds)
    return made


def _ranges(symbol: int, shard: int, seconds: int) -> list[SliceOut]:
    """So many seconds of one symbol, a quote and a row of statistics in each, in ranges of 256 seconds."""
    first = FIRST_SLICE + symbol * 10 * seconds
    at = first + 10 * np.arange(seconds)
    quotes, statistics = np.zeros(seconds, SLICE_QUOTE), np.zeros(seconds, STATISTICS)
    quotes["slice"], quotes["ts_ns"], quotes["symbol"] = at, at * 100_000_000, symbol
    quotes["bid"], quotes["bid_size"], quotes["ask_size"] = 1_000_000 + at * 7919 % 9973 * 100, 1 + at % 71, 1 + at % 89
    quotes["ask"] = quotes["bid"] + 100
    statistics["n"], statistics["slice"], statistics["ticks"] = np.arange(seconds), at, at % 211
    statistics["input_spikes"], statistics["hidden_spikes"] = at % 4001, at % 2003
    out = SliceOut(
        shard, first, first + 10 * seconds, np.empty(0, SIGNAL), quotes, (Rows("statistics", shard_key(shard), statistics),), None
    )
    ranges: list[SliceOut] = []
    for k in range(first + 2560, out.hi, 2560):
        piece, rest = out.cut(k)
        if piece is None or rest is None:
            break
        ranges.append(piece)
        out = rest
    return [*ranges, out]
