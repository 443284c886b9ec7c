"""Actions, slice quotes and statistics of the decoding stage."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from operators.decoding import DecodingStage
from operators.decoding.kernels import confidence_of, next_action
from schemas.ranges import CROSSED, DECIDES, IN_SESSION, LOCKED
from schemas.settings import load_settings
from schemas.tables import DEAD_LETTER, Rows
from schemas.ticks import QUOTE


def run(market, rules, ends, state=None):
    stage = DecodingStage(market.place, rules)
    state = stage.start() if state is None else state
    outs = []
    for x in market.cut(ends):
        state, y = stage.step(state, x)
        outs.append(y)
    return state, outs


def joined(outs):
    tables = {}
    for y in outs:
        for r in y.rows:
            tables.setdefault((r.table, r.key), []).append(r.a)
    found = {k: np.concatenate(v) for k, v in tables.items()}
    found["signals", ""] = np.concatenate([y.signals for y in outs])
    found["quotes", ""] = np.concatenate([y.quotes for y in outs])
    return found


def slow_actions(market, rules, settings):
    """Signals by a direct reading of the rules: list of (symbol, ts_ns, action)."""
    enter, leave = rules.thresholds[0, 0, 1, 0], rules.thresholds[0, 0, 1, 2]
    action, changed, ok, in_session, found = {}, {}, {}, {}, []
    sessions = market.place.instruments.session_array(0)
    for i, t in enumerate(market.ticks):
        s, g, ts = int(t["symbol"]), int(market.gate[i]), int(t["ts_ns"])
        if not g & IN_SESSION:
            continue
        if t["kind"] == QUOTE:
            ok[s] = not g & (LOCKED | CROSSED)
        if not (market.use[i] and g & DECIDES):
            continue
        now = int(np.searchsorted(sessions[:, 1], ts, side="right"))
        before = action.get(s, 0)
        after = before
        if now != in_session.get(s, 0):
            in_session[s], after = now, 0
            ok[s] = t["kind"] == QUOTE and ok[s]
        score = float(market.score[i])
        if ok.get(s) and ts - changed.get(s, -(10**18)) >= settings.signal.min_interval_ms * 1_000_000:
            if np.sign(score) not in (0, after) and abs(score) >= enter:
                after = int(np.sign(score))
            elif after and np.sign(score) == -after and abs(score) >= leave:
                after = 0
        if after != before:
            action[s], changed[s] = after, ts
            found.append((s, ts, after))
    return found


def test_signals_are_those_of_the_rules(market, rules):
    m = market(1)
    _, outs = run(m, rules, [m.end])
    signals = joined(outs)["signals", ""]
    got = [(int(r["symbol"]), int(r["ts_ns"]), int(r["action"])) for r in signals]
    assert got == slow_actions(m, rules, m.place.settings)
    assert {a for _, _, a in got} == {-1, 0, 1}
    assert len(got) > 50
    assert np.all(signals["model"] == rules.id)


def test_quotes_are_the_last_in_session_of_slice_and_symbol(market, rules):
    m = market(2)
    quotes = joined(run(m, rules, [m.end])[1])["quotes", ""]
    last = {}
    for i in np.flatnonzero((m.ticks["kind"] == QUOTE) & (m.gate & IN_SESSION > 0) & (m.gate & CROSSED == 0)):
        last[int(m.slices[i]), int(m.ticks["symbol"][i])] = int(i)
    assert [(int(q["slice"]), int(q["symbol"])) for q in quotes] == sorted(last)
    for q, i in zip(quotes, (last[k] for k in sorted(last)), strict=True):
        t = m.ticks[i]
        assert (q["bid"], q["ask"], q["bid_size"], q["ask_size"]) == (t["price"], t["ask"], t["size"], t["ask_size"])
        assert q["gate"] == m.gate[i]


def test_statistics_count_every_tick_once(market, rules):
    m = market(3)
    dead = np.zeros(3, DEAD_LETTER)
    dead["slice"] = [m.slices[0], m.end + 5, m.end + 5]
    (x,) = m.cut([m.end + 10])
    x = replace(x, gated=replace(x.gated, rows=(Rows("dead_letters", "S0", dead),)))
    stage = DecodingStage(m.place, rules)
    _, y = stage.step(stage.start(), x)
    rows = next(r for r in y.rows if r.table == "statistics")
    assert rows.key == "s00"
    assert rows.a["ticks"].sum() == m.ticks.size
    assert rows.a["dead"].sum() == 3
    assert np.all(np.diff(rows.a["slice"]) > 0)
    assert set(rows.a["slice"]) == {*m.slices.tolist(), m.end + 5}
    assert rows.a["input_spikes"].sum() == x.input_spikes.sum()
    assert any(r.table == "dead_letters" for r in y.rows)


def test_cut_anywhere_gives_same_output_and_state(market, rules):
    m = market(4, count=2500)
    far = m.end + 700
    state, outs = run(m, rules, [far])
    whole = joined(outs)
    cuts = [
        sorted({*np.random.default_rng(5).integers(m.slices[0], far, 40).tolist(), far}),
        sorted({*(m.slices + 1).tolist(), far}),
    ]
    for cut in cuts:
        other_state, others = run(m, rules, cut)
        parts = joined(others)
        assert parts.keys() == whole.keys()
        assert all(np.array_equal(parts[k], whole[k]) for k in whole)
        assert pickle.dumps(state) == pickle.dumps(other_state)


def test_snapshot_in_the_middle_resumes(market, rules):
    m = market(6, count=2500)
    middle = int(m.slices[1000])
    first, second = m.cut([middle, m.end])
    stage = DecodingStage(m.place, rules)
    state, _ = stage.step(stage.start(), first)
    kept = pickle.loads(pickle.dumps(state))
    _, after = stage.step(state, second)
    _, again = DecodingStage(m.place, rules).step(kept, second)
    assert after.signals.tobytes() == again.signals.tobytes()
    assert [r.a.tobytes() for r in after.rows] == [r.a.tobytes() for r in again.rows]


def test_symbols_that_may_not_be_traded_make_no_signals(market, rules):
    m = market(7)
    instruments = m.place.instruments
    changed = [i.model_copy(update={"tradeable": False}) if i.symbol == "S1" else i for i in instruments.instruments]
    m.place = replace(m.place, instruments=instruments.model_copy(update={"instruments": tuple(changed)}))
    signals = joined(run(m, rules, [m.end])[1])["signals", ""]
    assert set(signals["symbol"]) == {0, 2}


def test_shares_of_the_settings_choose_the_thresholds(market, rules):
    m = market(8)
    few = joined(run(m, rules, [m.end])[1])["signals", ""].size
    m.place = replace(m.place, settings=load_settings(overrides=["shards=1", "signal.enter_share=0.5", "signal.leave_share=1.0"], env={}))
    many = joined(run(m, rules, [m.end])[1])["signals", ""].size
    assert many > few > 0


@pytest.mark.parametrize(
    ("action", "score", "after"),
    [
        (0, 1.9, 0),  # below enter
        (0, 2.0, 1),  # at enter
        (0, -2.5, -1),
        (1, 5.0, 1),  # same side changes nothing
        (1, -0.5, 1),  # below leave on the other side
        (1, -0.6, 0),  # at leave
        (1, -2.0, -1),  # past enter on the other side: turned at once
        (-1, 0.7, 0),
        (-1, 0.0, -1),  # no score, no change
    ],
)
def test_hysteresis(action, score, after):
    assert next_action(action, score, 2.0, 0.6) == after


def test_confidence_is_linear_between_knots_and_never_falls():
    curve = np.array([[0.0, 1.0, 3.0], [0.5, 0.6, 0.9]])
    assert confidence_of(0.5, curve) == pytest.approx(0.55, abs=1e-15)
    assert confidence_of(2.0, curve) == pytest.approx(0.75, abs=1e-15)
    assert confidence_of(9.0, curve) == 0.9
    sizes = [confidence_of(x, curve) for x in np.linspace(0, 4, 101)]
    assert all(b >= a for a, b in pairwise(sizes))
