"""Bars: exact decimals, membership by original time, conditions, and the same from any partitioning."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.sources.tape import Tape, TapeWriter
from operators.sources.tape import bars as bars_module
from operators.sources.tape.bars import bars
from schemas.errors import UsageError
from schemas.instruments import ConditionTable, Instrument, InstrumentList
from schemas.ticks import QUOTE, TICK_V1, TRADE, Ticks

MINUTE = 60 * 10**9
LISTED = InstrumentList(
    instruments=(
        Instrument(symbol="BTC", price_exponent=2, size_exponent=8, tick_size=1, lot_size=1),
        Instrument(
            symbol="IBM",
            price_exponent=4,
            size_exponent=0,
            tick_size=100,
            lot_size=1,
            conditions=ConditionTable(name="x", no_volume=0x40 | 0x2000, no_fill=0x1),
        ),
    )
)


def write(path: Path, ticks: Ticks, partitions: int = 2) -> Tape:
    ticks = ticks[np.argsort(ticks, order=("ts_ns", "symbol"), kind="stable")]
    for s in range(2):
        ticks["seq"][ticks["symbol"] == s] = np.arange((ticks["symbol"] == s).sum())
    with TapeWriter(path, LISTED, partitions=partitions) as tape:
        tape.append(ticks)
    return Tape.open(path)


def ticks_of(*rows: tuple[int, int, int, int, int, int]) -> Ticks:
    """Rows of (effective time, lateness, symbol, kind, price, size)."""
    t = np.zeros(len(rows), TICK_V1)
    for i, row in enumerate(rows):
        for name, value in zip(("ts_ns", "late_ns", "symbol", "kind", "price", "size"), row, strict=True):
            t[i][name] = value
    return t


def test_a_bar_is_exact(tmp_path: Path) -> None:
    t = ticks_of(
        (5, 0, 0, TRADE, 6182800, 3),
        (6, 0, 0, QUOTE, 1, 999),
        (7, 0, 0, TRADE, 6186080, 10**16),
        (8, 0, 0, TRADE, 6158323, 19_942_900_000),
        (9, 0, 0, TRADE, 6168599, 1),
        (MINUTE, 0, 0, TRADE, 1, 1),
    )
    table = bars(write(tmp_path / "t", t), MINUTE)
    first = table.row(0, named=True)
    assert first == {
        "symbol": "BTC",
        "start_ns": 0,
        "open": Decimal("61828.00"),
        "high": Decimal("61860.80"),
        "low": Decimal("61583.23"),
        "close": Decimal("61685.99"),
        "volume": Decimal("100000199.42900004"),
        "trades": 4,
    }
    assert table["start_ns"].to_list() == [0, MINUTE]


def test_a_late_trade_belongs_to_the_bar_of_its_own_time(tmp_path: Path) -> None:
    t = ticks_of(
        (MINUTE - 10, 0, 1, TRADE, 100, 1),
        (MINUTE + 1, 0, 1, TRADE, 300, 1),
        (MINUTE + 1, 2, 1, TRADE, 200, 1),
        (MINUTE + 1, 1, 1, TRADE, 400, 1),
    )
    table = bars(write(tmp_path / "t", t), MINUTE)
    assert table.select("open", "close", "trades").rows() == [
        (Decimal("0.01"), Decimal("0.02"), 2),
        (Decimal("0.04"), Decimal("0.03"), 2),
    ]


def test_conditions_that_are_no_volume_do_not_count(tmp_path: Path) -> None:
    t = ticks_of(*((i, 0, 1, TRADE, 100 * i, 10) for i in range(1, 6)))
    t["conditions"] = [0x40, 0x1, 0x2000, 0x2041, 0]
    assert bars(write(tmp_path / "t", t), MINUTE).select("open", "close", "volume", "trades").rows() == [
        (Decimal("0.02"), Decimal("0.05"), Decimal(20), 2)
    ]


def test_a_volume_beyond_64_bits_is_exact(tmp_path: Path) -> None:
    t = ticks_of(*((1, 0, 1, TRADE, 100, 2**62) for _ in range(10)))
    assert bars(write(tmp_path / "t", t), 1)["volume"].to_list() == [Decimal(10 * 2**62)]


def plain_bars(t: Ticks, every: int) -> list[tuple[Any, ...]]:
    """Bars by a plain loop in exact integers."""
    found: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
    no_volume = [0, 0x2040]
    for r in t[np.argsort(t, order=("ts_ns", "symbol", "seq"), kind="stable")]:
        if r["kind"] == TRADE and not int(r["conditions"]) & no_volume[r["symbol"]]:
            ts = int(r["ts_ns"] - r["late_ns"])
            found.setdefault((int(r["symbol"]), ts // every * every), []).append((ts, int(r["seq"]), int(r["price"]), int(r["size"])))
    out = []
    for (s, start), rows in sorted(found.items()):
        rows.sort()
        p = [Decimal(r[2]).scaleb(-[2, 4][s]) for r in rows]
        out.append((["BTC", "IBM"][s], start, p[0], max(p), min(p), p[-1], Decimal(sum(r[3] for r in rows)).scaleb(-[8, 0][s]), len(p)))
    return out


@pytest.mark.parametrize("partitions", [1, 2, 4])
def test_bars_are_those_of_a_plain_loop_over_many_batches(tmp_path: Path, partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars_module, "_PENDING_MAX", 2)
    rng = np.random.default_rng(2)
    n = 200_000
    t = np.zeros(n, TICK_V1)
    t["ts_ns"] = np.sort(rng.integers(0, 60 * MINUTE, n))
    t["late_ns"] = np.where(rng.random(n) < 0.1, np.minimum(rng.integers(0, 2 * MINUTE, n), t["ts_ns"]), 0)
    t["symbol"] = rng.integers(0, 2, n)
    t["kind"] = rng.choice([QUOTE, TRADE], n, p=[0.9, 0.1])
    t["price"], t["size"] = rng.integers(1, 10**6, n), rng.integers(1, 10**9, n)
    t["conditions"] = rng.choice([0, 1, 0x40], n)
    tape = write(tmp_path / "t", t, partitions)
    parts = []
    for p in range(partitions):
        row = 0
        while row < tape.rows(p):
            parts.append(tape.read(p, row, n))
            row += len(parts[-1])
    assert bars(tape, 5 * MINUTE).rows() == plain_bars(np.concatenate(parts), 5 * MINUTE)


def test_no_trades_make_no_bars(tmp_path: Path) -> None:
    tape = write(tmp_path / "t", ticks_of((1, 0, 0, QUOTE, 1, 1)))
    assert bars(tape, MINUTE).shape == (0, 8)
    with pytest.raises(UsageError, match="at least 1 ns"):
        bars(tape, 0)
