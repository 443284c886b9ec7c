"""Tapes of random ticks for tests: made, written, read back whole."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from operators.sources.tape import Tape, TapeWriter
from schemas.instruments import Instrument, InstrumentList
from schemas.ticks import QUOTE, TICK_V1, TRADE, Ticks


def listed(n: int = 6) -> InstrumentList:
    return InstrumentList(
        instruments=tuple(
            Instrument(symbol=f"SYM{i:02d}", price_exponent=2, size_exponent=0, tick_size=1, lot_size=1, calendar="x") for i in range(n)
        ),
        sessions={"x": ((0, 10**15),)},
    )


def ticks_of(n: int, symbols: int = 6, seed: int = 3) -> Ticks:
    """Random ticks in a tape's order, with many equal times."""
    rng = np.random.default_rng(seed)
    t = np.frombuffer(rng.bytes(n * TICK_V1.itemsize), TICK_V1).copy()
    t["ts_ns"] = np.sort(rng.integers(0, max(1, n // 3), n)) * 1_000_000
    t["symbol"] = rng.integers(0, symbols, n)
    t["late_ns"] = np.where(rng.random(n) < 0.1, rng.integers(1, 10**9, n), 0)
    t["gap"] = np.where(rng.random(n) < 0.05, rng.integers(1, 9, n), 0)
    t["kind"] = rng.choice([QUOTE, TRADE], n)
    t = t[np.lexsort((t["symbol"], t["ts_ns"]))]
    for s in range(symbols):
        mine = t["symbol"] == s
        t["seq"][mine] = np.arange(mine.sum())
    return t


def write(path: Path, ticks: Ticks, cuts: tuple[int, ...] = (), **how: int) -> Tape:
    with TapeWriter(path, listed(), origin={"seed": 3}, **how) as tape:
        for part in np.split(ticks, cuts):
            tape.append(part)
    return Tape.open(path)


def read_all(tape: Tape, count: int = 10_000) -> list[Ticks]:
    out = []
    for p in range(tape.partitions):
        parts: list[Ticks] = [np.empty(0, TICK_V1)]
        row = 0
        while row < tape.rows(p):
            parts.append(tape.read(p, row, count))
            row += len(parts[-1])
        out.append(np.concatenate(parts))
    return out


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called while `work` is done: a measure of loops in Python that no machine's speed changes."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls
