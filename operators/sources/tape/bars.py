"""Bars of a tape: open, high, low, close and volume by symbol, as exact decimals.

A trade counts where none of its conditions is in the `no_volume` bits of its instrument's table. It belongs to the bar of its
original time, floor((ts_ns - late_ns) / every) * every; open and close are the trades that come first and last in (original
time, seq). Bars without a trade have no row.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import numpy as np
import polars as pl

from operators.sources.tape.reader import Tape
from schemas.errors import UsageError
from schemas.ticks import TRADE

_KEYS: Final = ["symbol", "start_ns"]
_PENDING_MAX: Final = 64


def bars(tape: Tape, every_ns: int) -> pl.DataFrame:
    """Bars of `every_ns` > 0 nanoseconds, aligned to the epoch, sorted by symbol and start.

    Columns: symbol, start_ns Int64, open, high, low, close Decimal(38, largest price exponent of the tape), volume Decimal(38, largest
    size exponent), trades Int64. Memory: the bars, not the trades. UsageError for every_ns below 1.
    """
    if every_ns < 1:
        msg = f"bars need a length of at least 1 ns, given {every_ns}"
        raise UsageError(msg)
    done = pl.DataFrame(schema=_SCHEMA)
    pending: list[pl.DataFrame] = []
    for part in _parts(tape, every_ns):
        pending.append(part)
        if len(pending) == _PENDING_MAX:
            done, pending = _joined([done, *pending]), []
    return _as_decimals(_joined([done, *pending]), tape)


_SCHEMA: Final = pl.Schema(
    {
        "symbol": pl.UInt32,
        "start_ns": pl.Int64,
        "first_ns": pl.Int64,
        "open": pl.Int64,
        "high": pl.Int64,
        "low": pl.Int64,
        "last_ns": pl.Int64,
        "close": pl.Int64,
        "volume": pl.Int128,
        "trades": pl.Int64,
    }
)


def _parts(tape: Tape, every_ns: int) -> Iterator[pl.DataFrame]:
    """Bars of each record batch by itself, in the order of the tape."""
    no_volume = np.array([i.conditions.no_volume for i in tape.instruments.instruments], np.uint32)
    for p in range(tape.partitions):
        row = 0
        while row < tape.rows(p):
            ticks = tape.read(p, row, tape.rows(p))
            row += len(ticks)
            trades = ticks[ticks["kind"] == TRADE]
            trades = trades[(trades["conditions"] & no_volume[trades["symbol"]]) == 0]
            if not len(trades):
                continue
            ts = trades["ts_ns"] - trades["late_ns"]
            price = np.ascontiguousarray(trades["price"])
            yield _joined(
                [
                    pl.DataFrame(
                        {
                            "symbol": np.ascontiguousarray(trades["symbol"]),
                            "start_ns": ts // every_ns * every_ns,
                            "first_ns": ts,
                            "open": price,
                            "high": price,
                            "low": price,
                            "last_ns": ts,
                            "close": price,
                            "volume": np.ascontiguousarray(trades["size"]),
                            "trades": np.ones(len(trades), np.int64),
                        },
                        schema_overrides=_SCHEMA,
                    )
                ]
            )


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Bars of one and the same stretch become one; frames in the order of the tape."""
    return (
        pl.concat(frames)
        .group_by(_KEYS, maintain_order=True)
        .agg(
            pl.col("first_ns").min(),
            pl.col("open").sort_by("first_ns", maintain_order=True).first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("last_ns").max(),
            pl.col("close").sort_by("last_ns", maintain_order=True).last(),
            pl.col("volume").sum(),
            pl.col("trades").sum(),
        )
        .select(_SCHEMA.names())
    )


def _as_decimals(table: pl.DataFrame, tape: Tape) -> pl.DataFrame:
    listed = tape.instruments.instruments
    table = table.sort(_KEYS)
    ids = table["symbol"].to_list()
    price = pl.Decimal(38, max((i.price_exponent for i in listed), default=0))
    size = pl.Decimal(38, max((i.size_exponent for i in listed), default=0))

    def decimals(column: str, kind: pl.Decimal) -> pl.Series:
        values: list[Decimal] = []
        for i, value in zip(ids, table[column].to_list(), strict=True):
            values.append(listed[i].size(value) if column == "volume" else listed[i].price(value))
        return pl.Series(column, values, kind)

    return pl.DataFrame(
        [
            pl.Series("symbol", [listed[i].symbol for i in ids], pl.String),
            table["start_ns"],
            *(decimals(c, price) for c in ("open", "high", "low", "close")),
            decimals("volume", size),
            table["trades"],
        ]
    )
