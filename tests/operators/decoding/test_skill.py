"""The streaming measurement of skill against a slow one that reads spec/realism.md section 6 line by line."""

from __future__ import annotations

import copy
import pickle
from collections import defaultdict

import numpy as np
import pytest

from operators.decoding.skill import DELAYS_NS, SHARES_E2, SkillMeter
from schemas.ranges import DECIDES, IN_SESSION
from schemas.ticks import QUOTE

MS = 1_000_000


def slow_skill(market, thresholds):
    """{(symbol, block, delay, share, predictor): [predictions, hits2, expired, tick_predictions, tick_hits2]} and spells by block."""
    cells, spells = defaultdict(lambda: [0] * 5), defaultdict(int)
    place = market.place
    for s in place.symbols:
        last_of_ms = {}
        for i in np.flatnonzero((market.ticks["symbol"] == s) & (market.ticks["kind"] == QUOTE) & (market.gate & IN_SESSION > 0)):
            last_of_ms[int(market.ticks["ts_ns"][i]) // MS] = int(i)
        for opened, closed in place.instruments.session_array(s).tolist():
            quotes = [(ms, i) for ms, i in sorted(last_of_ms.items()) if opened <= ms * MS < closed]
            mids = [(ms, int(market.ticks["price"][i] + market.ticks["ask"][i])) for ms, i in quotes]
            mid_before, counted, taken = None, False, set()
            for (ms, i), (_, mid) in zip(quotes, mids, strict=True):
                if mid != mid_before:
                    counted, taken, mid_before = False, set(), mid
                t = market.ticks[i]
                eligible = t["ask"] > t["price"] and t["size"] > 0 and t["ask_size"] > 0 and market.gate[i] & DECIDES
                if not eligible or not opened + 60_000 * MS <= ms * MS < closed - 60_000 * MS:
                    continue
                block = ms * MS // 300_000_000_000
                spells[s, block] += not counted
                counted = True
                imbalance = (int(t["size"]) - int(t["ask_size"])) / (int(t["size"]) + int(t["ask_size"]))
                for d, delay_ns in enumerate(DELAYS_NS):
                    u = ms + delay_ns // MS
                    base = [m for k, m in mids if k <= u][-1]
                    later = [m for k, m in mids if u < k <= u + 60_000 and m != base]
                    label = 0 if not later else 1 if later[0] > base else -1
                    for p, value in enumerate((float((market.score_now, market.score)[d][i]), imbalance)):
                        hit2 = 1 if value == 0 else 2 * (np.sign(value) == label)
                        for q, share in enumerate(SHARES_E2):
                            if abs(value) < thresholds[p, d, q]:
                                continue
                            cell = cells[s, block, delay_ns, share, p + 1]
                            if label:
                                cell[3] += 1
                                cell[4] += hit2
                            if (d, p, q) not in taken:
                                taken.add((d, p, q))
                                if label:
                                    cell[0] += 1
                                    cell[1] += hit2
                                else:
                                    cell[2] += 1
    return cells, spells


def run(market, rules, ends):
    meter = SkillMeter(market.place, np.repeat(rules.thresholds, len(market.place.symbols), 0))
    state, rows = meter.start(), []
    for x in market.cut(ends):
        for r in meter.step(state, x):
            assert r.a["slice"].min() >= x.gated.lo
            assert r.a["slice"].max() < x.gated.hi
            rows.append(r)
    joined = {}
    for r in rows:
        joined.setdefault(r.key, []).append(r.a)
    return state, {k: np.concatenate(v) for k, v in sorted(joined.items())}


FAR = 2**62


@pytest.mark.parametrize("seed", range(6))
def test_streaming_equals_slow_reference(market, rules, seed):
    m = market(seed, count=3000, mean_gap_ms=(120.0, 400.0, 2000.0)[seed % 3], coarse=seed < 4)
    cells, spells = slow_skill(m, rules.thresholds[0])
    _, rows = run(m, rules, [FAR])
    got = {}
    for a in rows.values():
        assert np.array_equal(a["n"], np.arange(a.size))
        for r in a:
            assert r["spells"] == spells[int(r["symbol"]), int(r["block"])]
            assert r["selected"] == r["predictions"] + r["expired"]
            counts = [int(r[k]) for k in ("predictions", "hits2", "expired", "tick_predictions", "tick_hits2")]
            if any(counts):
                got[tuple(int(r[k]) for k in ("symbol", "block", "delay_ns", "share_e2", "predictor"))] = counts
    assert got == {k: v for k, v in cells.items() if any(v)}
    assert sum(v[0] for v in got.values()) > 500
    assert sum(v[2] for v in got.values()) > 0


def test_cut_anywhere_gives_same_rows_and_state(market, rules):
    m = market(11, count=2500)
    ends = sorted({*np.random.default_rng(3).integers(m.slices[0], m.end, 60).tolist(), m.end, m.end + 700})
    every_tick = sorted({*(m.slices + 1).tolist(), m.end + 700})
    state, rows = run(m, rules, [m.end + 700])
    for cut in (ends, every_tick):
        other_state, other = run(m, rules, cut)
        assert rows.keys() == other.keys()
        assert all(np.array_equal(rows[k], other[k]) for k in rows)
        for k, v in state.items():
            assert np.array_equal(v, other_state[k]), k


def test_state_restored_in_the_middle_goes_on_the_same(market, rules):
    m = market(12, count=2500)
    middle = int(m.slices[1200])
    thresholds = np.repeat(rules.thresholds, 3, 0)
    first, second = m.cut([middle, FAR])
    meter = SkillMeter(m.place, thresholds)
    state = meter.start()
    before = meter.step(state, first)
    kept = pickle.loads(pickle.dumps(state))
    after = meter.step(state, second)
    again = SkillMeter(m.place, thresholds).step(kept, second)
    assert before or after
    assert [(r.key, r.a.tobytes()) for r in after] == [(r.key, r.a.tobytes()) for r in again]


def test_queue_grows_and_changes_nothing(market, rules, monkeypatch):
    m = market(13, count=3000)
    _, rows = run(m, rules, [FAR])
    monkeypatch.setattr("operators.decoding.skill.FIRST_CAPACITY", 2)
    state, small = run(m, rules, [FAR])
    assert state["queue"].shape[2] > 2
    assert all(np.array_equal(rows[k], small[k]) for k in rows)


def test_scores_after_a_tick_do_not_change_its_block_before(market, rules):
    m = market(14, count=3000)
    changed = copy.deepcopy(m)
    at = 2000
    changed.score[at:] *= -1
    changed.score_now[at:] *= -1
    block = m.ticks["ts_ns"][at] // 300_000_000_000
    a, b = (run(x, rules, [FAR])[1] for x in (m, changed))
    for k in a:
        assert np.array_equal(a[k][a[k]["block"] < block], b[k][b[k]["block"] < block])
    assert any(not np.array_equal(a[k], b[k]) for k in a)
