"""What the book does, in scripted markets: quotes that stand still, a venue without latency, one thing happening at a time."""

from __future__ import annotations

import numpy as np
import pytest

from operators.book.desk import kept
from operators.portfolio import CurrencyError
from operators.risk import Mode, RiskRule
from schemas.control import Accepted
from schemas.errors import UsageError
from schemas.orders import EXECUTION_REPORT, Reason, ReportKind
from schemas.tables import NO_SYMBOL, Intent, OrderState, OrderType
from tests.operators.book.script import Script, W, entered


@pytest.fixture
def asks(command):
    """`asks(kind)`: an act for `Script.run` that sends a control message, which is accepted."""

    def act(kind):
        def send(stage, state):
            _, judged = stage.step(state, command(kind, f"{kind}/{state['at']}"))
            assert isinstance(judged, Accepted)
            assert judged.slice == state["at"]

        return send

    return act


def test_entry_rests_at_the_own_touch_is_filled_and_gets_a_stop_ten_spreads_away(random_market):
    s = entered(Script(random_market)).steady(3.5, 20).run()
    entry, stop = s.orders[s.orders["state"] == OrderState.NEW]
    # 2% of 100,000 is 2,000: 100 shares at 20.00; decided at the end of the signal's slice, 1.1 s
    assert (entry["type"], entry["side"], entry["quantity"], entry["price"]) == (OrderType.LIMIT, 1, 100, 200_000)
    assert s.seconds([entry]) == [1.1]
    assert (stop["type"], stop["side"], stop["quantity"], stop["stop_price"]) == (OrderType.STOP, -1, 100, 198_000)
    assert s.seconds([stop]) == [3.2]  # filled in slice 30, visible in slice 31, whose end is 3.2 s
    assert s.seconds(s.executions) == [3.0]
    v = s.verdicts[0]
    assert (v["approved"], v["rule"], v["quantity"], v["largest_passing"]) == (1, RiskRule.EXPECTED_VALUE, 100, 100)
    # edge (2 * 0.9 - 1) * 0.02 * 100 = 1.60; fees 0.35 in, 0.35 + 2000 * 0.0000174 + 100 * 0.000119 = 0.3967 out
    assert v["value_e8"] == 160_000_000 - 35_000_000 - 39_670_000
    assert s.positions[0]["quantity"] == 100
    assert s.positions[0]["unrealised_e10"] == 10**10  # mid 20.01


def test_a_passive_entry_that_does_not_fill_is_cancelled_after_its_time(random_market):
    s = Script(random_market).steady(0, 20).signal(1.05, 1).run()
    assert not s.executions.size
    assert s.ended(0) == (OrderState.CANCELLED, Reason.CANCEL_REQUESTED)
    pending = s.orders[s.orders["state"] == OrderState.CANCEL_PENDING]
    assert s.seconds(pending) == [6.1]  # 5 s after 1.1 s
    assert Reason(pending["reason"][0]) is Reason.CANCEL_TIMEOUT
    assert not s.state["book"]["deals"]


def test_a_position_is_left_after_the_holding_time_passively_then_at_the_market(random_market):
    s = entered(Script(random_market, "book.holding_s=10")).steady(3.5, 40).run()
    ways = s.orders[(s.orders["state"] == OrderState.NEW) & (s.orders["side"] == -1) & (s.orders["type"] != OrderType.STOP)]
    assert [OrderType(o["type"]) for o in ways] == [OrderType.LIMIT, OrderType.MARKET]
    assert s.seconds(ways) == [13.0, 18.0]
    assert ways[0]["price"] == 200_200
    assert [(v["intent"], v["rule"], v["quantity"]) for v in s.verdicts[1:]] == [(Intent.EXIT, RiskRule.REDUCES_RISK, 100)]
    assert s.positions[-1]["quantity"] == 0
    assert s.ended(1) == (OrderState.CANCELLED, Reason.CANCEL_REQUESTED)  # the stop
    assert not s.state["book"]["deals"]
    # bought at 20.00, sold at 20.00, fees 0.35 + 0.35 + 2000 * 0.0000174 + 100 * 0.000119
    assert s.positions[-1]["realised_e10"] == -7_467_000_000


@pytest.mark.parametrize("action", [-1, 0])
def test_the_other_action_and_hold_leave(random_market, action):
    s = entered(Script(random_market)).steady(3.5, 40).signal(8.05, action).trade(9, 200_300, 5000, 1).run()
    assert s.positions[-1]["quantity"] == 0
    assert [Intent(v["intent"]) for v in s.verdicts] == [Intent.ENTER_LONG, Intent.EXIT]
    assert s.seconds(s.executions) == [3.0, 9.0]
    assert s.executions[-1]["price"] == 200_200
    assert s.summary["won"] == 1


def test_the_same_action_changes_nothing(random_market):
    s = entered(Script(random_market)).steady(3.5, 20).signal(8.05, 1).run()
    assert len(s.verdicts) == 1
    assert s.positions[-1]["quantity"] == 100


def test_a_stop_that_triggers_closes_the_position_and_ends_the_deal(random_market):
    s = entered(Script(random_market)).steady(3.5, 6).steady(6, 20, 197_900, 198_100).run()
    assert s.positions[-1]["quantity"] == 0
    assert s.executions[-1]["price"] == 197_900
    assert s.ended(1)[0] == OrderState.FILLED
    assert [Intent(v["intent"]) for v in s.verdicts] == [Intent.ENTER_LONG, Intent.STOP]
    assert not s.state["book"]["deals"]
    assert len(s.orders[s.orders["state"] == OrderState.NEW]) == 2


def test_everything_is_flat_before_the_close_and_nothing_enters_after(random_market):
    s = Script(random_market, "book.flat_before_close_s=20", "book.holding_s=600", sessions=[(0, 50)])
    s = entered(s).steady(3.5, 60).signal(41.05, 1).signal(55.05, -1).run()
    assert s.positions[-1]["quantity"] == 0
    assert [Intent(v["intent"]) for v in s.verdicts] == [Intent.ENTER_LONG, Intent.FLATTEN, Intent.ENTER_LONG, Intent.ENTER_SHORT]
    assert s.seconds(s.verdicts[1:2]) == [30.0]
    near, closed = s.verdicts[2:]
    assert (near["rule"], near["value_e8"], near["limit_e8"]) == (RiskRule.CLOSE_TOO_NEAR, 890_000_000, 2_000_000_000)
    assert closed["rule"] == RiskRule.SESSION_CLOSED
    assert s.summary["refusals"] == {"CLOSE_TOO_NEAR": 1, "SESSION_CLOSED": 1}


def test_nothing_is_liquidated_because_the_tape_ends(random_market):
    s = entered(Script(random_market, "book.holding_s=600", seconds=20)).steady(3.5, 20).run()
    assert s.positions[-1]["quantity"] == 100
    assert s.summary["symbols"]["S00"]["position"] == 100
    assert s.summary["pnl"]["unrealised"] == 1


def test_marks_outside_the_session_do_not_move_equity(random_market):
    s = Script(random_market, "book.hold_overnight=true", "book.holding_s=600", sessions=[(0, 10)], seconds=30)
    s = entered(s).steady(3.5, 10).steady(10, 30, 150_000, 250_000).run()
    assert s.equity["slice"].max() < s.market.first + 100
    assert s.summary["pnl"]["unrealised"] == 1


def test_the_kill_switch_cancels_liquidates_and_lets_nothing_new_through(random_market):
    s = Script(random_market, "risk.max_drawdown=0.0005", "risk.stop_spreads=500", symbols=2)
    entered(s).steady(0, 60, 300_000, 300_200, symbol=1).signal(4.05, 1, symbol=1)
    s.steady(3.5, 5).steady(5, 60, 194_000, 194_200).signal(20.05, -1).run()
    kill = s.verdicts[s.verdicts["intent"] == Intent.CHANGE_MODE]
    assert len(kill) == 1
    # 100 shares from 20.01 to 19.41 are 60.00; the peak is 99,999.65 + 1.00
    assert (kill["rule"][0], kill["symbol"][0], kill["limit_e8"][0]) == (RiskRule.DRAWDOWN, NO_SYMBOL, 50_000)
    assert kill["value_e8"][0] == 60_000
    assert s.seconds(kill) == [5.1]
    assert s.positions[-1]["quantity"] == 0
    reasons = [Reason(r) for r in s.orders["reason"][s.orders["state"] == OrderState.CANCEL_PENDING]]
    assert reasons == [Reason.CANCEL_KILL, Reason.CANCEL_KILL]  # the stop, and the other symbol's entry
    assert s.ended(1)[0] == OrderState.CANCELLED
    market = s.orders[(s.orders["state"] == OrderState.NEW) & (s.orders["type"] == OrderType.MARKET)]
    assert s.seconds(market) == [5.1]
    refused = s.verdicts[-1]
    assert (refused["approved"], refused["rule"], refused["value_e8"]) == (0, RiskRule.MODE, Mode.EMERGENCY * 10**8)
    assert s.summary["mode"] == "emergency"
    assert not s.state["book"]["deals"]


def test_paused_keeps_positions_lets_cancels_through_and_refuses_entries(random_market, asks):
    s = Script(random_market, symbols=2, seconds=30)
    entered(s).steady(3.5, 30).steady(0, 30, 300_000, 300_200, symbol=1).signal(4.05, 1, symbol=1).signal(12.05, -1, symbol=1)
    s.run(at=[(6, asks("pause"))])
    change = s.verdicts[s.verdicts["intent"] == Intent.CHANGE_MODE]
    assert (change["rule"][0], change["value_e8"][0], change["limit_e8"][0]) == (RiskRule.MODE, Mode.PAUSED * 10**8, 0)
    assert s.seconds(change) == [6.1]
    assert s.positions[-1]["quantity"] == 100
    assert s.seconds(s.orders[s.orders["state"] == OrderState.CANCEL_PENDING]) == [9.1]
    assert (s.verdicts[-1]["approved"], s.verdicts[-1]["rule"]) == (0, RiskRule.MODE)


def test_reduced_leaves_positions_one_after_the_other(random_market, asks):
    s = Script(random_market, "book.holding_s=600", "book.exit_timeout_s=2", symbols=2, seconds=40)
    entered(s).steady(3.5, 40).steady(0, 40, 300_000, 300_200, symbol=1).signal(1.05, 1, symbol=1).trade(3, 299_900, 5000, -1, symbol=1)
    s.run(at=[(10, asks("reduce"))])
    flatten = s.verdicts[s.verdicts["intent"] == Intent.FLATTEN]
    assert flatten["symbol"].tolist() == [0, 1]
    first, second = s.seconds(flatten)
    assert first == 10.1
    assert second > 12.1
    assert not s.state["book"]["deals"]


def test_an_emergency_ends_only_by_way_of_paused(random_market, asks):
    s = (
        Script(random_market, seconds=20)
        .steady(0, 20)
        .signal(1.05, 1)
        .run(at=[(5, asks("emergency")), (10, asks("pause")), (12, asks("resume"))])
    )
    assert s.summary["mode"] == "normal"


def test_a_day_with_its_loss_takes_no_new_entries_until_the_next(random_market):
    s = Script(random_market, "risk.max_daily_loss_fraction=0.0005", "book.holding_s=3")
    entered(s).steady(3.5, 5).steady(5, 60, 194_000, 194_200).signal(20.05, -1).run()
    last = s.verdicts[-1]
    assert (last["approved"], last["rule"], last["limit_e8"]) == (0, RiskRule.DAILY_LOSS, 50_000)
    assert last["value_e8"] > 50_000


def test_what_may_not_be_traded_is_refused_with_its_rule(random_market):
    for changes, rule in (({"tradeable": False}, RiskRule.SYMBOL_NOT_TRADEABLE), ({"currency": "EUR"}, RiskRule.OTHER_CURRENCY)):
        s = Script(random_market, seconds=5, **changes).steady(0, 5).signal(1.05, 1).run()
        assert [RiskRule(v["rule"]) for v in s.verdicts] == [rule]
        assert not s.orders.size
    s = Script(random_market, seconds=5, shortable=False).steady(0, 5).signal(1.05, -1).run()
    assert [RiskRule(v["rule"]) for v in s.verdicts] == [RiskRule.SIDE_NOT_SHORTABLE]
    s = Script(random_market, seconds=5).signal(1.05, 1).steady(2, 5).run()
    assert [RiskRule(v["rule"]) for v in s.verdicts] == [RiskRule.QUOTE_MISSING]


def test_an_expensive_share_says_how_much_would_have_been_allowed(random_market):
    s = Script(random_market, seconds=5).steady(0, 5, 30_000_000, 30_000_200).signal(1.05, 1).run()
    v = s.verdicts[0]
    assert (v["approved"], v["rule"], v["value_e8"], v["limit_e8"]) == (0, RiskRule.QUANTITY_BELOW_LOT, 0, 10**8)


def test_profile_strict_refuses_what_research_records(random_market):
    for profile, approved in (("research", 1), ("strict", 0)):
        s = Script(random_market, f"profile={profile}", seconds=5).steady(0, 5).signal(1.05, 1, confidence=500_000).run()
        v = s.verdicts[0]
        assert (v["approved"], v["rule"], v["value_e8"]) == (approved, RiskRule.EXPECTED_VALUE, -74_670_000)


def test_a_fill_in_another_currency_is_an_error(random_market):
    s = entered(Script(random_market, seconds=20)).steady(3.5, 20)

    def loses_its_rate(stage, _state):
        stage.book.markets[0].listing = stage.book.markets[0].listing._replace(same_currency=False)

    with pytest.raises(CurrencyError, match="a fill of S00 is in USD, for which the account has no rate"):
        s.run(at=[(2, loses_its_rate)])


def test_capital_must_be_positive_and_fit(random_market):
    for capital in ("0", "-5", "1e12", "0.00000000001"):
        with pytest.raises(UsageError, match=r"account\.capital must be above 0"):
            Script(random_market, f"account.capital={capital}", seconds=5).steady(0, 5).run()


def test_a_position_held_for_longer_than_orders_are_remembered_is_left_in_order(random_market):
    s = (
        entered(Script(random_market, "book.holding_s=400", seconds=420))
        .steady(3.5, 420)
        .run(at=[(k, lambda *_: None) for k in (100, 350, 410)])
    )
    assert s.positions[-1]["quantity"] == 0
    assert s.seconds(s.executions) == [3.0, 408.0]
    assert not s.state["book"]["deals"]


def test_a_feed_delay_postpones_every_order(random_market):
    s = Script(random_market, "book.feed_delay_ms=250", seconds=20).steady(0, 20).signal(1.05, 1).run()
    assert s.seconds(s.orders[:1]) == [1.35]
    acknowledged = s.orders[s.orders["state"] == OrderState.ACKNOWLEDGED]
    assert s.seconds(acknowledged) == [1.35]


def test_a_fill_reported_after_its_deal_was_over_is_booked_and_left_at_the_market(random_market):
    s = Script(random_market, seconds=30).steady(0, 30).signal(1.05, 1)

    def late_fill(stage, state):
        assert not state["book"]["deals"]
        r = np.zeros(1, EXECUTION_REPORT)
        r["ts_ns"], r["known_ts_ns"], r["order_n"], r["exec_n"], r["kind"] = s.ns(6), s.ns(10), 0, 7, ReportKind.FILL
        r["quantity"], r["price"], r["side"], r["liquidity"], r["visible"] = 40, 200_000, 1, 1, s.ns(10) // W
        state["pending"] = kept(r, [0])
        state["pending"] += kept(r, [0])  # and repeated

    s.run(at=[(10, late_fill)])
    assert s.executions["quantity"].tolist() == [40]
    assert s.positions["quantity"].tolist() == [40]
    tries = s.orders[(s.orders["state"] == OrderState.NEW) & (s.orders["type"] == OrderType.MARKET)]
    # the venue knows of no position and refuses each; the book asks again every five seconds, not at once
    assert s.seconds(tries) == [10.1, 15.1, 20.1, 25.1]
    assert set(tries["quantity"].tolist()) == {40}
