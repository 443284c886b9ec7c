"""The venue as a process of its own, by itself: what it waits for, what it refuses, when it says that all is settled."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from operators.execution import VenueStage
from operators.timeline.state import copied
from schemas.errors import InstrumentError, StateMismatchError
from schemas.order_wire import UNSETTLED, BookTurn
from schemas.orders import ORDER_REQUEST, Operation, ReportKind, TimeInForce
from schemas.ranges import GatedRange
from schemas.tables import OrderType, Side
from schemas.ticks import END
from tests.operators.book.conftest import W, make_market


@pytest.fixture
def market():
    return make_market(seed=3, symbols=2, seconds=20, overrides=["venue.latency_scale=0"])


def gated(market, lo, hi):
    found = [market.out(s, lo, min(hi, market.last)).gated for s in market.shards]
    return tuple(GatedRange(g.shard, lo, hi, g.ticks, g.slices, g.gate, (), g.read, 0) for g in found)


def turn(lo, hi, *decided, op=Operation.NEW, n=0, symbol=0):
    requests = np.zeros(len(decided), ORDER_REQUEST)
    for i, (r, k) in enumerate(zip(requests, decided, strict=True)):
        r["order_n"], r["sent_ts_ns"], r["quantity"], r["symbol"] = n + i, (k + 1) * W, 100, symbol
        r["op"], r["type"], r["side"], r["time_in_force"] = op, OrderType.MARKET, Side.BUY, TimeInForce.DAY
    return BookTurn(lo, hi, requests, np.array(decided, np.int64))


def stage_of(market):
    return VenueStage(market.instruments, market.settings, market.shards)


def test_it_works_one_slice_beyond_what_it_heard_of(market):
    stage, k = stage_of(market), market.first
    state, said = stage.step(stage.start(), gated(market, k, k + 100))
    assert said == []
    state, said = stage.step(state, BookTurn(k, k + 10))
    assert [(t.lo, t.hi) for t in said] == [(k, k + 11)]
    state, said = stage.step(state, BookTurn(k + 10, k + 30))
    assert [(t.lo, t.hi) for t in said] == [(k + 11, k + 31)]
    state, said = stage.step(state, BookTurn(k + 30, k + 500))
    assert [(t.lo, t.hi) for t in said] == [(k + 31, k + 100)]


def test_settled_is_said_once_nothing_can_come_any_more(market):
    stage, k = stage_of(market), market.first
    market.ticks = market.ticks[(market.ticks["symbol"] != 0) | (market.ticks["ts_ns"] >= (k + 40) * W)]  # nothing to take before
    market.gate = market.gate[: len(market.ticks)]
    state, _ = stage.step(stage.start(), gated(market, k, market.last))
    state, said = stage.step(state, BookTurn(k, k + 10))
    assert said[0].settled == k + 10
    state, said = stage.step(state, turn(k + 10, k + 11, k + 10))
    assert said[0].settled == UNSETTLED
    state, said = stage.step(state, BookTurn(k + 11, k + 30))
    assert said[0].settled == UNSETTLED
    state, said = stage.step(state, BookTurn(k + 30, k + 60))
    assert ReportKind.FILL in said[0].reports["kind"]
    assert said[0].settled == k + 60
    state, said = stage.step(state, turn(k + 60, k + 61, k + 60, op=Operation.CANCEL))  # the order is over: refused on arrival
    assert said[0].reports["kind"].tolist() == [ReportKind.CANCEL_REJECTED]
    assert said[0].settled == k + 61


def test_a_request_that_leaves_later_than_it_was_decided_waits(market):
    """As with a feed delay: the turn tells of it, the venue holds it until its slice."""
    stage, k = stage_of(market), market.first
    late = turn(k, k + 20, k + 5)
    late.requests["sent_ts_ns"] = (k + 40) * W
    state, _ = stage.step(stage.start(), gated(market, k, market.last))
    state, said = stage.step(state, late)
    assert said[0].settled == UNSETTLED
    assert len(state["requests"]) == 1
    state, said = stage.step(state, BookTurn(k + 20, k + 60))
    assert len(state["requests"]) == 0
    assert said[0].reports["slice"].min() >= k + 40


def test_what_was_heard_before_is_left_out_and_what_straddles_is_cut(market):
    stage, k = stage_of(market), market.first
    state, _ = stage.step(stage.start(), gated(market, k, market.last))
    first = turn(k, k + 20, k + 5)
    state, _ = stage.step(state, first)
    before = pickle.dumps(copied(state))
    state, said = stage.step(state, first)
    assert said == []
    assert pickle.dumps(copied(state)) == before
    state, said = stage.step(state, turn(k + 10, k + 30, k + 15, k + 25, n=1))
    assert state["heard"] == k + 30
    assert said[0].lo == k + 21
    assert int(state["venue"]["next_order"][0]) == 3  # the order decided at k + 25; the one at k + 15 was heard of before


def test_a_missing_turn_and_a_request_of_the_past_are_told(market):
    stage, k = stage_of(market), market.first
    state, _ = stage.step(stage.start(), gated(market, k, market.last))
    state, _ = stage.step(state, BookTurn(k, k + 20))
    with pytest.raises(StateMismatchError, match="turns between are missing"):
        stage.step(state, BookTurn(k + 21, k + 22))
    past = turn(k + 20, k + 30, k + 22)
    past.requests["sent_ts_ns"] = (k + 3) * W
    with pytest.raises(StateMismatchError, match="came after slice"):
        stage.step(state, past)


def test_ranges_that_do_not_follow_and_unknown_instruments_are_refused(market):
    stage, k = stage_of(market), market.first
    state, _ = stage.step(stage.start(), gated(market, k, k + 10))
    with pytest.raises(ValueError, match="has ticks up to slice"):
        stage.step(state, gated(market, k + 11, k + 20))
    with pytest.raises(ValueError, match="expected one range of slices of each shard"):
        stage.step(state, gated(market, k + 10, k + 20)[:1])
    with pytest.raises(InstrumentError, match="no instrument has the id 7"):
        stage.step(state, turn(k, k + 9, k + 2, symbol=7))


def test_the_end_is_said_when_everything_before_is_through(market):
    stage, k = stage_of(market), market.first
    state, _ = stage.step(stage.start(), gated(market, k, market.last))
    state, said = stage.step(state, gated(market, market.last, END))
    assert said == []
    state, said = stage.step(state, BookTurn(k, market.last - 1))
    assert [(t.lo, t.hi, t.settled) for t in said] == [(k, END, END)]
    _, said = stage.step(state, BookTurn(market.last - 1, END))
    assert said == []
