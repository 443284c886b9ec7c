"""Same tape, same orders: the same reports and the same state, however the range is cut, driven or interrupted."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest

from operators.execution import UNKNOWN_EXEC_N, VenueInput, venue_pass
from schemas.orders import ReportKind, visible_slice

W = 100_000_000
SLICES = 60


def same_state(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name]), name


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rule", ["queue", "touch", "trade_through"])
def test_cuts_change_nothing(made_up, seed, rule):
    f = made_up(seed, SLICES, fill_rule=rule)
    whole = f.run(SLICES)
    state = f.state
    assert len(whole) > 40
    rng = np.random.default_rng(seed)
    some = tuple(sorted({int(x) for x in rng.integers(1, SLICES, 5)}))
    for cuts in (some, tuple(range(1, SLICES))):
        assert f.run(SLICES, cuts).tobytes() == whole.tobytes()
        same_state(f.state, state)


@pytest.mark.parametrize("seed", range(3))
def test_a_floor_that_has_to_grow_gives_the_same(made_up, seed, monkeypatch):
    f = made_up(seed, SLICES)
    whole = f.run(SLICES)
    state = f.state
    for name in ("_DESKS", "_ROWS", "_FOUND"):
        monkeypatch.setattr(venue_pass, name, 1)
    assert f.run(SLICES).tobytes() == whole.tobytes()
    same_state(f.state, state)


@pytest.mark.parametrize("seed", range(6))
def test_driving_in_any_strides_changes_nothing(made_up, seed):
    f = made_up(seed, SLICES)
    whole = f.run(SLICES)
    state = f.state
    rng = np.random.default_rng(seed)
    requests = f.all_requests()
    sent = requests["sent_ts_ns"] // W
    work = f.venue.open(f.venue.start(), f.venue.window(0, SLICES, f.gated(0, SLICES)))
    found = []
    while work.at < SLICES:
        coming = sent[sent >= work.at]
        stride = work.at + int(rng.integers(1, 9))
        until = min(stride, int(coming[0]) if len(coming) else SLICES)
        while work.at < until:
            expected, before = work.next_event(until), work.at
            reports = work.run_until_event(until)
            assert before <= expected <= until
            assert set(reports["slice"]) == ({expected} if len(reports) else set())
            assert work.at == (expected + 1 if len(reports) else until)
            found.append(reports)
        work.submit(requests[sent == work.at])
        sent, requests = sent[sent != work.at], requests[sent != work.at]
        if work.at < SLICES:
            found.append(work.run_until_event(work.at + 1))
    assert np.concatenate(found).tobytes() == whole.tobytes()
    same_state(work.close(), state)


@pytest.mark.parametrize("seed", range(6))
def test_acknowledgements_taken_in_passing_are_the_same(made_up, seed):
    f = made_up(seed, SLICES)
    whole = f.run(SLICES)
    state = f.state
    rng = np.random.default_rng(seed)
    requests = f.all_requests()
    sent = requests["sent_ts_ns"] // W
    work = f.venue.open(f.venue.start(), f.venue.window(0, SLICES, f.gated(0, SLICES)), acks_stop=False)
    found, stops = [], 0
    for k in sorted({*sent.tolist(), *rng.integers(1, SLICES, 9).tolist(), SLICES}):
        while work.next_event(k) < k:
            event = work.next_event(k)
            reports = work.run_until_event(k)
            assert work.at == event + 1
            assert (reports["slice"] <= event).all()
            assert set(reports["kind"][reports["slice"] == event]) != {int(ReportKind.ACK)}
            assert set(reports["kind"][reports["slice"] < event]) <= {int(ReportKind.ACK)}
            found.append(reports)
            stops += 1
        passed = work.skip(k)
        assert set(passed["kind"]) <= {int(ReportKind.ACK)}
        found.append(passed)
        work.submit(requests[sent == k])
    reports = np.concatenate(found)
    reports = reports[np.lexsort((reports["exec_n"], reports["order_n"], reports["account"], reports["ts_ns"]))]
    assert reports.tobytes() == whole.tobytes()
    assert stops < len(np.unique(whole["slice"]))
    same_state(work.close(), state)


def test_an_event_found_far_ahead_stays_where_it_is_when_another_symbol_changes(floor):
    f = floor({"A": {}, "B": {}})
    for symbol in (0, 1):
        f.quote(10, 1000, 100, 1002, 60, symbol=symbol)
    f.buy(0, 0, 10, 990)
    f.trade(400 * W + 5, 980, 10)  # fills it in slice 400
    f.buy(1, 2, 10, 990, symbol=1)
    requests = f.all_requests()
    work = f.venue.open(f.venue.start(), f.venue.window(0, 500, f.gated(0, 500)))
    work.submit(requests[:1])
    assert work.run_until_event(500)["slice"].tolist() == [0]
    assert work.next_event(500) == 400
    assert len(work.run_until_event(2)) == 0
    work.submit(requests[1:])
    assert work.run_until_event(3)["slice"].tolist() == [2]
    assert work.next_event(50) == 50
    assert work.next_event(399) == 399
    assert set(work.run_until_event(500)["slice"]) == {400}


def test_events_of_several_symbols_in_one_slice_come_together(floor):
    f = floor({"A": {}, "B": {}, "C": {}})
    for symbol in (0, 1, 2):
        f.quote(10, 1000, 100, 1002, 60, symbol=symbol)
        f.buy(symbol, 0, 10, 990, symbol=symbol)
        f.trade(400 * W + 5 - symbol, 980, 10, symbol=symbol)
    work = f.venue.open(f.venue.start(), f.venue.window(0, 500, f.gated(0, 500)))
    work.submit(f.all_requests())
    assert work.run_until_event(1)["order_n"].tolist() == [0, 1, 2]
    last = work.run_until_event(500)
    assert list(dict.fromkeys(last["order_n"].tolist())) == [2, 1, 0]  # by time
    assert work.at == 401


@pytest.mark.parametrize("seed", range(3))
def test_requests_sent_at_the_end_of_a_window_equal_those_at_the_start_of_the_next(made_up, seed):
    f = made_up(seed, SLICES)
    whole = f.run(SLICES)
    requests = f.all_requests()
    sent = requests["sent_ts_ns"] // W
    state, found = f.venue.start(), []
    for lo, hi in pairwise((0, 7, 8, 25, 40, SLICES)):
        work = f.venue.open(state, f.venue.window(lo, hi, f.gated(lo, hi)))
        for k in range(lo + 1, hi + 1):
            found += work.run(k)
            work.submit(requests[sent == k])
        state = work.close()
    assert np.concatenate(found).tobytes() == whole.tobytes()
    same_state(state, f.state)


@pytest.mark.parametrize("seed", [1, 2])
def test_snapshot_and_resume(made_up, seed):
    f = made_up(seed, SLICES)
    whole = f.run(SLICES)
    state, first = f.venue.step(f.venue.start(), f.input(0, 31))
    thawed = pickle.loads(pickle.dumps(state))
    other = made_up(seed, SLICES)
    end, second = other.venue.step(thawed, other.input(31, SLICES))
    assert np.concatenate([first, second]).tobytes() == whole.tobytes()
    same_state(end, f.state)


@pytest.mark.parametrize("seed", range(4))
def test_reports_are_numbered_ordered_and_never_early(made_up, seed):
    f = made_up(seed, SLICES)
    r = f.run(SLICES)
    arrivals = {}
    for q in f.all_requests():
        arrivals.setdefault((int(q["account"]), int(q["order_n"])), int(q["sent_ts_ns"]))
    for account, n in {(int(x["account"]), int(x["order_n"])) for x in r}:
        own = r[(r["account"] == account) & (r["order_n"] == n)]
        numbers = [int(x) for x in own["exec_n"] if x != UNKNOWN_EXEC_N]
        assert numbers == list(range(len(numbers)))
        assert (np.diff(own["ts_ns"]) >= 0).all()
        assert (np.diff(own["known_ts_ns"]) >= 0).all()
        assert (own["ts_ns"] > arrivals[account, n]).all()
    assert (r["known_ts_ns"] > r["ts_ns"]).all()
    assert (r["slice"] == r["ts_ns"] // W).all()
    assert (np.diff(r["slice"]) >= 0).all()
    assert [int(x["visible"]) for x in r] == [visible_slice(int(x["slice"]), int(x["known_ts_ns"]), W) for x in r]


@pytest.mark.parametrize("seed", range(4))
def test_nothing_after_a_time_changes_what_was_reported_before(made_up, seed):
    f = made_up(seed, SLICES)
    whole = f.run(SLICES)
    for cut in (15, 33):
        early = f.run(cut)
        assert early.tobytes() == whole[whole["slice"] < cut].tobytes()
    for i, row in enumerate(f.rows):
        if row[0] >= 33 * W:
            f.rows[i] = (*row[:3], row[3] + 7, *row[4:])
    changed = f.run(SLICES)
    assert changed[changed["slice"] < 33].tobytes() == whole[whole["slice"] < 33].tobytes()


def test_symbols_without_live_orders_are_never_read(made_up):
    f = made_up(3, SLICES, orders=False)
    f.buy(0, 1, 5, 1990, symbol=1)
    window = f.venue.window(0, SLICES, f.gated(0, SLICES))
    read = []
    of = window.of
    window.of = lambda symbol: read.append(symbol) or of(symbol)
    work = f.venue.open(f.venue.start(), window)
    work.run(1)
    work.submit(f.all_requests())
    work.run(SLICES)
    work.close()
    assert set(read) == {1}


def test_ranges_must_follow_each_other(made_up):
    f = made_up(1, SLICES)
    state, _ = f.venue.step(f.venue.start(), f.input(0, 10))
    with pytest.raises(ValueError, match="stands at slice 10, the window begins at 20"):
        f.venue.step(state, f.input(20, 30))
    with pytest.raises(ValueError, match="only been run to 0"):
        f.venue.open(f.venue.start(), f.venue.window(0, 5, ())).close()
    with pytest.raises(ValueError, match="must be sent in slices"):
        f.venue.step(f.venue.start(), VenueInput(0, 3, (), f.all_requests()))
    with pytest.raises(ValueError, match="do not belong to the window"):
        f.venue.window(0, 5, f.gated(0, 6))


def test_more_reports_than_room_are_all_reported(floor, fills):
    f = floor()
    f.quote(10, 1000, 5, 1002, 5)
    for n in range(100):
        f.buy(n, 1, 100)
    r = f.run(3)
    assert sum(x[3] for x in fills(r)) == 10_000
    assert len(r) > 2048
