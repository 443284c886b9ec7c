"""Book and venue as steps of flows: fed with what the other said, in whatever order the engine merges it, they say the same."""

from __future__ import annotations

import itertools
from datetime import timedelta

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from bytewax.testing import TestingSink, TestingSource

from operators.book import AccountStage, BookStage
from operators.book.operator import account, book
from operators.execution import VenueStage
from operators.execution.operator import VENUE_KEY, venue
from operators.timeline.control import Credit, Meters
from schemas.control import Accepted
from schemas.order_wire import BookTurn, VenueTurn, decode_book_turn, decode_venue_turn
from schemas.ranges import OWN, SliceOut
from schemas.ticks import END, shard_key
from tests.operators.book.lockstep import run_apart, written
from tests.operators.book.test_book_stage import assert_same, together


@pytest.fixture
def market(random_market):
    return random_market(seed=41, seconds=40, signals_per_s=0.4)


def outs(market, batch):
    """(shard key, SliceOut without ticks), each shard by its own cuts, and the END."""
    items = []
    for s in market.shards:
        bounds = [*range(market.first, market.last, batch + s), market.last, END]
        for lo, hi in itertools.pairwise(bounds):
            o = market.out(s, lo, min(hi, market.last))
            items.append((lo, (shard_key(s), SliceOut(s, lo, hi, o.signals, o.quotes, o.rows, None))))
    return [item for _, item in sorted(items, key=lambda x: x[0])]


def collected(found):
    rows = [r for item in found if isinstance(item, tuple) for r in item]
    return rows, [item for item in found if not isinstance(item, tuple)]


@pytest.mark.parametrize(("batch", "workers"), [(7, 1), (50, 2)])
def test_a_flow_of_the_book_says_what_the_stages_say(market, batch, workers):
    want, told = run_apart(market, np.random.default_rng(1))
    credit, logics, found = Credit(10), {}, []
    flow = Dataflow("made")
    slices = op.input("slices", flow, TestingSource(outs(market, batch), 3))
    turns = [("venue", decode_venue_turn(m)) for m in told.reports]
    reports = op.input("reports", flow, TestingSource(turns, 2))
    stage = BookStage(market.instruments, market.settings, market.shards)
    said = book("book", slices, reports, None, "main", market.shards, lambda _: stage, credit, Meters(), logics)
    op.output("out", op.map("value", said, lambda item: item[1]), TestingSink(found))
    cli_main(flow, workers_per_process=workers)
    rows, turns = collected(found)
    assert_same(written(rows, stage.summary(logics["main"].state)), want)
    assert all(isinstance(t, BookTurn) for t in turns)
    assert b"".join(t.requests.tobytes() for t in turns) == b"".join(decode_book_turn(m).requests.tobytes() for m in told.requests)
    assert turns[-1].hi == END
    assert credit.may_send(0, END)


def test_a_flow_of_the_venue_says_what_the_stages_say(market):
    _, told = run_apart(market, np.random.default_rng(2))
    items = []
    for s in market.shards:
        bounds = [*range(market.first, market.last, 30 + s), market.last, END]
        for lo, hi in itertools.pairwise(bounds):
            g = market.out(s, lo, min(hi, market.last)).gated
            whole = type(g)(s, lo, hi, g.ticks, g.slices, g.gate, (), g.read, 0)
            items.append((lo, (shard_key(s), (shard_key(s), OWN, whole))))
    gated = [item for _, item in sorted(items, key=lambda x: x[0])]
    gated.insert(5, (shard_key(0), (shard_key(0), 3, None)))  # the path of a leading symbol: not the venue's business
    found, flow = [], Dataflow("venue")
    stage = VenueStage(market.instruments, market.settings, market.shards)
    requests = op.input("requests", flow, TestingSource([("main", decode_book_turn(m)) for m in told.requests], 3))
    said = venue("venue", op.input("gated", flow, TestingSource(gated, 4)), requests, lambda _: stage, Credit(10), Meters(), {})
    op.output("out", said, TestingSink(found))
    cli_main(flow)
    assert {key for key, _ in found} == {VENUE_KEY}
    turns = [t for _, t in found]
    assert all(isinstance(t, VenueTurn) for t in turns)
    assert [t.lo for t in turns[1:]] == [t.hi for t in turns[:-1]]
    assert turns[-1].hi == END
    assert b"".join(t.reports.tobytes() for t in turns) == b"".join(decode_venue_turn(m).reports.tobytes() for m in told.reports)


def test_a_flow_of_the_book_goes_on_from_its_recovery_store(market, tmp_path):
    want, told = run_apart(market, np.random.default_rng(3))
    slices, turns = outs(market, 20), [("venue", decode_venue_turn(m)) for m in told.reports]
    for source in (slices, turns):
        for at in (len(source) // 3, 2 * len(source) // 3):
            source.insert(at, TestingSource.EOF())
    init_db_dir(tmp_path, 1)
    found, reached = [], []
    for _ in range(6):
        logics, stage = {}, BookStage(market.instruments, market.settings, market.shards)
        flow = Dataflow("made")
        said = book(
            "book",
            op.input("slices", flow, TestingSource(slices, 5)),
            op.input("reports", flow, TestingSource(turns, 5)),
            None,
            "main",
            market.shards,
            lambda _, stage=stage: stage,
            Credit(10),
            Meters(),
            logics,
        )
        op.output("out", op.map("value", said, lambda item: item[1]), TestingSink(found))
        cli_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(tmp_path))
        reached.append(logics["main"].state["at"] if logics else market.last)
    assert len(set(reached)) > 2
    rows, turns = collected(found)
    assert_same(written(rows, stage.summary(logics["main"].state)), want)
    assert turns[-1].hi == END


def test_control_comes_into_the_accounts_flow_between_ranges(market, command):
    found, flow = [], Dataflow("account")
    items = []
    for x in market.outs(range(market.first, market.last, 20)):
        items += [(shard_key(o.shard), o) for o in x]
    stage = AccountStage(market.instruments, market.settings, market.shards)
    up = op.input("slices", flow, TestingSource(items, 4))
    control = op.input("control", flow, TestingSource([("control", command("pause"))]))
    said = account("account", up, "main", market.shards, lambda _: stage, Credit(10), Meters(), {}, control)
    op.output("out", op.map("value", said, lambda item: item[1]), TestingSink(found))
    cli_main(flow)
    rows, rest = collected(found)
    assert [type(item) for item in rest] == [Accepted]
    changes = [v for r in rows if r.table == "verdicts" for v in r.a if v["symbol"] == 2**32 - 1]
    assert len(changes) == 1
    assert changes[0]["slice"] >= rest[0].slice
    assert written(rows, None) != {**together(market), "summary": None}
