"""A small made tape with everything in it that gate, features and encoder must tell apart; run as a script, it prints their hash.

Symbols AAA (trades only, leads BBB and DDD), BBB (leads CCC), CCC, DDD (no sizes, comes late). Slices of 1 ms, so that nearly
every tick can be cut from the next.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np

from operators.encoding import EncodingStage
from operators.features import FeatureStage
from operators.quality import QualityStage
from operators.timeline.stage import ShardPlace, shard_places
from schemas.instruments import ConditionTable, Instrument, InstrumentList
from schemas.settings import Settings
from schemas.ticks import DEPTH, FLAG_CORPORATE_ACTION, FLAG_SUSPICIOUS, FLAG_TIME_REFUSED, QUOTE, TICK_V1, TRADE

MS = 1_000_000
START = 1_700_000_000_000 * MS
NO_FILL, NO_VOLUME, NO_FEATURES = 0x40, 0x80, 0x100
CONDITIONS = ConditionTable(name="made", no_fill=NO_FILL, no_volume=NO_VOLUME, no_features=NO_FEATURES, off_exchange="D")


def place_of(session_ns: int = 2**62, **settings: Any) -> ShardPlace:
    """One shard with four symbols; the calendar `day` is open from START + 200 ms for `session_ns`, then again 300 ms later."""
    common: dict[str, Any] = {"price_exponent": 2, "size_exponent": 0, "tick_size": 1, "lot_size": 1}
    common |= {"conditions": CONDITIONS, "calendar": "day"}
    first_end = START + 200 * MS + session_ns
    sessions = {"day": ((START + 200 * MS, first_end), (first_end + 300 * MS, 2**62))} if session_ns < 2**61 else {}
    instruments = InstrumentList(
        instruments=(
            Instrument(symbol="AAA", quoted=False, **common),
            Instrument(symbol="BBB", leader="AAA", **common),
            Instrument(symbol="CCC", leader="BBB", **common),
            Instrument(symbol="DDD", leader="AAA", sized=False, **common),
        ),
        sessions=sessions,
    )
    return shard_places(instruments, Settings.model_validate({"shards": 1, "slice_ms": 1, **settings}))[0]


def made_ticks(count: int, seed: int, bad: float = 0.05) -> tuple[Any, Any]:
    """Ticks and slices in the order of a joined range; a share `bad` of them has something wrong."""
    rng = np.random.default_rng(seed)
    t = np.zeros(count, TICK_V1)
    t["symbol"] = rng.integers(0, 4, count)
    t["ts_ns"] = START + np.cumsum(rng.choice([0, 0, 1, 2, 5, 40], count)) * (MS // 2)
    late = t["symbol"] == 3
    t["late_ns"][late] = rng.integers(0, 3, int(late.sum())) * MS
    slices = np.maximum.accumulate(t["ts_ns"] // MS)
    t["ts_ns"][late] -= 3 * MS
    kind = np.where(rng.random(count) < 0.3, TRADE, QUOTE)
    kind = np.where(t["symbol"] == 0, TRADE, kind)
    t["kind"] = np.where(rng.random(count) < 0.05, DEPTH, kind)
    quote = t["kind"] == QUOTE
    mid = np.zeros(count, np.int64)
    for s in range(4):
        mine = t["symbol"] == s
        t["seq"][mine] = np.arange(mine.sum())
        mid[mine] = 10_000 + np.cumsum(rng.choice([-2, -1, 0, 0, 0, 1, 2], int(mine.sum())))
    t["price"] = mid + np.where(quote, 0, rng.integers(-1, 3, count))
    t["ask"] = np.where(quote, mid + rng.choice([0, 1, 1, 1, 2], count), 0)
    sized = t["symbol"] != 3
    t["size"] = np.where(sized, rng.integers(1, 900, count), 0)
    t["size"][(t["kind"] != QUOTE) & ~sized] = 0
    t["ask_size"] = np.where(quote & sized, rng.integers(1, 900, count), 0)
    t["side"] = np.where(
        t["kind"] == DEPTH, rng.choice([-1, 1], count), np.where(t["kind"] == TRADE, rng.choice([-1, 0, 0, 0, 1], count), 0)
    )
    t["venue"] = np.where((t["kind"] == TRADE) & (rng.random(count) < 0.3), ord("D"), ord("N"))
    t["conditions"] = np.where(t["kind"] == TRADE, rng.choice([0, 0, 0, NO_FILL, NO_VOLUME, NO_FEATURES], count), 0)
    t["gap"] = np.where(rng.random(count) < 0.02, rng.integers(1, 9, count), 0)
    wrong = np.flatnonzero(rng.random(count) < bad)
    for i, what in zip(wrong, rng.integers(0, 13, wrong.size), strict=True):
        _spoil(t, int(i), int(what))
    order = np.lexsort((t["seq"], t["symbol"], t["ts_ns"], slices))
    return t[order], slices[order]


def _spoil(t: Any, i: int, what: int) -> None:
    """One of thirteen things that go wrong with a tick."""
    if what < 6:
        field, value = (("kind", 9), ("price", -5), ("size", -1), ("late_ns", -1), ("symbol", 77), ("price", 2**60))[what]
        t[field][i] = value
    elif what == 6:
        t["flags"][i] |= FLAG_SUSPICIOUS
    elif what == 7:
        t["flags"][i] |= FLAG_TIME_REFUSED
    elif what == 8:
        t["flags"][i] |= FLAG_CORPORATE_ACTION
    elif what == 9:
        t["side"][i] = 3
    elif what == 10:
        t["seq"][i] //= 2
    elif what == 11:
        t["price"][i] += 3000
    else:
        t["price"][i] *= 2
        t["ask"][i] *= 2


def run_chain(place: ShardPlace, ticks: Any, slices: Any, cuts: Any = ()) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Outputs of gate, features and encoder over ranges cut at the slices `cuts`, and the three final states."""
    gate, features, encoder = QualityStage(place, START + 100 * MS), FeatureStage(place), EncodingStage(place)
    states = [gate.start(), features.start(), encoder.start()]
    gated, featured, spiked = [], [], []
    edges = [int(slices[0]), *cuts, int(slices[-1]) + 1]
    for lo, hi in itertools.pairwise(edges):
        a, b = np.searchsorted(slices, (lo, hi))
        states[0], (g, leads) = gate.step(states[0], (lo, hi, ticks[a:b], slices[a:b]))
        states[1], f = features.step(states[1], (g, tuple(s for s in leads if s.symbol in place.leaders)))
        states[2], e = encoder.step(states[2], f)
        gated.append(g)
        featured.append(f)
        spiked.append(e)
    return gated, featured, spiked, states


def digest(outputs: tuple[list[Any], list[Any], list[Any], list[Any]]) -> str:
    """SHA-256 of everything the three stages said and of their states, wherever it was cut."""
    gated, featured, spiked, states = outputs
    h = hashlib.sha256()
    for g in gated:
        h.update(g.ticks.tobytes())
    for g in gated:
        h.update(g.slices.tobytes())
    for g in gated:
        h.update(g.gate.tobytes())
    rows: dict[str, list[Any]] = {}
    for g in gated:
        for r in g.rows:
            rows.setdefault(f"{r.table}/{r.key}", []).append(r.a)
    for key in sorted(rows):
        h.update(key.encode() + np.concatenate(rows[key]).tobytes())
    for f in featured:
        h.update(f.x.tobytes())
    for f in featured:
        h.update(f.use.tobytes())
    for e in spiked:
        h.update(np.diff(e.spikes.indptr).tobytes())
    for e in spiked:
        h.update(e.spikes.neuron.tobytes())
    for state in states:
        for name in sorted(state):
            h.update(name.encode() + np.ascontiguousarray(state[name]).tobytes())
    return h.hexdigest()


def main() -> None:
    """Prints the hash of a tape of 4,000 ticks."""
    print(digest(run_chain(place_of(1500 * MS), *made_ticks(4000, 5))))


if __name__ == "__main__":
    main()
