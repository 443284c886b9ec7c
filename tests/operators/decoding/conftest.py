"""A small random market, scored at random, for what decodes scores."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from operators.timeline.stage import ShardPlace, shard_places
from schemas.instruments import Instrument, InstrumentList
from schemas.ranges import CROSSED, DECIDES, FEATURES, IN_SESSION, LOCKED, GatedRange, ScoreRange
from schemas.settings import Settings
from schemas.ticks import QUOTE, TICK_V1, TRADE

HOUR_NS = 3_600_000_000_000
START_NS = 1_700_000_000_000_000_000
SESSIONS = ((START_NS, START_NS + HOUR_NS // 6), (START_NS + HOUR_NS // 5, START_NS + HOUR_NS // 2))


@dataclass
class Rules:
    """Decision rules as a model would hold them."""

    thresholds: np.ndarray
    calibration: np.ndarray = field(default_factory=lambda: np.array([[[0.0, 1.0, 2.0], [0.5, 0.6, 0.9]]]))
    id: int = 2**63 + 17

    def row_of(self, symbol: str) -> int:
        return 0


@dataclass
class Market:
    """Scored ticks of one shard; `cut` gives them as ranges that end at the given slices."""

    place: ShardPlace
    ticks: np.ndarray
    slices: np.ndarray
    gate: np.ndarray
    use: np.ndarray
    score: np.ndarray
    score_now: np.ndarray

    @property
    def end(self) -> int:
        return int(self.slices[-1]) + 1 if self.slices.size else 0

    def cut(self, ends: list[int]) -> list[ScoreRange]:
        ranges, lo = [], 0
        for hi in ends:
            a, b = np.searchsorted(self.slices, [lo, hi])
            part = slice(int(a), int(b))
            gated = GatedRange(self.place.shard, lo, hi, self.ticks[part], self.slices[part], self.gate[part], (), int(b - a), 0)
            spikes = (np.arange(a, b) % 11).astype(np.uint16)
            ranges.append(ScoreRange(gated, self.use[part], self.score[part], spikes, spikes // 2, self.score_now[part]))
            lo = hi
        return ranges


def make_market(seed: int, count: int = 4000, symbols: int = 3, mean_gap_ms: float = 150.0, coarse: bool = True) -> Market:
    """Random quotes and trades of a few symbols in two sessions, many in one millisecond, spells from milliseconds to minutes."""
    rng = np.random.default_rng(seed)
    names = tuple(f"S{k}" for k in range(symbols))
    instruments = InstrumentList(
        instruments=tuple(Instrument(symbol=n, price_exponent=2, size_exponent=0, tick_size=1, lot_size=1, calendar="c") for n in names),
        sessions={"c": SESSIONS},
    )
    place = next(iter(shard_places(instruments, Settings(shards=1)).values()))
    gaps = rng.exponential(mean_gap_ms, count) * (rng.random(count) > 0.4) * np.where(rng.random(count) < 0.002, 400, 1)
    ts = START_NS - 5_000_000_000 + np.cumsum(gaps).astype(np.int64) * 1_000_000
    if not coarse:
        ts = ts + np.sort(rng.integers(0, 900_000, count))
        ts = np.maximum.accumulate(ts)
    ticks = np.zeros(count, TICK_V1)
    ticks["ts_ns"] = ts
    ticks["symbol"] = rng.integers(0, symbols, count)
    ticks["kind"] = np.where(rng.random(count) < 0.8, QUOTE, TRADE)
    mid = 10_000 + np.zeros(symbols, np.int64)
    for i in range(count):
        s = ticks["symbol"][i]
        mid[s] += rng.integers(-1, 2) * (rng.random() < (0.3, 0.02, 0.005)[s % 3])
        ticks["price"][i] = mid[s] - rng.integers(0, 2) * (s == 0)
        ticks["ask"][i] = mid[s] + (0 if rng.random() < 0.05 else 1)
    ticks["size"] = rng.integers(0, 8, count)
    ticks["ask_size"] = rng.integers(0, 8, count)
    order = np.lexsort((ticks["kind"] == QUOTE, ticks["symbol"], ticks["ts_ns"]))
    ticks = ticks[order]
    slices = ticks["ts_ns"] // place.settings.slice_ns
    session = np.zeros(count, bool)
    for a, b in SESSIONS:
        session |= (ticks["ts_ns"] >= a) & (ticks["ts_ns"] < b)
    gate = np.where(session, IN_SESSION | FEATURES, 0) | np.where(np.arange(count) > count // 50, DECIDES, 0)
    quote = ticks["kind"] == QUOTE
    gate = (
        gate | np.where(quote & (ticks["ask"] == ticks["price"]), LOCKED, 0) | np.where(quote & (ticks["ask"] < ticks["price"]), CROSSED, 0)
    )
    score = np.round(rng.normal(0, 1, count) * (rng.random(count) > 0.1), 2).astype(np.float32)
    now = np.round(rng.normal(0, 1, count) * (rng.random(count) > 0.1), 2).astype(np.float32)
    use = (rng.random(count) < 0.9).astype(np.uint8)
    return Market(place, ticks, slices, gate.astype(np.uint8), use, score, now)


def make_rules() -> Rules:
    thresholds = np.zeros((1, 2, 2, 4))
    thresholds[0, 0, 0] = [1.9, 1.5, 0.7, 0.0]
    thresholds[0, 0, 1] = [2.0, 1.4, 0.6, 0.0]
    thresholds[0, 1, :] = [0.7, 0.5, 0.2, 0.0]
    return Rules(thresholds)


@pytest.fixture
def market():
    """Makes a market from a seed; see make_market."""
    return make_market


@pytest.fixture
def rules() -> Rules:
    return make_rules()
