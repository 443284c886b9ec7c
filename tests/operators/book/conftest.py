"""A small random market for the book: quotes, prints and signals of a few symbols, cut into ranges at will."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import pytest
from pydantic import SecretStr

from schemas.actions import CorporateAction
from schemas.control import Command, sign
from schemas.instruments import FeeSchedule, Instrument, InstrumentList
from schemas.messages import ControlMessage
from schemas.ranges import DECIDES, FEATURES, FILLS, IN_SESSION, LIT, SLICE_QUOTE, VOLUME, GatedRange, SliceOut
from schemas.settings import Settings, load_settings
from schemas.tables import SIGNAL, Rows
from schemas.ticks import QUOTE, TICK_V1, TRADE, shard_of

W = 100_000_000
GATE = IN_SESSION | FEATURES | VOLUME | FILLS | LIT | DECIDES
KEY = "a key for tests only"
BROKER = FeeSchedule(
    name="per-share",
    kind="per_share",
    per_share=Decimal("0.0035"),
    minimum_per_order=Decimal("0.35"),
    maximum_fraction=Decimal("0.01"),
    sec_fee_rate=Decimal("0.0000174"),
    taf_per_share=Decimal("0.000119"),
)


@dataclass
class RandomMarket:
    """`ticks`, `signals` of all symbols in tape order; `first`, `last`: slices it covers."""

    instruments: InstrumentList
    settings: Settings
    ticks: np.ndarray
    signals: np.ndarray
    first: int
    last: int
    gate: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))

    def __post_init__(self) -> None:
        if not self.gate.size:
            self.gate = np.full(len(self.ticks), GATE, np.uint8)
        names = self.instruments.symbols
        self.shard_of = np.array([shard_of(s, self.settings.shards) for s in names])
        self.shards = tuple(sorted(set(self.shard_of.tolist())))

    def out(self, shard: int, lo: int, hi: int) -> SliceOut:
        slices = self.ticks["ts_ns"] // W
        own = (self.shard_of[self.ticks["symbol"]] == shard) & (slices >= lo) & (slices < hi)
        ticks, at, gate = self.ticks[own], slices[own], self.gate[own]
        mine = (self.shard_of[self.signals["symbol"]] == shard) & (self.signals["slice"] >= lo) & (self.signals["slice"] < hi)
        signals = self.signals[mine]
        quotes = last_quotes(ticks, at, gate)
        rows = tuple(Rows("signals", self.instruments.symbols[s], signals[signals["symbol"] == s]) for s in np.unique(signals["symbol"]))
        gated = GatedRange(shard, lo, hi, ticks, at, gate, (), len(ticks), 0)
        return SliceOut(shard, lo, hi, signals, quotes, rows, gated)

    def outs(self, cuts=()):
        """Ranges over the whole market, cut at the given slices."""
        bounds = sorted({self.first, self.last, *(c for c in cuts if self.first < c < self.last)})
        return [tuple(self.out(s, lo, hi) for s in self.shards) for lo, hi in itertools.pairwise(bounds)]


def last_quotes(ticks, slices, gate):
    last = {}
    for t, k, g in zip(ticks, slices, gate, strict=True):
        if t["kind"] == QUOTE:
            last[int(k), int(t["symbol"])] = (k, t["ts_ns"], t["price"], t["ask"], t["size"], t["ask_size"], t["symbol"], g, t["venue"], 0)
    return np.array([last[key] for key in sorted(last)], SLICE_QUOTE)


def make_market(seed=1, symbols=4, seconds=120, ticks_per_s=8.0, signals_per_s=0.2, overrides=(), sessions=None, drift=0.0, actions=()):
    """A random walk by symbol; signals at random, so most things happen that can. `actions`: (second, symbols) of corporate actions."""
    rng = np.random.default_rng(seed)
    settings = load_settings(overrides=[*overrides, f"control.key={KEY}"], env={})
    start = 1_381_152_600 * 10**9
    instruments = InstrumentList(
        instruments=tuple(
            Instrument(
                symbol=f"S{i:02d}",
                price_exponent=4,
                size_exponent=0,
                tick_size=100,
                lot_size=1,
                fees=BROKER,
                calendar="day" if sessions else "always",
                shortable=i % 3 != 2,
            )
            for i in range(symbols)
        ),
        sessions={"day": tuple((start + int(a * 1e9), start + int(b * 1e9)) for a, b in sessions)} if sessions else {},
    )
    acts = [
        CorporateAction(symbol=instruments.symbols[s], ts_ns=start + round(t * 1000) * 1_000_000, kind="other")
        for t, acting in actions
        for s in acting
    ]
    instruments = instruments.with_actions(acts)
    rows, signals = [], []
    for s in range(symbols):
        n = int(seconds * ticks_per_s)
        times = start + np.sort(rng.integers(0, seconds * 1000, n)) * 1_000_000
        steps = rng.choice([-1, 0, 0, 0, 1], n) + (rng.random(n) < abs(drift)) * np.sign(drift)
        mid = 200_000 + 10_000 * s + 100 * np.cumsum(steps.astype(np.int64))
        spread = 100 * rng.integers(1, 4, n)
        size = rng.integers(1, 20, n) * 100
        kind = np.where(rng.random(n) < 0.3, TRADE, QUOTE)
        bid = mid - mid % 100
        for i in range(n):
            if kind[i] == TRADE:
                side = 1 if rng.random() < 0.5 else -1
                price = bid[i] + spread[i] if side > 0 else bid[i]
                rows.append((times[i], 0, i, price, size[i], 0, 0, s, 0, 0, TRADE, side, ord("P"), 0))
            else:
                rows.append((times[i], 0, i, bid[i], size[i], bid[i] + spread[i], size[i], s, 0, 0, QUOTE, 0, ord("P"), 0))
        acting = np.sort(rng.choice(seconds * 10, max(1, int(seconds * signals_per_s)), replace=False))
        before = 0
        for n_, k in enumerate(acting):
            action = int(rng.choice([a for a in (-1, 0, 1) if a != before]))
            before = action
            ts = start + int(k) * W + W // 2
            signals.append((n_, ts // W, ts, 0, int(rng.integers(500_000, 1_000_000)), 7, s, action, b"\0" * 3))
    rows.sort(key=lambda r: (r[0] // W, r[0], r[7], r[2]))
    signals.sort(key=lambda r: (r[1], r[2], r[6]))
    ticks = np.array(rows, TICK_V1)
    first = start // W
    return RandomMarket(instruments, settings, ticks, np.array(signals, SIGNAL), first, first + seconds * 10)


@pytest.fixture
def random_market():
    """`make_market(seed, symbols, seconds, ...) -> RandomMarket`."""
    return make_market


@pytest.fixture
def command():
    """`command(kind, id, key=..., deployment=..., account=..., **arguments) -> Command`: a signed control message."""

    def make(kind, name="m1", key=KEY, deployment="spiketape", account=None, **arguments):
        message = ControlMessage(id=name, account=account, kind=kind, arguments=arguments, reason="a test")
        return Command(sign(message, SecretStr(key), deployment))

    return make
