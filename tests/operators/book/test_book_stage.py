"""Book and venue apart say what the account says that has both, whatever is cut where, delivered when, and crashes."""

from __future__ import annotations

import numpy as np
import pytest

from operators.book import AccountStage, BookStage
from operators.timeline.aligner import NOTHING_SENT
from schemas.errors import InstrumentError, StateMismatchError
from schemas.order_wire import BookTurn, VenueTurn
from schemas.orders import EXECUTION_REPORT
from schemas.ticks import END
from tests.operators.book.lockstep import run_apart, written
from tests.operators.book.test_driver import VARIANTS, hash_of


def together(market, begin=None):
    stage = AccountStage(market.instruments, market.settings, market.shards)
    state, rows = stage.start(), []
    for x in market.outs():
        if begin is not None:
            x = tuple(market.out(o.shard, begin, o.hi) for o in x)
        state, made = stage.step(state, x)
        rows += made
    return written(rows, stage.summary(state))


def assert_same(got, want):
    assert set(got) == set(want)
    for key in want:
        assert got[key] == want[key], key


@pytest.mark.parametrize("variant", VARIANTS)
def test_apart_equals_together(random_market, variant):
    market = random_market(seed=hash_of(variant), **VARIANTS[variant])
    want = together(market)
    assert len(want) >= 9
    for seed, cuts in ((1, 0), (2, 25), (3, 300)):
        got, told = run_apart(market, np.random.default_rng(seed), cuts=cuts)
        assert_same(got, want)
        assert len(told.requests) > 10


@pytest.mark.parametrize("variant", ["default", "market entries, fast exits", "sessions", "feed delay of three slices and a bit", "kill"])
@pytest.mark.parametrize("exact", [True, False], ids=["sent once", "sent again"])
def test_crashes_change_nothing(random_market, variant, exact):
    market = random_market(seed=hash_of(variant) + 1, **VARIANTS[variant])
    want = together(market)
    crashes = 0
    for seed in range(3):
        got, told = run_apart(market, np.random.default_rng(seed), cuts=60, exact=exact, crash=0.05)
        assert_same(got, want)
        crashes += told.crashes
    assert crashes > 20


def test_the_first_range_of_a_flow_reaches_back_to_the_beginning_of_time(random_market):
    market = random_market(seed=31)
    got, _ = run_apart(market, np.random.default_rng(5), begin=NOTHING_SENT)
    assert_same(got, together(market, NOTHING_SENT))


def test_a_book_with_nothing_at_the_venue_works_ahead_without_hearing_of_it(random_market):
    market = random_market(seed=32, signals_per_s=0.02)
    stage = BookStage(market.instruments, market.settings, market.shards)
    first = int(market.signals["slice"][0])
    _, said = stage.step(stage.start(), market.outs()[0])
    turn = said[-1]
    assert isinstance(turn, BookTurn)
    assert (turn.lo, turn.hi) == (market.first, first + 2)  # and the slice in which the request arrives: nothing is reported before it
    assert turn.decided.tolist() == [first]
    assert len(turn.requests) == 1


def test_rows_of_the_shards_pass_on_while_the_book_waits(random_market):
    market = random_market(seed=33)
    stage = BookStage(market.instruments, market.settings, market.shards)
    state = stage.start()
    passed = 0
    for x in market.outs(range(market.first, market.last, 100)):
        state, said = stage.step(state, x)
        passed += sum(r.a.size for item in said if isinstance(item, tuple) for r in item if r.table == "signals")
    assert state["at"] < market.last
    assert passed == len(market.signals)


def test_a_missing_turn_is_told(random_market):
    market = random_market(seed=34)
    stage = BookStage(market.instruments, market.settings, market.shards)
    state, _ = stage.step(stage.start(), VenueTurn(market.first, market.first + 5))
    state, said = stage.step(state, VenueTurn(market.first - 3, market.first + 4))
    assert said == []
    with pytest.raises(StateMismatchError, match="turns between are missing"):
        stage.step(state, VenueTurn(market.first + 6, market.first + 7))


def test_a_report_that_comes_too_late_is_told(random_market):
    market = random_market(seed=35, signals_per_s=0.02)
    stage = BookStage(market.instruments, market.settings, market.shards)
    state, said = stage.step(stage.start(), market.outs()[0])
    reports = np.zeros(1, EXECUTION_REPORT)
    reports["slice"] = said[-1].hi - 2
    with pytest.raises(StateMismatchError, match="came after"):
        stage.step(state, VenueTurn(market.first, market.last, reports))


def test_symbols_that_the_deployment_does_not_have_are_refused(random_market):
    """Compiled code reads marks by symbol: an id beyond them must not get there."""
    market = random_market(seed=36)
    stage = BookStage(market.instruments, market.settings, market.shards)
    reports = np.zeros(1, EXECUTION_REPORT)
    reports["symbol"], reports["slice"] = 4, market.first
    with pytest.raises(InstrumentError, match="name symbol 4"):
        stage.step(stage.start(), VenueTurn(market.first, market.last, reports))
    x = market.outs()[0]
    x[0].quotes["symbol"][3] = 9
    with pytest.raises(InstrumentError, match="name symbol 9"):
        stage.step(stage.start(), x)


def test_the_end_is_said_once_and_last(random_market):
    market = random_market(seed=37, seconds=20, signals_per_s=0.01)
    market.signals = market.signals[:0]
    stage = BookStage(market.instruments, market.settings, market.shards)
    state, said = stage.step(stage.start(), market.outs()[0])
    assert said[-1].hi == market.last
    state, said = stage.step(state, tuple(market.out(s, market.last, END) for s in market.shards))
    assert [(t.lo, t.hi) for t in said] == [(market.last, END)]
    _, said = stage.step(state, VenueTurn(market.first, END, settled=END))
    assert said == []
