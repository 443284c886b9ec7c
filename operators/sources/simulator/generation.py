"""Runs the compiled generator phase by phase and cuts its rows into chunks; writes the tape and the truth beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from operators.sources.simulator import kernels
from operators.sources.simulator.layout import COMMON, STATE, TRUTH
from operators.sources.simulator.model import (
    DAY_NS,
    FIRST_OPEN_NS,
    MARKET,
    PRE_MARKET_MS,
    PROFILES,
    SESSION_MS,
    Market,
    expected_rate,
    instruments,
    parameters,
)
from operators.sources.tape import TapeWriter
from schemas.errors import SpiketapeError, UsageError
from schemas.instruments import InstrumentList
from schemas.ticks import TICK_V1, Ticks

SIMULATOR_VERSION: Final = 1
"""Raised whenever the same seed gives other rows."""

TRUTH_FILE: Final = "truth/truth.parquet"
WINDOW_MS: Final = 60_000
LEAD_RING: Final = 1 << 16
MAX_SYMBOLS: Final = 1000

TruthChunk = npt.NDArray[np.void]
"""One-dimensional array of dtype layout.TRUTH, row for row beside the ticks of its chunk."""


@dataclass(frozen=True, slots=True)
class SimulationSummary:
    """What was written. `sessions`: how many were begun; `truth`: path of the truth's Parquet file."""

    out: Path
    ticks: int
    symbols: int
    seed: int
    edge: float
    sessions: int
    first_ts_ns: int
    last_ts_ns: int
    truth: Path


def plan_sessions(ticks: int, symbols: int) -> int:
    """How many sessions the calendar lists: enough for `ticks` with a margin of a half and one session more."""
    per_session = expected_rate(parameters(symbols)) * SESSION_MS / 1000.0
    return int(1.5 * ticks / per_session) + 2


def simulated_instruments(ticks: int, symbols: int) -> InstrumentList:
    """The instruments of a simulation of this size, with the sessions that it may reach."""
    return instruments(symbols, plan_sessions(ticks, symbols))


def generate(
    ticks: int,
    seed: int = 1,
    symbols: int = 16,
    edge: float = 1.0,
    chunk_ticks: int = 1 << 16,
    market: Market = MARKET,
    window_ms: int = WINDOW_MS,
) -> Iterator[tuple[Ticks, TruthChunk]]:
    """The first `ticks` rows of the market of `seed`, in chunks of `chunk_ticks` (the last may be shorter), with their truth.

    Rows are in the order of a tape: (ts_ns, symbol, seq). Neither `ticks` nor `chunk_ticks` nor `window_ms` (how much market time
    one compiled call makes) changes a row. Raises UsageError for values out of range.
    """
    if ticks < 1 or chunk_ticks < 1 or window_ms < 1:
        msg = f"ticks, chunk_ticks and window_ms must be at least 1, given {ticks}, {chunk_ticks} and {window_ms}"
        raise UsageError(msg)
    if not 1 <= symbols <= MAX_SYMBOLS:
        msg = f"symbols must be 1 to {MAX_SYMBOLS}, given {symbols}"
        raise UsageError(msg)
    if not 0.0 <= edge <= 1.0:
        msg = f"edge must be 0 (no skill is possible) to 1, given {edge}"
        raise UsageError(msg)
    if not 0 <= seed < 2**63:
        msg = f"seed must be 0 to 2**63 - 1, given {seed}"
        raise UsageError(msg)
    return _chunks(ticks, chunk_ticks, _windows(seed, symbols, edge, market, window_ms))


def _chunks(ticks: int, chunk_ticks: int, windows: Iterator[tuple[Ticks, TruthChunk]]) -> Iterator[tuple[Ticks, TruthChunk]]:
    held: list[tuple[Ticks, TruthChunk]] = []
    count = 0
    left = ticks
    while left > 0:
        want = min(chunk_ticks, left)
        while count < want:
            held.append(next(windows))
            count += len(held[-1][0])
        rows = np.concatenate([h[0] for h in held]) if len(held) > 1 else held[0][0]
        truth = np.concatenate([h[1] for h in held]) if len(held) > 1 else held[0][1]
        at = 0
        while len(rows) - at >= want and want > 0:
            yield rows[at : at + want], truth[at : at + want]
            at += want
            left -= want
            want = min(chunk_ticks, left)
        held = [(rows[at:], truth[at:])]
        count = len(rows) - at


def _windows(seed: int, symbols: int, edge: float, market: Market, window_ms: int) -> Iterator[tuple[Ticks, TruthChunk]]:
    table = parameters(symbols)
    common = common_row(market, edge)
    by_regime = np.array([market.activity, market.lean, market.flow, market.back], np.float64)
    stay_ms = np.array(market.stay_s, np.float64) * 1000.0
    states = np.zeros(symbols, STATE)
    lead_ms = np.zeros(LEAD_RING)
    lead_up = np.zeros(LEAD_RING)
    lead_count = np.zeros(1, np.int64)
    rows = np.zeros(max(4096, symbols * 4096), TICK_V1)
    truth = np.zeros(len(rows), TRUTH)
    kernels.begin(seed, states, table)
    switch_ms, switch_regime = kernels.regime_path(seed, stay_ms, 0.0)
    begin_ms = 0
    for session in range(1 << 30):
        open_ns = FIRST_OPEN_NS + (session // 5 * 7 + session % 5) * DAY_NS
        for pre, begin_ns, length in ((True, open_ns - PRE_MARKET_MS * 1_000_000, PRE_MARKET_MS), (False, open_ns, SESSION_MS)):
            end_ms = begin_ms + length
            switch_ms, switch_regime = kernels.regime_path(seed, stay_ms, float(end_ms))
            n = kernels.open_phase(seed, begin_ms, begin_ns, pre, states, table, common[0], lead_count, rows)
            _no_truth(rows, truth, 0, n)
            at_ms = begin_ms
            while at_ms < end_ms:
                at_ms = min(at_ms + window_ms, end_ms)
                while True:
                    before, count_before = states.copy(), lead_count.copy()
                    made = kernels.advance(
                        seed, begin_ms, begin_ns, at_ms, market.pre_market if pre else 1.0, pre, states, table, common, by_regime,
                        switch_ms, switch_regime, lead_ms, lead_up, lead_count, rows, truth, n,
                    )  # fmt: skip
                    if made >= 0:
                        break
                    states[:], lead_count[:] = before, count_before
                    rows, truth = _doubled(rows, truth)
                n = int(made)
                if at_ms == end_ms and not pre:
                    while len(rows) < n + symbols:
                        rows, truth = _doubled(rows, truth)
                    closed = kernels.close_session(seed, begin_ns + length * 1_000_000, states, table, common[0], rows[n:])
                    _no_truth(rows, truth, n, n + closed)
                    n += closed
                if n:
                    key = (rows["ts_ns"][:n] - begin_ns) // 1_000_000 * symbols + rows["symbol"][:n]
                    order = np.argsort(key, kind="stable")
                    yield rows[order], truth[order]
                n = 0
            begin_ms = end_ms


def _doubled(rows: Ticks, truth: TruthChunk) -> tuple[Ticks, TruthChunk]:
    return np.concatenate([rows, np.zeros_like(rows)]), np.concatenate([truth, np.zeros_like(truth)])


def common_row(market: Market, edge: float) -> npt.NDArray[np.void]:
    """Market's scalars and the edge as one row of layout.COMMON."""
    row = np.zeros(1, COMMON)
    for name in COMMON.names or ():
        row[name] = edge if name == "edge" else getattr(market, name)
    return row


def _no_truth(rows: Ticks, truth: TruthChunk, first: int, last: int) -> None:
    """Rows of an auction or a phase's first quote: the next change is not modelled from there."""
    for name in ("ts_ns", "seq", "symbol"):
        truth[name][first:last] = rows[name][first:last]
    truth["p_up"][first:last] = math.nan
    truth["lead"][first:last] = 0.0
    truth["regime"][first:last] = 255
    truth["pressure"][first:last] = 0


def simulate(
    out: Path,
    ticks: int = 2_000_000,
    seed: int = 1,
    symbols: int = 16,
    edge: float = 1.0,
    partitions: int = 4,
    shards: int = 64,
    progress: Callable[[int], None] | None = None,
    overwrite: bool = False,
) -> SimulationSummary:
    """Writes the tape `out` and, in `out/truth/truth.parquet`, the truth of each row (layout.TRUTH) in the same global order.

    `progress` is called with the number of ticks written so far. The same arguments give the same tape. Raises UsageError for values
    out of range, RefusedError where `out` is taken, SpiketapeError where the disk is full; an interrupted call leaves no tape.
    """
    chunks = generate(ticks, seed, symbols, edge)
    listed = simulated_instruments(ticks, symbols)
    made_of = origin(ticks, seed, symbols, edge)
    written = 0
    first_ts_ns = last_ts_ns = 0
    with TapeWriter(out, listed, partitions, shards, made_of, overwrite) as tape:
        try:
            truth_path = tape.folder / TRUTH_FILE
            truth_path.parent.mkdir()
            with pq.ParquetWriter(truth_path, _truth_schema(), compression="lz4") as truth_file:
                for rows, truth in chunks:
                    tape.append(rows)
                    truth_file.write_table(_truth_table(truth))
                    first_ts_ns = first_ts_ns or int(rows["ts_ns"][0])
                    last_ts_ns = int(rows["ts_ns"][-1])
                    written += len(rows)
                    if progress is not None:
                        progress(written)
        except OSError as e:
            msg = f"the truth beside the tape {out} cannot be written: {e.strerror or e}; nothing of the tape was kept"
            raise SpiketapeError(msg) from e
    sessions = sum(1 for begin, _ in listed.sessions["sim"] if begin <= last_ts_ns)
    return SimulationSummary(out, written, symbols, seed, edge, sessions, first_ts_ns, last_ts_ns, out / TRUTH_FILE)


def origin(ticks: int, seed: int, symbols: int, edge: float) -> dict[str, Any]:
    """Where a simulated tape comes from, for its manifest: everything that is needed to make it again."""
    return {
        "kind": "simulation",
        "version": SIMULATOR_VERSION,
        "ticks": ticks,
        "seed": seed,
        "symbols": symbols,
        "edge": edge,
        "market": asdict(MARKET),
        "profiles": PROFILES,
        "truth": TRUTH_FILE,
    }


def _truth_schema() -> pa.Schema:
    return pa.schema(
        [
            ("ts_ns", pa.int64()),
            ("symbol", pa.uint32()),
            ("seq", pa.uint64()),
            ("regime", pa.uint8()),
            ("pressure", pa.int8()),
            ("lead", pa.float64()),
            ("p_up", pa.float64()),
        ]
    )


def _truth_table(truth: TruthChunk) -> pa.Table:
    schema = _truth_schema()
    return pa.table([pa.array(np.ascontiguousarray(truth[name])) for name in schema.names], schema=schema)
