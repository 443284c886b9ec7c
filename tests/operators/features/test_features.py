"""Features against slow references: closed sums over all past events, sides of prints, scaling, mirroring, leaders."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from operators.features import ADAPTIVE, FEATURE_LIMIT, FEATURE_NAMES, FEATURE_PARITY, LEVELS, FeatureStage
from operators.features.kernels import halving_tables, part_step
from operators.timeline.stage import shard_places
from schemas.instruments import Instrument, InstrumentList
from schemas.ranges import FEATURES, IN_SESSION, LIT, GatedRange, LeadSeries
from schemas.settings import Settings
from schemas.ticks import FLAG_CORPORATE_ACTION, QUOTE, TICK_V1, TRADE

MS = 1_000_000
SECOND = 1_000_000_000
T0 = 1_000 * SECOND
COLUMN = {name: i for i, name in enumerate(FEATURE_NAMES)}
GOOD = IN_SESSION | FEATURES | LIT


def place_of(**settings):
    common = {"price_exponent": 2, "size_exponent": 0, "tick_size": 2, "lot_size": 1}
    instruments = InstrumentList(instruments=(Instrument(symbol="A", **common), Instrument(symbol="B", leader="A", **common)))
    return shard_places(instruments, Settings.model_validate({"shards": 1, **settings}))[0]


def gated_range(ticks, gate=None, lo=0, hi=10**9):
    ticks = np.asarray(ticks)
    gate = np.full(len(ticks), GOOD, np.uint8) if gate is None else np.asarray(gate, np.uint8)
    slices = ticks["ts_ns"] // (100 * MS)
    return GatedRange(0, lo, hi, ticks, slices, gate, (), len(ticks), 0)


def lead_series(times=(), prices=(), lo=0, hi=10**9):
    times = np.array(times, np.int64)
    return LeadSeries(0, lo, hi, times, np.array(prices, np.int64), times // (100 * MS))


def features_of(ticks, gate=None, leads=None, place=None):
    stage = FeatureStage(place_of() if place is None else place)
    _, out = stage.step(stage.start(), (gated_range(ticks, gate), (lead_series() if leads is None else leads,)))
    return out


def random_ticks(count, seed, symbol=1):
    rng = np.random.default_rng(seed)
    t = np.zeros(count, TICK_V1)
    t["symbol"] = symbol
    t["ts_ns"] = T0 + np.cumsum(rng.choice([0, 0, 3, 40, 700, 5000], count)) * MS
    t["seq"] = np.arange(count)
    t["kind"] = np.where(rng.random(count) < 0.3, TRADE, QUOTE)
    bid = 10_000 + 2 * np.cumsum(rng.choice([-1, 0, 0, 0, 1], count))
    quote = t["kind"] == QUOTE
    t["price"] = np.where(quote, bid, bid + 2 * rng.integers(0, 2, count) + rng.integers(0, 2, count))
    t["ask"] = np.where(quote, bid + 2 * rng.integers(1, 4, count), 0)
    t["size"] = rng.integers(1, 500, count)
    t["ask_size"] = np.where(quote, rng.integers(1, 500, count), 0)
    t["side"] = np.where(quote, 0, rng.choice([-1, 0, 0, 1], count))
    return t


class Reference:
    """Raw values by closed sums over everything that happened, in plain Python; no state is carried but lists of events."""

    def __init__(self, fast_ns, slow_ns):
        self.half = {"fast": fast_ns, "slow": slow_ns}
        self.quotes, self.prints, self.mids, self.imbalances = [], [], [], []
        self.first = 2**62

    def fade(self, events, t, half):
        return sum(y * 2.0 ** (-(t - s) / half) for s, y in events)

    def mean(self, held, t, half):
        """Time-weighted mean of a value held from each time on: the weight of an age a is 2**(-a / half)."""
        out = 0.0
        for (s, y), end in zip(held, [h[0] for h in held[1:]] + [t], strict=False):
            out += y * (2.0 ** (-(t - end) / half) - 2.0 ** (-(t - s) / half))
        return out

    def tick(self, row):
        """Raw values after a tick, by name."""
        t = int(row["ts_ns"])
        self.first = min(self.first, t)
        if row["kind"] == QUOTE:
            now = (int(row["price"]), int(row["ask"]), int(row["size"]), int(row["ask_size"]))
            self.quotes.append((t, *now))
            self.mids.append((t, now[0] + now[1]))
            self.imbalances.append((t, (now[2] - now[3]) / (now[2] + now[3])))
        else:
            side = int(row["side"]) or self.side(t, int(row["price"]))
            self.prints.append((t, int(row["price"]), side, side * int(row["size"])))
        moves = [(b[0], b[1] - a[1]) for a, b in itertools.pairwise(self.mids) if b[1] != a[1]]
        ofi = []
        for (_, b0, a0, q0, p0), (s, b1, a1, q1, p1) in itertools.pairwise(self.quotes):
            ofi.append((s, (b1 >= b0) * q1 - (b1 <= b0) * q0 - (a1 <= a0) * p1 + (a1 >= a0) * p0))
        out = {"trade_side": 0, "mid_step": 0, "queue_lean": 0}
        for name, half in self.half.items():
            out[f"return_{name}"] = self.fade(moves, t, half)
            out[f"order_flow_{name}"] = self.fade(ofi, t, half)
            out[f"sign_flow_{name}"] = self.fade([(s, d) for s, _, d, _ in self.prints], t, half)
            out[f"size_flow_{name}"] = self.fade([(s, v) for s, _, _, v in self.prints], t, half)
            out[f"imbalance_{name}"] = self.mean(self.imbalances, t, half)
        out["volatility"] = math.sqrt(self.fade([(s, m * m) for s, m in moves], t, self.half["slow"]))
        out["change_age"] = ((t - (moves[-1][0] if moves else self.first)) / self.half["fast"]) ** 0.25
        out["last_direction"] = math.copysign(1, moves[-1][1]) if moves else 0
        out["persistence"] = math.copysign(1, moves[-1][1] * moves[-2][1]) if len(moves) > 1 else 0
        if row["kind"] != QUOTE:
            out["trade_side"] = side
        elif len(self.quotes) > 1:
            (_, b0, a0, q0, p0), (_, b1, a1, q1, p1) = self.quotes[-2:]
            out["mid_step"] = np.sign(b1 + a1 - b0 - a0)
            out["queue_lean"] = np.sign((q1 - q0) - (p1 - p0)) if (b0, a0) == (b1, a1) else 0
        if self.quotes:
            _, b, a, q, p = self.quotes[-1]
            out["imbalance"] = (q - p) / (q + p)
            out["spread"] = (a - b) / 2
            out["microprice"] = out["imbalance"] * out["spread"]
            out["imbalance_shift"] = out["imbalance"] - out["imbalance_fast"]
        return out

    def side(self, t, price):
        """Lee and Ready: against the mid of the last quote strictly before t, else by the last different trade price."""
        before = [q for q in self.quotes if q[0] < t]
        if before and 2 * price != before[-1][1] + before[-1][2]:
            return 1 if 2 * price > before[-1][1] + before[-1][2] else -1
        path = [p for _, p, _, _ in self.prints] + [price]
        steps = [b - a for a, b in itertools.pairwise(path) if b != a]
        return (1 if steps[-1] > 0 else -1) if steps else 0


def scaled(raw, name, scale):
    if name in ADAPTIVE:
        x = raw / (1e-9 + 2 * scale)
    elif name in LEVELS:
        x = raw / (1e-9 + scale) - 1
    else:
        x = raw
    return min(max(x, -FEATURE_LIMIT), FEATURE_LIMIT)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_features_are_those_of_a_slow_reference(seed):
    ticks = random_ticks(350, seed)
    out = features_of(ticks)
    assert out.use.all()
    reference = Reference(1.0 * SECOND, 30.0 * SECOND)
    rate = 1 - 2 ** (-1 / 5000)
    scales: dict[str, float] = {}
    checked = 0
    for i, row in enumerate(ticks):
        for name, raw in reference.tick(row).items():
            scale = scales.get(name, abs(raw) if i == 0 else 0.0)
            assert out.x[i, COLUMN[name]] == pytest.approx(scaled(raw, name, scale), rel=2e-5, abs=2e-6), (i, name)
            checked += 1
            size = min(abs(raw), 16 * scale) if i >= 256 and scale > 1e-6 else abs(raw)
            scales[name] = scale + max(rate, 1 / (i + 1)) * (size - scale)
    assert checked > 5000


def test_decay_is_a_power_of_two_to_the_last_digits():
    fine, halves = halving_tables()
    for steps in np.random.default_rng(0).uniform(0, 60 * 256, 2000):
        k = int(steps)
        assert fine[k & 255] * halves[k >> 8] * part_step(steps - k) == pytest.approx(2.0 ** (-steps / 256), rel=5e-15)


def test_mirrored_market_flips_odd_features_bit_for_bit():
    ticks = random_ticks(3000, 4)
    mirrored = ticks.copy()
    quote = ticks["kind"] == QUOTE
    pivot = 20_000
    mirrored["price"] = np.where(quote, pivot - ticks["ask"], pivot - ticks["price"])
    mirrored["ask"] = np.where(quote, pivot - ticks["price"], 0)
    mirrored["size"] = np.where(quote, ticks["ask_size"], ticks["size"])
    mirrored["ask_size"] = np.where(quote, ticks["size"], 0)
    mirrored["side"] = -ticks["side"]
    times = np.arange(T0, int(ticks["ts_ns"][-1]), 700 * MS)
    path = 20_000 + np.cumsum(np.random.default_rng(1).integers(-3, 4, times.size))
    a = features_of(ticks, leads=lead_series(times, path)).x
    b = features_of(mirrored, leads=lead_series(times, 40_000 - path)).x
    assert np.array_equal(a * FEATURE_PARITY, b)
    assert all(np.abs(a[:, j]).max() > 0.5 for j in range(a.shape[1]))


PRINTS = [
    ("aggressor given", {"side": -1, "price": 1003}, -1),
    ("above the mid", {"price": 1003}, 1),
    ("below the mid", {"price": 1001}, -1),
    ("at the mid, after a rise", {"price": 1002}, 1),
    ("off-exchange", {"price": 1003, "venue": ord("D")}, 0),
]


@pytest.mark.parametrize(("change", "sign"), [c[1:] for c in PRINTS], ids=[c[0] for c in PRINTS])
def test_side_of_a_print(change, sign):
    t = np.zeros(4, TICK_V1)
    t["symbol"], t["ts_ns"], t["size"], t["seq"] = 1, (T0, T0 + 1, T0 + 2, T0 + 3), 10, range(4)
    t["kind"] = (TRADE, TRADE, QUOTE, TRADE)
    t["price"], t["ask"], t["ask_size"] = (998, 999, 1000, 0), (0, 0, 1004, 0), (0, 0, 10, 0)
    t["side"] = (1, -1, 0, 0)
    for field, value in change.items():
        t[field][3] = value
    gate = [GOOD, GOOD, GOOD, GOOD & ~LIT if "venue" in change else GOOD]
    x = features_of(t, gate).x[:, COLUMN["sign_flow_slow"]]
    assert np.sign(x[3] - 0.0) == sign or (sign == 0 and abs(x[3]) < 1e-6)


def test_a_print_is_read_against_the_quote_strictly_before_it():
    t = np.zeros(3, TICK_V1)
    t["symbol"], t["ts_ns"], t["size"], t["seq"] = 1, (T0, T0 + 5, T0 + 5), 10, range(3)
    t["kind"], t["price"], t["ask"], t["ask_size"] = (QUOTE, QUOTE, TRADE), (1000, 1010, 1008), (1004, 1014, 0), (10, 10, 0)
    assert features_of(t).x[2, COLUMN["sign_flow_slow"]] > 0  # above 1002, the mid before; below 1012, the mid at its time


def test_ticks_that_may_not_feed_features_are_not_used_and_change_nothing():
    ticks = random_ticks(400, 5)
    rng = np.random.default_rng(0)
    gate = rng.choice([GOOD, GOOD, GOOD & ~FEATURES, GOOD & ~IN_SESSION], 400)
    ok = gate == GOOD
    out = features_of(ticks, gate)
    assert np.array_equal(out.use, ok)
    assert not out.x[~ok].any()
    assert np.array_equal(out.x[ok], features_of(ticks[ok]).x)


def test_a_leader_counts_only_strictly_later_and_fades():
    t = np.zeros(4, TICK_V1)
    t["symbol"], t["kind"], t["price"], t["ask"], t["size"], t["ask_size"] = 1, QUOTE, 1000, 1002, 5, 5
    t["seq"], t["ts_ns"] = range(4), (T0, T0 + 1 * MS, T0 + 1 * MS + 1, T0 + 251 * MS)
    out = features_of(t, leads=lead_series((T0 - 5, T0 + 1 * MS), (2000, 2006))).x
    assert list(out[:, COLUMN["lead_fast"]][:2]) == [0, 0]
    assert out[2, COLUMN["lead_fast"]] > 0
    stage = FeatureStage(place_of())
    state, _ = stage.step(stage.start(), (gated_range(t), (lead_series((T0 - 5, T0 + 1 * MS), (2000, 2006)),)))
    # scale of lead_fast: mean of 0, 0, 6 and 6 / 2 (a quarter of a second is its half-life); lead_slow's is 2 s
    assert state["scale"][1, COLUMN["lead_fast"]] == pytest.approx((6 + 3) / 4, rel=1e-6)
    assert state["scale"][1, COLUMN["lead_slow"]] == pytest.approx((6 + 6 * 2 ** (-0.125)) / 4, rel=1e-6)


def test_a_late_tick_knows_nothing_of_a_leader_that_moved_after_its_time():
    t = np.zeros(2, TICK_V1)
    t["symbol"], t["kind"], t["price"], t["ask"], t["size"], t["ask_size"], t["seq"] = 1, QUOTE, 1000, 1002, 5, 5, range(2)
    t["ts_ns"] = (T0, T0 + 1 * MS)
    place = place_of()
    stage = FeatureStage(place)
    late = np.array([T0 // (100 * MS), T0 // (100 * MS) + 5])
    for moved_at, seen in ((T0 + 2 * MS, False), (T0 + MS // 2, True)):
        gated = GatedRange(0, 0, 10**9, t, late, np.full(2, GOOD, np.uint8), (), 2, 1)
        _, out = stage.step(stage.start(), (gated, (lead_series((T0 - 5, moved_at), (2000, 2006)),)))
        assert bool(out.x[1, COLUMN["lead_slow"]] > 0) is seen


@pytest.mark.parametrize("how", ["gap", "corporate action"])
def test_a_new_start_forgets_prices_but_not_scales(how):
    ticks = random_ticks(200, 6)
    other = random_ticks(2, 7)
    other["kind"], other["price"], other["ask"], other["size"], other["ask_size"] = QUOTE, (50_000, 50_002), (50_004, 50_006), 5, 5
    other["ts_ns"] = ticks["ts_ns"][-1] + (1801 * SECOND if how == "gap" else 1)
    other["flags"] = (FLAG_CORPORATE_ACTION if how == "corporate action" else 0, 0)
    out = features_of(np.concatenate([ticks, other])).x
    assert out[200, COLUMN["return_fast"]] == 0
    assert out[200, COLUMN["order_flow_fast"]] == 0
    assert 0 < out[201, COLUMN["return_fast"]] < FEATURE_LIMIT


def test_extreme_input_stays_finite_and_within_the_limit():
    ticks = random_ticks(2000, 8)
    rng = np.random.default_rng(0)
    quote = ticks["kind"] == QUOTE
    ticks["price"] = rng.integers(1, 2**53, 2000)
    ticks["ask"] = np.where(quote, ticks["price"] + rng.integers(0, 2**52, 2000), 0)
    ticks["size"] = rng.choice([0, 1, 2**53], 2000)
    ticks["ask_size"] = np.where(quote, rng.choice([0, 1, 2**53], 2000), 0)
    x = features_of(ticks).x
    assert np.isfinite(x).all()
    assert np.abs(x).max() <= FEATURE_LIMIT


def test_symbol_without_quotes_moves_by_its_prints():
    common = {"price_exponent": 2, "size_exponent": 0, "tick_size": 2, "lot_size": 1}
    place = shard_places(InstrumentList(instruments=(Instrument(symbol="A", quoted=False, **common),)), Settings(shards=1))[0]
    t = np.zeros(3, TICK_V1)
    t["kind"], t["price"], t["size"], t["seq"], t["ts_ns"] = TRADE, (1000, 1001, 1003), 1, range(3), (T0, T0 + 1, T0 + 2)
    stage = FeatureStage(place)
    _, out = stage.step(stage.start(), (gated_range(t), ()))
    assert (out.x[1:, COLUMN["return_slow"]] > 0).all()
    assert out.x[2, COLUMN["persistence"]] == 1


def test_paths_of_other_leaders_or_other_slices_are_refused():
    stage = FeatureStage(place_of())
    for leads in ((), (lead_series(hi=5),)):
        with pytest.raises(ValueError, match="expected paths of leaders"):
            stage.step(stage.start(), (gated_range(random_ticks(3, 1)), leads))
