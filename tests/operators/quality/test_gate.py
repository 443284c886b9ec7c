"""The gate: each reason by the smallest tick that shows it, sessions and conditions as bits, outliers against slow references."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.quality import UNKNOWN_KEY, QualityStage
from operators.quality.kernels import median_and_mad, select
from operators.timeline.stage import shard_places
from schemas.actions import CorporateAction
from schemas.errors import UsageError
from schemas.instruments import Instrument, InstrumentList
from schemas.ranges import CROSSED, DECIDES, FEATURES, FILLS, IN_SESSION, LIT, LOCKED, VOLUME
from schemas.settings import Settings, load_settings
from schemas.tables import QUALITY
from schemas.tables import DeadLetterReason as Reason
from schemas.ticks import DEPTH, END, FLAG_CORPORATE_ACTION, FLAG_SUSPICIOUS, FLAG_TIME_REFUSED, QUOTE, TICK_V1, TRADE

MS = 1_000_000
GOOD = {"ts_ns": 50, "seq": 0, "symbol": 1, "venue": ord("N")}
GOOD_QUOTE = {**GOOD, "kind": QUOTE, "price": 1000, "size": 5, "ask": 1002, "ask_size": 7}
GOOD_TRADE = {**GOOD, "kind": TRADE, "price": 1000, "size": 5, "side": 1}
GOOD_DEPTH = {**GOOD, "kind": DEPTH, "price": 1000, "size": 0, "side": -1}


def ticks_of(*rows):
    t = np.zeros(len(rows), TICK_V1)
    for i, row in enumerate(rows):
        for field, value in row.items():
            t[field][i] = value
    return t


def gate(place, *rows, state=None, **kw):
    stage = QualityStage(place, **kw)
    ticks = ticks_of(*rows)
    state, (gated, leads) = stage.step(stage.start() if state is None else state, (0, 10, ticks, np.zeros(len(ticks), np.int64)))
    assert gated.read == len(rows) == len(gated.ticks) + sum(len(r.a) for r in gated.rows)
    return gated, leads, state


def reasons(gated):
    return [Reason(int(r)).name for rows in gated.rows for r in rows.a["reason"]]


ALONE = [
    ("kind 0", GOOD_QUOTE, {"kind": 0}, "UNKNOWN_KIND"),
    ("kind 4", GOOD_TRADE, {"kind": 4}, "UNKNOWN_KIND"),
    ("symbol beyond the list", GOOD_TRADE, {"symbol": 4}, "UNKNOWN_SYMBOL"),
    ("largest symbol", GOOD_TRADE, {"symbol": 2**32 - 1}, "UNKNOWN_SYMBOL"),
    ("bid 0", GOOD_QUOTE, {"price": 0}, "PRICE_NOT_POSITIVE"),
    ("ask negative", GOOD_QUOTE, {"ask": -1}, "PRICE_NOT_POSITIVE"),
    ("trade price 0", GOOD_TRADE, {"price": 0}, "PRICE_NOT_POSITIVE"),
    ("depth price 0", GOOD_DEPTH, {"price": 0}, "PRICE_NOT_POSITIVE"),
    ("bid size 0", GOOD_QUOTE, {"size": 0}, "SIZE_NOT_POSITIVE"),
    ("ask size 0", GOOD_QUOTE, {"ask_size": 0}, "SIZE_NOT_POSITIVE"),
    ("trade size 0", GOOD_TRADE, {"size": 0}, "SIZE_NOT_POSITIVE"),
    ("depth size below 0", GOOD_DEPTH, {"size": -1}, "SIZE_NOT_POSITIVE"),
    ("size below 0 without sizes", GOOD_QUOTE, {"symbol": 3, "size": -1, "ask_size": 0}, "SIZE_NOT_POSITIVE"),
    ("price above the largest", GOOD_TRADE, {"price": 2**47 + 1}, "PRICE_TOO_LARGE"),
    ("ask above the largest", GOOD_QUOTE, {"ask": 2**63 - 1}, "PRICE_TOO_LARGE"),
    ("size above the largest", GOOD_TRADE, {"size": 2**47 + 1}, "SIZE_TOO_LARGE"),
    ("bid above ask", GOOD_QUOTE, {"price": 1003}, "BOOK_CROSSED"),
    ("refused time", GOOD_QUOTE, {"flags": FLAG_TIME_REFUSED}, "TIME_JUMP"),
    ("suspicious", GOOD_QUOTE, {"flags": FLAG_SUSPICIOUS}, "SUSPICIOUS"),
    ("side of a quote", GOOD_QUOTE, {"side": 1}, "SIDE_INVALID"),
    ("side 2 of a trade", GOOD_TRADE, {"side": 2}, "SIDE_INVALID"),
    ("no side of a depth level", GOOD_DEPTH, {"side": 0}, "SIDE_INVALID"),
    ("negative lateness", GOOD_QUOTE, {"late_ns": -1}, "LATENESS_NEGATIVE"),
]


@pytest.mark.parametrize(("row", "change", "reason"), [c[1:] for c in ALONE], ids=[c[0] for c in ALONE])
def test_a_tick_with_one_thing_wrong_is_a_dead_letter_with_that_reason(made, row, change, reason):
    good, _, _ = gate(made.place_of(), row)
    assert good.rows == ()
    wrong, _, _ = gate(made.place_of(), {**row, **change})
    assert reasons(wrong) == [reason]
    letter = wrong.rows[0].a[0]
    assert letter["record"].tobytes() == ticks_of({**row, **change}).tobytes()
    assert wrong.rows[0].key == (UNKNOWN_KEY if reason == "UNKNOWN_SYMBOL" else ("AAA", "BBB", "CCC", "DDD")[letter["symbol"]])


AFTER = [
    ("same sequence", {}, "SEQUENCE_DUPLICATE"),
    ("sequence before", {"seq": 3, "ts_ns": 60}, "SEQUENCE_DUPLICATE"),
    ("time before", {"seq": 8, "ts_ns": 49}, "TIME_BACKWARD"),
    ("11% up", {"seq": 8, "price": 1111, "ask": 1113}, "OUTLIER_PERCENT"),
]


@pytest.mark.parametrize(("change", "reason"), [c[1:] for c in AFTER], ids=[c[0] for c in AFTER])
def test_a_tick_that_contradicts_the_one_before_is_refused(made, change, reason):
    first = {**GOOD_QUOTE, "seq": 7}
    gated, _, _ = gate(made.place_of(), first, {**first, **change})
    assert reasons(gated) == [reason]
    ok, _, _ = gate(made.place_of(), first, {**first, "seq": 8, "price": 1095, "ask": 1097})
    assert reasons(ok) == []


def test_two_reasons_the_first_check_is_named(made):
    gated, _, _ = gate(made.place_of(), {**GOOD_QUOTE, "price": -1, "size": -1, "late_ns": -1})
    assert reasons(gated) == ["PRICE_NOT_POSITIVE"]


def test_nothing_refused_hands_on_the_same_array(made):
    ticks = ticks_of(GOOD_QUOTE, {**GOOD_TRADE, "seq": 1})
    stage = QualityStage(made.place_of())
    _, (gated, _) = stage.step(stage.start(), (0, 1, ticks, np.zeros(2, np.int64)))
    assert gated.ticks is ticks


def test_dead_letters_are_numbered_by_symbol_over_ranges(made):
    place = made.place_of()
    one, _, state = gate(place, {**GOOD_TRADE, "size": 0}, {**GOOD_TRADE, "symbol": 2, "size": 0}, {**GOOD_TRADE, "kind": 9})
    two, _, _ = gate(place, {**GOOD_TRADE, "size": 0}, {**GOOD_TRADE, "symbol": 99}, state=state)
    assert {r.key: list(r.a["n"]) for r in one.rows} == {"BBB": [0, 1], "CCC": [0]}
    assert {r.key: list(r.a["n"]) for r in two.rows} == {"BBB": [2], UNKNOWN_KEY: [0]}


def test_crossed_by_setting_is_flagged_and_feeds_nothing(made):
    place = made.place_of(gate={"crossed": "flag"})
    gated, _, state = gate(place, {**GOOD_QUOTE, "price": 1003})
    assert gated.gate[0] & (CROSSED | FEATURES | LOCKED) == CROSSED
    assert not state["track"].any()


def test_suspicious_by_setting_passes(made):
    gated, _, _ = gate(made.place_of(gate={"suspicious": "pass"}), {**GOOD_QUOTE, "flags": FLAG_SUSPICIOUS})
    assert gated.rows == ()


BITS = [
    ("quote", GOOD_QUOTE, {}, IN_SESSION | FEATURES | LIT | DECIDES),
    ("locked quote", GOOD_QUOTE, {"ask": 1000}, IN_SESSION | FEATURES | LIT | LOCKED | DECIDES),
    ("print", GOOD_TRADE, {}, IN_SESSION | FEATURES | VOLUME | FILLS | LIT | DECIDES),
    ("off-exchange print", GOOD_TRADE, {"venue": ord("D")}, IN_SESSION | FEATURES | VOLUME | DECIDES),
    ("auction", GOOD_TRADE, {"conditions": 0x40}, IN_SESSION | FEATURES | VOLUME | LIT | DECIDES),
    ("no volume", GOOD_TRADE, {"conditions": 0x80}, IN_SESSION | FEATURES | FILLS | LIT | DECIDES),
    ("no features", GOOD_TRADE, {"conditions": 0x100}, IN_SESSION | VOLUME | FILLS | LIT | DECIDES),
    ("depth", GOOD_DEPTH, {}, IN_SESSION | LIT | DECIDES),
    ("quote's conditions say nothing", GOOD_QUOTE, {"conditions": 0x1C0}, IN_SESSION | FEATURES | LIT | DECIDES),
]


@pytest.mark.parametrize(("row", "change", "bits"), [c[1:] for c in BITS], ids=[c[0] for c in BITS])
def test_bits_say_what_a_tick_may_be_used_for(made, row, change, bits):
    gated, _, _ = gate(made.place_of(), {**row, **change})
    assert gated.gate[0] == bits


def test_session_is_half_open_and_warm_up_does_not_decide(made):
    start, length = made.START + 200 * MS, 100 * MS
    times = [start - 1, start, start + length - 1, start + length, start + length + 300 * MS - 1, start + length + 300 * MS]
    gated, _, _ = gate(
        made.place_of(length), *[{**GOOD_TRADE, "seq": n, "ts_ns": t} for n, t in enumerate(times)], decide_from_ns=start + length
    )
    assert [bool(g & IN_SESSION) for g in gated.gate] == [False, True, True, False, False, True]
    assert [bool(g & DECIDES) for g in gated.gate] == [False, False, False, True, True, True]
    assert not gated.gate[0] & (FEATURES | FILLS)


def test_wide_quotes_before_the_session_are_no_outliers_and_leave_no_trace(made):
    start = made.START + 200 * MS
    rows = [{**GOOD_QUOTE, "seq": n, "ts_ns": made.START + n, "ask": 1002 + 3000 * (n % 2)} for n in range(20)]
    gated, _, state = gate(made.place_of(100 * MS), *rows, {**GOOD_QUOTE, "seq": 99, "ts_ns": start})
    assert gated.rows == ()
    assert state["track"][1, 0, 0] == 2002


def test_new_session_and_corporate_action_start_the_price_anew(made):
    start = made.START + 200 * MS
    yesterday = {**GOOD_TRADE, "ts_ns": start}
    assert reasons(gate(made.place_of(100 * MS), yesterday, {**yesterday, "seq": 1, "price": 2000})[0]) == ["OUTLIER_PERCENT"]
    assert reasons(gate(made.place_of(100 * MS), yesterday, {**yesterday, "seq": 1, "price": 2000, "ts_ns": start + 400 * MS})[0]) == []
    assert reasons(gate(made.place_of(100 * MS), yesterday, {**yesterday, "seq": 1, "price": 500, "flags": FLAG_CORPORATE_ACTION})[0]) == []


@pytest.mark.parametrize("at_ms", [500, 503])
def test_a_split_of_the_list_inside_a_session_is_no_outlier(made, at_ms):
    """Quotes and prints of BBB at a quarter of the price from 500 ms after the start on; an action 3 ms late lets the first few be one."""
    place = made.place_of()
    act = CorporateAction(symbol="BBB", ts_ns=made.START + at_ms * MS, kind="split", numerator=4)
    acting = replace(place, instruments=place.instruments.with_actions([act]))
    rows = []
    for n in range(20):
        price = {"price": 1000, "ask": 1002} if n < 10 else {"price": 250, "ask": 251}
        rows.append({**(GOOD_QUOTE if n % 2 else GOOD_TRADE), "seq": n, "ts_ns": made.START + (490 + n) * MS, "price": price["price"]})
        if n % 2:
            rows[-1]["ask"] = price["ask"]
    assert set(reasons(gate(place, *rows)[0])) == {"OUTLIER_PERCENT"}
    assert len(reasons(gate(acting, *rows)[0])) == max(0, at_ms - 500)


def test_a_confirmed_level_is_accepted_a_flicker_is_not(made):
    rows = [{**GOOD_TRADE, "seq": n, "price": p} for n, p in enumerate([1000, 2000, 2001, 1999, 2000, 2010])]
    assert reasons(gate(made.place_of(), *rows)[0]) == ["OUTLIER_PERCENT"] * 3
    flicker = [{**GOOD_TRADE, "seq": n, "price": p} for n, p in enumerate([1000, 2000, 500, 2000, 500, 1000, 2000, 2000, 1000, 2000, 2000])]
    assert reasons(gate(made.place_of(), *flicker)[0]) == ["OUTLIER_PERCENT"] * 8


def test_quotes_and_trades_are_judged_apart(made):
    gated, _, _ = gate(made.place_of(), GOOD_QUOTE, {**GOOD_TRADE, "seq": 1, "price": 3000})
    assert gated.rows == ()


def reference_outliers(prices, window, factor, floor2, bps, percent, confirmations):
    """The stated rule, slowly, on doubled prices; 0 passed, 1 MAD, 2 percent."""
    last, kept, run, level, out = 0, [], 0, 0, []
    for x in prices:
        if last == 0:
            last, kept, out = x, [x], [*out, 0]
            continue
        floor = max(floor2, last * bps // 10_000)
        verdict = 0
        if abs(x - last) * 100 > last * percent and abs(x - last) > floor2:
            verdict = 2
        elif abs(x - last) > floor and len(kept) >= 5:
            ordered = sorted(kept)
            median = ordered[len(ordered) // 2]
            mad = sorted(abs(y - median) for y in kept)[len(kept) // 2]
            if abs(x - median) > max(floor, factor * mad):
                verdict = 1
        out.append(verdict)
        if verdict == 0:
            last, kept, run = x, [*kept, x][-window:], 0
            continue
        near = run > 0 and (x > last) == (level > last) and abs(x - level) <= max(floor, abs(level - last) // 4)
        run, level = (run + 1 if near else 1), x
        if run >= confirmations:
            last, kept, run = x, [x], 0
    return out


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), window=st.sampled_from([5, 9, 63]), confirmations=st.integers(1, 4), jump=st.integers(1, 2000))
def test_outliers_follow_the_stated_rule(made, seed, window, confirmations, jump):
    rng = np.random.default_rng(seed)
    prices = 10_000 + np.cumsum(rng.integers(-3, 4, 300)) + np.where(rng.random(300) < 0.2, rng.integers(-jump, jump + 1, 300), 0)
    prices[150:] += jump
    place = made.place_of(
        gate={"mad_window": window, "outlier_confirmations": confirmations, "mad_floor_ticks": 3, "mad_factor": 4, "mad_floor_bps": 5}
    )
    gated, _, _ = gate(place, *[{**GOOD_TRADE, "seq": n, "price": p} for n, p in enumerate(prices)])
    expected = reference_outliers([2 * int(p) for p in prices], window, 4, 6, 5, 10, confirmations)
    want = [{1: "OUTLIER_MAD", 2: "OUTLIER_PERCENT"}[v] for v in expected if v]
    assert reasons(gated) == want
    assert len(gated.ticks) == expected.count(0)


@given(st.lists(st.integers(-(2**48), 2**48), min_size=1, max_size=255), st.integers(0, 254))
def test_selection_and_median_are_those_of_sorting(values, k):
    k %= len(values)
    assert select(np.array(values, np.int64), len(values), k) == sorted(values)[k]
    median, mad = median_and_mad(np.array([[values]], np.int64), 0, 0, len(values), np.empty(255, np.int64))
    assert median == statistics.median_high(values)
    assert mad == statistics.median_high(abs(v - median) for v in values)


@settings(max_examples=40, deadline=None)
@given(data=st.binary(min_size=72, max_size=72 * 40))
def test_any_bytes_are_judged_and_nothing_is_lost(made, data):
    ticks = np.frombuffer(data[: len(data) // 72 * 72], TICK_V1)
    stage = QualityStage(made.place_of())
    _, (gated, _) = stage.step(stage.start(), (0, 1, ticks, np.zeros(len(ticks), np.int64)))
    records = [r.tobytes() for r in gated.ticks] + [r.tobytes() for rows in gated.rows for r in rows.a["record"]]
    assert sorted(records) == sorted(t.tobytes() for t in ticks)


def test_score_falls_with_refusals_gaps_and_lateness_and_only_there(made):
    rows = [{**GOOD_TRADE, "symbol": s, "seq": n} for n in range(600) for s in range(4)]
    for row in rows:
        if row["symbol"] == 1:
            row["gap"] = 1
        if row["symbol"] == 2 and row["seq"] % 2:
            row["size"] = 0
        if row["symbol"] == 3:
            row["late_ns"] = 10**9
    gated, _, state = gate(made.place_of(), *rows)
    assert gated.late == 600
    _, (last, _) = QualityStage(made.place_of()).step(state, (10, END, ticks_of(), np.zeros(0, np.int64)))
    told = np.concatenate([r.a for r in last.rows if r.table == "quality"])
    fall = 1.0 - (1023 / 1024) ** 600  # 0.443
    assert told["score_e6"] / 1e6 == pytest.approx([1.0, 1 - fall / 2, 1 - fall / 2, 1 - fall], abs=2e-3)
    means = {name: (told[f"{name}_e6"] < 10**6).tolist() for name in ("completeness", "validity", "timeliness")}
    assert [means["completeness"][1], means["validity"][2], means["timeliness"][3]] == [True] * 3
    assert sum(sum(fell) for fell in means.values()) == 3
    assert [told[name].tolist() for name in ("read", "dead", "late", "missing")] == [
        [600] * 4,
        [0, 0, 300, 0],
        [0, 0, 0, 600],
        [0, 600, 0, 0],
    ]


def told_rows(place, ticks, slices, ends):
    """The rows of `quality` by symbol, the ticks given in ranges that end before the slices `ends`, the last of all at END."""
    stage = QualityStage(place)
    state, lo, rows = stage.start(), int(slices[0]), {}
    for hi in (*ends, END):
        a, b = np.searchsorted(slices, [lo, hi])
        state, (gated, _) = stage.step(state, (lo, hi, ticks[a:b], slices[a:b]))
        for r in gated.rows:
            if r.table == "quality":
                rows.setdefault(r.key, []).extend(r.a.tolist())
        lo = hi
    return rows


@given(cuts=st.lists(st.integers(1, 40_000), max_size=6, unique=True), seed=st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_rows_of_quality_are_the_same_however_ranges_are_cut_and_count_every_tick_once(made, cuts, seed):
    place = made.place_of()
    rng = np.random.default_rng(seed)
    slices = np.sort(rng.integers(0, 40_000, 300))  # of 1 ms: four periods
    ticks = ticks_of(*({**GOOD_TRADE, "seq": i, "symbol": int(rng.integers(0, 2)), "gap": int(rng.random() < 0.1)} for i in range(300)))
    ticks["ts_ns"] = slices * MS
    ticks["late_ns"] = (rng.random(300) < 0.1) * MS
    ticks["size"] = rng.random(300) > 0.1
    whole = told_rows(place, ticks, slices, [])
    assert told_rows(place, ticks, slices, sorted(cuts)) == whole
    for symbol, key in enumerate(("AAA", "BBB")):
        mine, a = ticks["symbol"] == symbol, np.array(whole[key], QUALITY)
        periods = slices[mine] // 10_000
        assert a["n"].tolist() == list(range(a.size))
        assert a["read"].tolist() == np.unique(periods, return_counts=True)[1].tolist()
        assert a["ts_ns"].tolist() == ((np.unique(periods) + 1) * 10 * 10**9).tolist()
        assert a["slice"].tolist() == (np.unique(periods) * 10_000 + 9_999).tolist()
        passed = ticks["size"][mine] > 0
        assert (a["dead"].sum(), a["missing"].sum()) == ((~passed).sum(), ticks["gap"][mine][passed].sum())
        assert a["late"].sum() == (ticks["late_ns"][mine] > 0).sum()


def test_a_row_of_quality_leaves_when_its_ten_seconds_are_over_though_no_tick_follows(made):
    stage = QualityStage(made.place_of())
    first = ticks_of({**GOOD_TRADE, "ts_ns": 0})
    state, (gated, _) = stage.step(stage.start(), (0, 9_999, first, np.zeros(1, np.int64)))
    assert gated.rows == ()
    state, (gated, _) = stage.step(state, (9_999, 10_000, first[:0], np.zeros(0, np.int64)))
    assert [(r.table, r.key, r.a["read"].tolist()) for r in gated.rows] == [("quality", "BBB", [1])]
    assert stage.step(state, (10_000, END, first[:0], np.zeros(0, np.int64)))[1][0].rows == ()


def test_a_state_of_version_1_goes_on_and_tells_what_comes_from_then_on(made):
    """As version 1 left it: with `gaps`, and nothing of what is told."""
    stage = QualityStage(made.place_of())
    state, _ = stage.step(stage.start(), (0, 1, ticks_of({**GOOD_TRADE, "ts_ns": 0, "size": 0}), np.zeros(1, np.int64)))
    old = {name: value for name, value in state.items() if name not in ("tally", "period", "quality_n")}
    migrated = stage.migrations[1]({**old, "gaps": np.zeros(len(old["score"]), np.int64)})
    assert migrated.keys() == stage.start().keys()
    _, (gated, _) = stage.step(migrated, (1, END, ticks_of({**GOOD_TRADE, "ts_ns": MS}), np.ones(1, np.int64)))
    (row,) = (r.a for r in gated.rows if r.table == "quality")
    assert (row["read"].tolist(), row["dead"].tolist(), row["n"].tolist()) == ([1], [0], [0])
    assert row["validity_e6"].tolist() == [10**6 - 976], "the means are those of before: one of two ticks was refused, then one passed"


def test_lead_series_have_an_entry_at_each_change_known_at_its_slice(made):
    place = made.place_of()
    base = {**GOOD_TRADE, "symbol": 0}
    quotes = [{**GOOD_QUOTE, "seq": 0}, {**GOOD_QUOTE, "seq": 1, "size": 9}, {**GOOD_QUOTE, "seq": 2, "ask": 1003}]
    ticks = ticks_of(
        base, {**base, "seq": 1}, {**base, "seq": 2, "price": 1001}, {**base, "seq": 3, "price": 1002, "venue": ord("D")}, *quotes
    )
    slices = np.array([0, 0, 0, 0, 3, 3, 4])
    stage = QualityStage(place)
    state, (_, leads) = stage.step(stage.start(), (0, 5, ticks, slices))
    assert [s.symbol for s in leads] == [0, 1]
    assert list(leads[0].price2) == [2000, 2002]
    assert list(leads[0].ts_ns) == [50, 50]
    assert list(leads[1].price2) == [2002, 2003]
    assert list(leads[1].ts_ns) == [3 * MS, 4 * MS]
    assert list(leads[1].slices) == [3, 4]
    _, (gated, empty) = stage.step(state, (5, 9, ticks[:0], slices[:0]))
    assert [len(s.ts_ns) for s in empty] == [0, 0]
    assert (gated.read, gated.lo, gated.hi) == (0, 5, 9)


def test_a_shard_knows_only_its_own_symbols():
    instruments = InstrumentList(
        instruments=tuple(Instrument(symbol=s, price_exponent=2, size_exponent=0, tick_size=1, lot_size=1) for s in ("A", "B", "C", "D"))
    )
    places = shard_places(instruments, Settings(shards=2))
    assert len(places) == 2
    rows = [{**GOOD_TRADE, "symbol": s} for s in range(4)]
    for place in places.values():
        gated, _, _ = gate(place, *rows)
        assert sorted(gated.ticks["symbol"]) == sorted(place.symbols)
        assert set(reasons(gated)) == {"UNKNOWN_SYMBOL"}


def test_an_even_window_is_a_usage_error_that_names_the_setting():
    with pytest.raises(UsageError, match=r"gate\.mad_window.*odd number.*64"):
        load_settings(overrides=["gate.mad_window=64"], env={})


def test_a_leader_that_is_only_read_along_decides_nothing() -> None:
    """`--symbols` chooses a follower: its leader passes the gate without the bit that lets it decide."""
    chosen = load_settings(None, (), {}, {"replay.symbols": ("FOLLOWER",)})
    listed = InstrumentList(
        instruments=(
            Instrument(symbol="FOLLOWER", price_exponent=2, size_exponent=0, tick_size=1, lot_size=1, leader="LEADER"),
            Instrument(symbol="LEADER", price_exponent=2, size_exponent=0, tick_size=1, lot_size=1),
        )
    )
    bits = {}
    for place in shard_places(listed, chosen).values():
        stage = QualityStage(place)
        for symbol in place.symbols:
            ticks = np.zeros(1, TICK_V1)
            ticks["symbol"], ticks["kind"], ticks["ts_ns"] = symbol, QUOTE, 1
            ticks["price"], ticks["ask"], ticks["size"], ticks["ask_size"] = 100, 101, 5, 5
            _, (gated, _) = stage.step(stage.start(), (0, 1, ticks, np.zeros(1, np.int64)))
            bits[listed.symbols[symbol]] = bool(gated.gate[0] & DECIDES)
    assert bits == {"FOLLOWER": True, "LEADER": False}
