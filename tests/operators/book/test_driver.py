"""The account stage equals a driver that visits every slice, however its input is cut, and never looks ahead."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from operators.book import AccountStage, Report, RowBook, Wish, driver
from operators.book.desk import kept
from operators.book.scan_kernels import ASK, BID, SUSPENDED, close_second, evaluate, revalue
from operators.execution import venue_pass
from operators.timeline.state import copied
from schemas.ranges import CROSSED, IN_SESSION
from schemas.tables import TABLES

W = 100_000_000
ACCOUNT = ("verdicts", "orders", "executions", "positions", "equity")
SESSIONS = [(5, 60), (70, 115)]

VARIANTS = {
    "default": {},
    "market entries, fast exits": {"overrides": ["book.entry=market", "book.holding_s=3", "book.exit_timeout_s=0.7"]},
    "sessions": {"overrides": ["book.flat_before_close_s=10", "book.holding_s=20"], "sessions": SESSIONS},
    "overnight": {"overrides": ["book.hold_overnight=true", "book.flat_before_close_s=0"], "sessions": SESSIONS},
    "corporate actions": {"overrides": ["book.flat_before_close_s=10"], "actions": [(40, (0, 1)), (80.05, (1, 2, 3))]},
    "corporate actions that nothing is left before": {
        "overrides": ["book.hold_overnight=true", "book.flat_before_close_s=0", "book.holding_s=30", "book.entry=market"],
        "signals_per_s": 0.5,
        "sessions": SESSIONS,
        "actions": [(40, (0, 1)), (65.5, (3,)), (80.05, (1, 2, 3))],
    },
    "corporate actions and a feed delay": {
        "overrides": ["book.feed_delay_ms=330", "book.flat_before_close_s=0", "book.entry=market", "book.holding_s=30"],
        "signals_per_s": 0.5,
        "actions": [(40, (0, 1, 2, 3)), (80.05, (0, 1, 2, 3))],
    },
    "kill": {"overrides": ["risk.max_drawdown=0.0004", "book.holding_s=30"], "signals_per_s": 0.5},
    "tight stops": {"overrides": ["risk.stop_spreads=1", "risk.stop_min_ticks=1", "book.entry=market"], "signals_per_s": 0.5},
    "feed delay of three slices and a bit": {"overrides": ["book.feed_delay_ms=330"]},
    "feed delay within a slice": {"overrides": ["book.feed_delay_ms=50"]},
    "touch, no latency": {"overrides": ["venue.fill_rule=touch", "venue.latency_scale=0"]},
    "tight limits": {"overrides": ["risk.max_gross_fraction=0.03", "risk.max_open_orders=3", "risk.max_daily_loss_fraction=0.0003"]},
    "strict": {"overrides": ["profile=strict"]},
}


def tables(rows):
    """Rows of an account by table, each table one array."""
    parts = {t: [r.a for r in rows if r.table == t] for t in TABLES}
    return {t: np.concatenate(p) for t, p in parts.items() if p}


def run(market, cuts=(), stage=None):
    stage = stage or AccountStage(market.instruments, market.settings, market.shards)
    state, rows = stage.start(), []
    for x in market.outs(cuts):
        state, made = stage.step(state, x)
        rows += made
    return state, rows


def naive(market):
    """Every slice in turn: venue, marks in plain Python, decision, second by second."""
    stage = AccountStage(market.instruments, market.settings, market.shards)
    state = stage.start()
    book, pending, leaving = state["book"], [], []
    rows = RowBook(stage.book.key, book["n"])
    desk = stage.book.desk(book, rows)
    seconds = np.empty((4, 6), np.int64)
    for k in range(market.first, market.last):
        outs = [market.out(s, k, k + 1) for s in market.shards]
        work = stage.venue.open(state["venue"], stage.venue.window(k, k + 1, [o.gated for o in outs]))
        for requests in [r for at, r in leaving if at == k]:
            work.submit(requests)
        before2 = book["market"][:, BID] + book["market"][:, ASK]
        for reports in work.run(k + 1):
            pending = sorted(pending + kept(reports, before2[reports["symbol"]].tolist()))
        for q in np.concatenate([o.quotes for o in outs]):
            if q["gate"] & IN_SESSION and not q["gate"] & CROSSED and book["stance"][q["symbol"]] != SUSPENDED:
                book["market"][q["symbol"]] = [q["bid"], q["ask"], q["bid_size"], q["ask_size"], q["ts_ns"]]
        revalue(book["market"], book["weight"], book["money"])
        evaluate(book["money"], k, W)
        wishes = {}
        for g in sorted(np.concatenate([o.signals for o in outs]), key=lambda g: (g["symbol"], g["ts_ns"])):
            wishes[int(g["symbol"])] = Wish(int(g["symbol"]), int(g["action"]), int(g["confidence_e6"]))
        visible = [Report(*r) for r in pending if r[0] <= k]
        pending = pending[len(visible) :]
        requests = stage.book.decide(book, desk, k, list(wishes.values()), visible)
        if len(requests):
            sent = int(requests["sent_ts_ns"][0]) // W
            if sent == k + 1:
                work.submit(requests)
            else:
                leaving.append((sent, requests))
        state["venue"] = work.close()
        made = close_second(book["money"], k + 1, W, seconds, 0)
        rows.equity(seconds[:made], W)
    book["orders"] = desk.close(market.last * W)
    return state, rows.take()


def assert_same_rows(got, want):
    assert set(got) >= {t for t in want if t in ACCOUNT}
    for t in ACCOUNT:
        a, b = got.get(t), want.get(t)
        if b is None:
            assert a is None
            continue
        differ = np.flatnonzero(a[: len(b)] != b[: len(a)])
        assert len(a) == len(b), f"{t}: {len(a)} rows, {len(b)} expected"
        assert not len(differ), f"{t}: first difference at {differ[0]}: {a[differ[0]]} instead of {b[differ[0]]}"


def assert_same_state(a, b, where="state"):
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for k in a:
            assert_same_state(a[k], b[k], f"{where}.{k}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same_state(x, y, f"{where}[{i}]")
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, where
        assert a.tobytes() == b.tobytes(), where
    else:
        assert a == b, where


@pytest.mark.parametrize("variant", VARIANTS)
def test_jumping_from_event_to_event_equals_visiting_every_slice(random_market, variant):
    market = random_market(seed=hash_of(variant), **VARIANTS[variant])
    _, rows = run(market)
    _, want = naive(market)
    got, want = tables(rows), tables(want)
    assert len(want["verdicts"]) > 5
    assert_same_rows(got, want)


@pytest.mark.parametrize("variant", ["kill", "sessions"])
def test_a_walk_with_hardly_any_room_for_rows_and_reports_is_the_same(random_market, variant, monkeypatch):
    market = random_market(seed=hash_of(variant), **VARIANTS[variant])
    state, rows = run(market)
    monkeypatch.setattr(driver, "SECONDS_AT_ONCE", 1)
    for name in ("_DESKS", "_ROWS", "_FOUND"):
        monkeypatch.setattr(venue_pass, name, 1)
    again, few = run(market)
    assert_same_rows(tables(few), tables(rows))
    assert_same_state(again, state)


def hash_of(name):
    return sum(name.encode())


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), variant=st.sampled_from(sorted(VARIANTS)), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_random_markets_and_cuts_equal_visiting_every_slice(random_market, seed, variant, cuts):
    options = dict(VARIANTS[variant], seconds=40, signals_per_s=0.5)
    if "sessions" in options:
        options["sessions"] = [(5, 18), (22, 39)]
    market = random_market(seed=seed, **options)
    _, rows = run(market, [market.first + c for c in cuts])
    assert_same_rows(tables(rows), tables(naive(market)[1]))


@pytest.mark.parametrize("variant", ["default", "sessions", "kill", "feed delay of three slices and a bit"])
def test_cutting_changes_nothing(random_market, variant):
    market = random_market(seed=5, **VARIANTS[variant])
    state, rows = run(market)
    want = tables(rows)
    rng = np.random.default_rng(3)
    for cuts in (rng.integers(market.first, market.last, 7), rng.integers(market.first, market.last, 60), range(market.first, market.last)):
        cut_state, cut_rows = run(market, [int(c) for c in cuts])
        assert_same_rows(tables(cut_rows), want)
        assert_same_state(cut_state, state)


def test_a_stored_state_goes_on_as_if_nothing_had_been(random_market):
    market = random_market(seed=9)
    cuts = [market.first + c for c in (333, 700, 1001)]
    want_state, rows = run(market, cuts)
    stage = AccountStage(market.instruments, market.settings, market.shards)
    state, resumed = stage.start(), []
    for x in market.outs(cuts):
        snapshot = pickle.dumps(copied(state))
        stage.step(copied(state), x)
        fresh = AccountStage(market.instruments, market.settings, market.shards)
        state, made = fresh.step(pickle.loads(snapshot), x)
        resumed += made
    assert_same_rows(tables(resumed), tables(rows))
    assert_same_state(state, want_state)


def test_what_comes_later_never_changes_a_row_of_earlier_slices(random_market):
    market = random_market(seed=11)
    want = tables(run(market)[1])
    for after in (120, 500, 900):
        other = random_market(seed=11)
        k = market.first + after
        later = other.ticks["ts_ns"] // W >= k
        other.ticks["price"][later] += 5000
        other.ticks["ask"][later] += np.where(other.ticks["ask"][later] > 0, 5000, 0)
        other.signals["action"][other.signals["slice"] >= k] *= -1
        got = tables(run(other)[1])
        changed = False
        for t in ACCOUNT:
            a, b = got[t], want[t]
            assert np.array_equal(a[a["slice"] < k], b[b["slice"] < k])
            changed = changed or not np.array_equal(a, b)
        assert changed


def test_ending_early_gives_the_rows_up_to_there(random_market):
    market = random_market(seed=12)
    want = tables(run(market)[1])
    for end in (250, 777):
        short = random_market(seed=12)
        short.last = short.first + end
        got = tables(run(short)[1])
        for t in ACCOUNT:
            assert np.array_equal(got[t], want[t][want[t]["slice"] < short.last])


def test_rows_of_the_shards_pass_through_in_their_order(random_market):
    market = random_market(seed=13)
    x = market.outs()[0]
    stage = AccountStage(market.instruments, market.settings, market.shards)
    _, rows = stage.step(stage.start(), x)
    passed = [r for o in x for r in o.rows]
    assert len(passed) == 4
    assert list(rows[: len(passed)]) == passed


def test_numbers_run_without_gaps(random_market):
    market = random_market(seed=14)
    got = tables(run(market, [market.first + 400])[1])
    for t in ACCOUNT:
        assert np.array_equal(got[t]["n"], np.arange(len(got[t])))
        assert np.all(np.diff(got[t]["slice"]) >= 0)


def test_ranges_that_do_not_follow_are_refused(random_market):
    market = random_market(seed=15, seconds=20)
    stage = AccountStage(market.instruments, market.settings, market.shards)
    a, b, c = market.outs([market.first + 50, market.first + 100])
    state, _ = stage.step(stage.start(), a)
    with pytest.raises(ValueError, match="stands at slice"):
        stage.step(state, c)
    with pytest.raises(ValueError, match="expected one range of slices of each shard"):
        stage.step(state, b[:-1])
