"""Control of an account: accepted between ranges, effective at an exact slice, repeated by a log, the same whatever is cut or crashes."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from operators.book import AccountStage
from operators.book.control import changed_limits
from operators.risk import Mode, RiskRule
from operators.timeline.aligner import NOTHING_SENT
from operators.timeline.state import copied, migrated
from schemas.control import Accepted, Command, ControlLog, Refusal, Refused
from schemas.errors import StateMismatchError, UsageError
from schemas.messages import ControlMessage
from schemas.tables import NO_SYMBOL, Intent
from tests.operators.book.lockstep import run_apart, written
from tests.operators.book.test_book import Script, entered
from tests.operators.book.test_driver import VARIANTS, assert_same_rows, hash_of, tables

E8 = 10**8


def stage_of(market, *options):
    return AccountStage(market.instruments, market.settings, market.shards, *options)


def run(market, cuts=(), acts=(), log=None, begin=None):
    """Rows and summary; what became of `acts`, (slice, Command), each given as soon as the account stands at its slice or beyond."""
    stage = stage_of(market, *([] if log is None else [log]))
    state, rows, judged, acts = stage.start(), [], [], list(acts)
    for x in market.outs(cuts):
        while acts and x[0].lo >= acts[0][0]:
            state, said = stage.step(state, acts.pop(0)[1])
            judged.append(said)
        if begin is not None and x[0].lo == market.first:
            x = tuple(market.out(o.shard, begin, o.hi) for o in x)
        state, made = stage.step(state, x)
        rows += made
    return written(rows, stage.summary(state)), judged, rows


def log_of(judged):
    return ControlLog(tuple(a.message for a in judged if isinstance(a, Accepted)))


@pytest.fixture
def session(command):
    """A day of an operator: `session(market) -> [(slice, Command)]`, of which all but the last are accepted."""

    def acts(market):
        first, n = market.first, market.last - market.first
        said = [
            ("change_limit", {"limit": "max_position_fraction", "value": "0.005"}),
            ("pause", {}),
            ("exclude_partition", {"partition": "2"}),
            ("resume", {}),
            ("change_limit", {"limit": "max_open_orders", "value": "5"}),
            ("reduce", {}),
            ("resume", {}),
            ("change_limit", {"limit": "max_drawdown", "value": "0.00001"}),
            ("pause", {}),
            ("pause", {}),
        ]
        return [(first + n * i // 11, command(kind, f"m{min(i, 8)}", **a)) for i, (kind, a) in enumerate(said)]

    return acts


@pytest.mark.parametrize("variant", ["default", "market entries, fast exits", "sessions", "feed delay of three slices and a bit"])
def test_a_replay_with_the_log_equals_the_run_that_accepted_it(random_market, session, variant):
    market = random_market(seed=hash_of(variant), **{"signals_per_s": 0.5, "seconds": 70, **VARIANTS[variant]})
    quiet, _, _ = run(market)
    rng = np.random.default_rng(4)
    for cuts in (
        range(market.first, market.last, 10),
        range(market.first, market.last, 97),
        rng.integers(market.first, market.last, 40).tolist(),
    ):
        live, judged, _ = run(market, cuts, session(market))
        assert [type(j) for j in judged].count(Accepted) == 9
        assert judged[-1].reason is Refusal.REPEATED
        assert live != quiet
        log = log_of(judged)
        for other in ((), range(market.first, market.last), rng.integers(market.first, market.last, 33).tolist()):
            again, _, _ = run(market, other, log=log)
            assert again == live


def test_book_and_venue_apart_obey_like_the_account(random_market, session):
    market = random_market(seed=61, signals_per_s=0.5)
    for seed in (1, 2):
        got, told = run_apart(market, np.random.default_rng(seed), cuts=30, acts=session(market))
        assert got == run(market, log=log_of(told.judged))[0]
        assert len(log_of(told.judged).messages) == 9


@pytest.mark.parametrize("seed", range(4))
def test_crashes_apply_nothing_twice_and_nothing_elsewhere(random_market, session, seed):
    market = random_market(seed=62, signals_per_s=0.5)
    got, told = run_apart(market, np.random.default_rng(seed), cuts=60, acts=session(market), crash=0.05)
    log = log_of(told.judged)
    assert got == run(market, log=log)[0]
    assert len(log.messages) == 9
    assert {j.reason for j in told.judged if isinstance(j, Refused)} == {Refusal.REPEATED}
    assert told.crashes > 5


def test_what_comes_before_the_first_slice_takes_hold_in_the_first_that_says_something(random_market, command):
    market = random_market(seed=63, seconds=30)
    market.ticks, market.gate = (a[market.ticks["ts_ns"] // 10**8 >= market.first + 15] for a in (market.ticks, market.gate))
    market.signals = market.signals[market.signals["slice"] >= market.first + 12]
    for symbol in range(4):
        own = market.signals["symbol"] == symbol
        market.signals["n"][own] = np.arange(np.count_nonzero(own))
    acts = [(market.first, command("pause"))]
    live, judged, rows = run(market, (), acts)
    assert judged[0].slice == 0
    first = min(int(market.ticks["ts_ns"][0]) // 10**8, int(market.signals["slice"][0]))
    change = tables(rows)["verdicts"]
    change = change[change["intent"] == Intent.CHANGE_MODE]
    assert change["slice"].tolist() == [first]
    for cuts in ((), [market.first + 3], range(market.first, market.last)):
        for begin in (None, NOTHING_SENT):
            assert run(market, cuts, log=log_of(judged), begin=begin)[0] == live
            assert run(market, cuts, acts, begin=begin)[0] == live


REFUSED = {
    "signature": (lambda c: c("pause", key="another key, as long"), Refusal.SIGNATURE),
    "deployment": (lambda c: c("pause", deployment="other"), Refusal.SIGNATURE),
    "other account": (lambda c: c("pause", account="second"), Refusal.OTHER_ACCOUNT),
    "arguments": (lambda c: c("pause", limit="max_drawdown"), Refusal.ARGUMENTS),
    "unknown limit": (lambda c: c("change_limit", limit="capital", value="1"), Refusal.ARGUMENTS),
    "limit out of bounds": (lambda c: c("change_limit", limit="max_drawdown", value="1.5"), Refusal.OUT_OF_BOUNDS),
    "no such partition": (lambda c: c("exclude_partition", partition="4"), Refusal.OUT_OF_BOUNDS),
    "partition twice": (lambda c: c("exclude_partition", "again", partition="1"), Refusal.NOT_ALLOWED),
    "resume from emergency": (lambda c: c("resume"), Refusal.NOT_ALLOWED),
    "repeated": (lambda c: c("emergency", "e"), Refusal.REPEATED),
    "no message": (lambda _: Command(b"\xff\0not json"), Refusal.MALFORMED),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_message_changes_nothing(random_market, command, case):
    market = random_market(seed=64, seconds=10)
    stage = stage_of(market)
    state = stage.start()
    for c in (command("emergency", "e"), command("exclude_partition", "x", partition="1")):
        assert isinstance(stage.step(state, c)[1], Accepted)
    before = pickle.dumps(copied(state))
    make, reason = REFUSED[case]
    _, judged = stage.step(state, make(command))
    assert isinstance(judged, Refused)
    assert judged.reason is reason
    assert len(judged.detail) > 10
    assert pickle.dumps(copied(state)) == before


def test_without_a_key_everything_is_refused(random_market, command):
    market = random_market(seed=64, seconds=10, overrides=["control.key="])
    market.settings = market.settings.model_copy(update={"control": type(market.settings.control)()})
    stage = stage_of(market)
    assert stage.step(stage.start(), command("pause"))[1].reason is Refusal.NO_KEY


def test_a_message_for_this_account_or_for_all_is_accepted(random_market, command):
    stage = stage_of(random_market(seed=64, seconds=10))
    state = stage.start()
    for account in (None, "main"):
        assert isinstance(stage.step(state, command("pause", f"for/{account}", account=account))[1], Accepted)


def test_a_changed_limit_sizes_the_next_entry_and_is_recorded_with_old_and_new(random_market, command):
    s = Script(random_market, symbols=2, seconds=30)
    s.steady(0, 30).steady(0, 30, 300_000, 300_200, symbol=1).signal(1.05, 1).signal(10.05, 1, symbol=1)
    change = command("change_limit", limit="max_position_fraction", value="0.01")
    s.run(at=[(5, lambda stage, state: stage.step(state, change))])
    row = s.verdicts[s.verdicts["intent"] == Intent.CHANGE_LIMIT]
    assert (row["rule"][0], row["value_e8"][0], row["limit_e8"][0], row["approved"][0]) == (RiskRule.MAX_POSITION, E8 // 100, E8 // 50, 1)
    assert s.seconds(row) == [5.1]
    assert row["symbol"][0] == NO_SYMBOL
    entries = s.verdicts[np.isin(s.verdicts["intent"], (Intent.ENTER_LONG, Intent.ENTER_SHORT))]
    # 2% of 100,000 at 20.00 are 100 shares; 1% at 30.00 are 33
    assert entries["quantity"].tolist() == [100, 33]


def test_a_lower_drawdown_limit_trips_the_kill_switch_in_its_own_slice(random_market, command):
    s = Script(random_market, "risk.stop_spreads=500", seconds=30)
    entered(s).steady(3.5, 5).steady(5, 30, 194_000, 194_200)
    change = command("change_limit", limit="max_drawdown", value="0.0005")
    s.run(at=[(10, lambda stage, state: stage.step(state, change))])
    rows = s.verdicts[s.verdicts["symbol"] == NO_SYMBOL]
    assert rows["intent"].tolist() == [Intent.CHANGE_LIMIT, Intent.CHANGE_MODE]
    assert (rows["rule"][1], rows["limit_e8"][1]) == (RiskRule.DRAWDOWN, 50_000)
    assert s.seconds(rows) == [10.1, 10.1]
    assert s.summary["mode"] == "emergency"


def test_a_higher_drawdown_limit_keeps_the_kill_switch_from_tripping(random_market, command):
    s = Script(random_market, "risk.stop_spreads=500", "risk.max_drawdown=0.0005", seconds=30)
    entered(s).steady(3.5, 5).steady(5, 30, 194_000, 194_200)
    change = command("change_limit", limit="max_drawdown", value="0.5")
    s.run(at=[(4, lambda stage, state: stage.step(state, change))])
    assert s.summary["mode"] == "normal"


def test_a_resume_that_the_kill_switch_overtakes_is_recorded_as_refused(random_market, command):
    """Accepted while paused, effective in the slice in which the switch trips: out of an emergency only a person leads, who knows."""
    s = Script(random_market, "risk.max_drawdown=0.0005", "risk.stop_spreads=500", seconds=30)
    entered(s).steady(3.5, 5).steady(5, 30, 194_000, 194_200)
    acts = [(4, command("pause", "p")), (5, command("resume", "r"))]
    s.run(at=[(t, lambda stage, state, c=c: stage.step(state, c)) for t, c in acts])
    rows = s.verdicts[s.verdicts["symbol"] == NO_SYMBOL]
    assert rows["rule"].tolist() == [RiskRule.MODE, RiskRule.DRAWDOWN, RiskRule.MODE]
    assert rows["approved"].tolist() == [1, 1, 0]
    assert (rows["value_e8"][2], rows["limit_e8"][2]) == (0, Mode.EMERGENCY * E8)
    assert s.summary["mode"] == "emergency"


def test_messages_take_hold_in_the_order_of_their_acceptance(random_market, command):
    market = random_market(seed=65, seconds=10)
    kinds = ["pause", "resume", "reduce", "emergency", "pause", "resume"]
    acts = [(market.first + 20, command(kind, f"m{i}")) for i, kind in enumerate(kinds)]
    _, judged, rows = run(market, [market.first + 20], acts)
    assert all(j.slice == market.first + 20 for j in judged)
    change = tables(rows)["verdicts"]
    change = change[change["intent"] == Intent.CHANGE_MODE]
    assert (change["value_e8"] // E8).tolist() == [1, 0, 2, 3, 1, 0]
    assert set(change["slice"].tolist()) == {market.first + 20}


def test_nothing_is_effective_before_what_is_committed(random_market, command):
    market = random_market(seed=66, seconds=10)
    stage = stage_of(market, ControlLog(), market.first + 60)
    state, _ = stage.step(stage.start(), market.outs([market.first + 30])[0])
    assert stage.step(state, command("pause"))[1].slice == market.first + 60


def stamped(name, k, kind="pause", **arguments):
    return ControlMessage(id=name, kind=kind, arguments=arguments, reason="a test", effective_slice=k)


def test_a_log_that_the_account_cannot_have_had_is_told(random_market):
    market = random_market(seed=67, seconds=10)
    a, b = market.outs([market.first + 30])
    state, _ = stage_of(market).step(stage_of(market).start(), a)
    with pytest.raises(StateMismatchError, match="does not know it"):
        stage_of(market, ControlLog((stamped("late", market.first + 29),))).step(state, b)
    state, _ = stage_of(market, ControlLog((stamped("now", market.first + 30),))).step(state, b)
    assert state["book"]["mode"] == Mode.PAUSED
    for wrong in (stamped("x", 0, "exclude_partition", partition="77"), stamped("x", 0, "change_limit", limit="max_drawdown", value="7")):
        stage = stage_of(market, ControlLog((wrong,)))
        with pytest.raises(UsageError, match="does not fit these settings"):
            stage.step(stage.start(), a)


def test_a_state_without_control_is_migrated(random_market, command):
    market = random_market(seed=68, seconds=20)
    stage = stage_of(market)
    a, b = market.outs([market.first + 100])
    state, _ = stage.step(stage.start(), a)
    old = copied(state)
    for name in ("control", "limits"):
        del old["book"][name]
    old["book"]["wanted_mode"] = -1
    new = migrated("account", old, 1, stage.version, stage.migrations)
    for s in (state, new):
        assert isinstance(stage.step(s, command("pause"))[1], Accepted)
    want, got = (stage.step(s, b)[1] for s in (state, new))
    assert_same_rows(tables(got), tables(want))
    assert Intent.CHANGE_MODE in tables(want)["verdicts"]["intent"]


def test_judging_a_message_looks_at_nothing_that_grows(random_market, command):
    """Under a millisecond is the bench's to show; here: the calls that it takes do not depend on what was accepted before."""
    market = random_market(seed=69, seconds=10)

    def calls(known):
        stage = stage_of(market)
        state, _ = stage.step(stage.start(), market.outs()[0])
        state["book"]["control"]["ids"] = {f"old/{i}": i for i in range(known)}
        count = 0

        def note(_frame, event, _argument):
            nonlocal count
            count += event in ("call", "c_call")

        c = command("pause")
        sys.setprofile(note)
        stage.step(state, c)
        sys.setprofile(None)
        return count

    calls(1)
    assert calls(10) == calls(10_000) < 300


def test_changed_limits_are_exact(random_market):
    risk = random_market(seed=70, seconds=10).settings.risk
    limits = changed_limits(risk, (("max_drawdown", "0.1"), ("max_open_orders", "3")))
    assert (limits.drawdown.numerator, limits.drawdown.denominator, limits.open_orders) == (1, 10, 3)
    assert limits.gross == changed_limits(risk, ()).gross
