"""The book and a corporate action: nothing enters before it, everything is left before it, and what could not be is suspended.

The price is 20.00 / 20.02 up to 40 s and 5.00 / 5.02 from then on: four for one.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from operators.risk import RiskRule
from schemas.actions import CorporateAction
from schemas.orders import Reason
from schemas.tables import Intent, OrderState, OrderType
from tests.operators.book.script import Script, entered

AT = 40
NEW = (50_000, 50_200)
LOCKED = (200_100, 200_100)


@pytest.fixture
def script(random_market):
    """`script(*overrides, sessions, acted)`: a script with 100 shares bought at 3 s, and the split of the price."""

    def make(*overrides, sessions=None, acted=AT, until=AT, **more):
        s = Script(random_market, "book.holding_s=600", *overrides, sessions=sessions, **more)
        listed = s.market.instruments
        if acted is not None:
            split = CorporateAction(symbol="S00", ts_ns=s.ns(acted), kind="split", numerator=4)
            s.market.instruments = listed.with_actions([split])
        return entered(s).steady(3.5, until).steady(AT, 60, *NEW)

    return make


OVERNIGHT = {"sessions": [(0, 30), (40, 60)], "until": 30}


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("where", [{}, OVERNIGHT], ids=["inside a session", "over night"])
def test_a_position_is_left_before_it_overnight_or_not(script, where, hold):
    s = script("book.flat_before_close_s=10", f"book.hold_overnight={str(hold).lower()}", **where).run()
    left = 20.0 if where else 30.0
    assert s.seconds(s.executions) == [3.0, left + 5]  # passive for 5 s, then at the market
    assert s.executions["price"].tolist() == [200_000, 200_000]
    assert s.positions[-1]["quantity"] == 0
    flatten = s.verdicts[s.verdicts["intent"] == Intent.FLATTEN]
    assert s.seconds(flatten) == [left]
    assert [(v["approved"], v["rule"], v["value_e8"]) for v in flatten] == [(1, RiskRule.CORPORATE_ACTION, 100 * 10**8)]
    assert s.summary["suspended"] == []
    assert s.summary["max_drawdown"] < 1e-4


def test_without_the_action_the_split_is_a_loss_of_three_quarters(script):
    s = script("book.flat_before_close_s=10", "book.hold_overnight=true", acted=None).run()
    assert s.executions["price"].tolist()[-1] == 50_000
    assert s.summary["pnl"]["net"] < -1490


def test_an_entry_that_still_works_is_cancelled_and_no_other_enters(script):
    s = script("book.flat_before_close_s=10", "book.entry_timeout_s=60").signal(20.05, 0).trade(21, 200_300, 5000, 1)
    s.signal(28.05, 1).signal(35.05, -1).signal(50.05, 1).run()
    enters = s.verdicts[s.verdicts["intent"] == Intent.ENTER_LONG]
    assert s.seconds(enters) == [1.1, 28.1, 50.1]
    pending = s.orders[s.orders["state"] == OrderState.CANCEL_PENDING]
    assert (30.0, Reason.CANCEL_CORPORATE_ACTION) in list(zip(s.seconds(pending), map(Reason, pending["reason"].tolist()), strict=True))
    near = s.verdicts[s.verdicts["intent"] == Intent.ENTER_SHORT][0]
    assert (near["approved"], near["rule"]) == (0, RiskRule.CORPORATE_ACTION_NEAR)
    assert (near["value_e8"], near["limit_e8"]) == (490_000_000, 1_000_000_000)  # 4.9 s are left, of 10
    after = s.orders[(s.orders["state"] == OrderState.NEW) & (s.orders["type"] == OrderType.LIMIT)][-1]
    assert (after["price"], after["quantity"]) == (50_000, 400)  # 2% of the account at the new price


@pytest.mark.parametrize("where", [{}, OVERNIGHT], ids=["inside a session", "over night"])
@pytest.mark.parametrize("side", [1, -1])
def test_what_could_not_be_left_is_suspended_at_the_last_quote_before(random_market, where, side):
    """Locked quotes fill nothing, so the way out finds nobody. Long or short, nothing is made or lost by the action."""
    s = Script(random_market, "book.holding_s=600", "book.flat_before_close_s=2", "book.exit_timeout_s=1", sessions=where.get("sessions"))
    split = CorporateAction(symbol="S00", ts_ns=s.ns(AT), kind="split", numerator=4)
    s.market.instruments = s.market.instruments.with_actions([split])
    s.steady(0, 3).signal(1.05, side).trade(3, 199_900 if side > 0 else 200_300, 5000, -side)
    s.steady(3.5, 26).steady(26, where.get("until", AT), *LOCKED).steady(AT, 60, *NEW).signal(50.05, -side).signal(55.05, side).run()
    held = side * int(s.executions["quantity"][0])
    assert len(s.executions) == 1
    assert s.summary["symbols"]["S00"]["position"] == held
    assert s.summary["suspended"] == ["S00"]
    assert s.summary["pnl"]["unrealised"] == abs(held) * Decimal("0.01")  # half the spread, as before
    assert s.equity["slice"].max() < s.market.first + 260
    told = s.verdicts[s.verdicts["intent"] == Intent.FLATTEN]
    assert [(v["approved"], v["rule"], v["value_e8"]) for v in told] == [
        (1, RiskRule.CORPORATE_ACTION, abs(held) * 10**8),
        (0, RiskRule.CORPORATE_ACTION, abs(held) * 10**8),
    ]
    assert s.seconds(told)[1] == 40.0
    assert s.summary["refusals"] == {"CORPORATE_ACTION": 1}
    stop = s.orders[s.orders["type"] == OrderType.STOP]["order_n"][0]
    assert s.ended(stop) == (OrderState.EXPIRED, Reason.EXPIRED_CORPORATE_ACTION)
    assert not s.orders[s.orders["slice"] >= s.market.first + 405].size


def test_a_suspended_position_does_not_keep_the_others_from_being_left(random_market, command):
    s = Script(random_market, "book.holding_s=600", "book.flat_before_close_s=2", "book.exit_timeout_s=1", symbols=2)
    split = CorporateAction(symbol="S00", ts_ns=s.ns(AT), kind="split", numerator=4)
    s.market.instruments = s.market.instruments.with_actions([split])
    entered(s).steady(3.5, 26).steady(26, AT, *LOCKED).steady(AT, 60, *NEW)
    s.steady(0, 60, 300_000, 300_200, symbol=1).signal(1.05, 1, symbol=1).trade(3, 299_900, 5000, -1, symbol=1)
    s.run(at=[(45, lambda stage, state: stage.step(state, command("reduce", "reduce/1")))])
    assert s.summary["suspended"] == ["S00"]
    assert s.summary["symbols"]["S01"]["position"] == 0
    assert s.summary["symbols"]["S00"]["position"] == 100
    s.run(at=[(45, lambda stage, state: stage.step(state, command("emergency", "emergency/1")))])
    assert s.summary["symbols"]["S01"]["position"] == 0
    assert s.summary["symbols"]["S00"]["position"] == 100


SLOW_REPORTS = (
    "book.flat_before_close_s=0", "venue.latency_scale=1", "venue.order_latency_mu=-20", "venue.order_latency_sigma=0",
    "venue.report_latency_mu=7.6", "venue.report_latency_sigma=0",
)  # fmt: skip
"""A report takes exp(7.6) ms, two seconds."""


def test_an_entry_filled_before_it_and_reported_after_is_suspended_at_what_was_paid(random_market):
    s = Script(random_market, *SLOW_REPORTS)
    split = CorporateAction(symbol="S00", ts_ns=s.ns(AT), kind="split", numerator=4)
    s.market.instruments = s.market.instruments.with_actions([split])
    s.steady(0, AT).signal(38.05, 1).trade(39.55, 199_900, 5000, -1).steady(AT, 60, *NEW).run()
    assert s.seconds(s.executions) == [39.55]
    assert s.executions["slice"][0] > s.market.first + 410
    assert s.summary["suspended"] == ["S00"]
    assert s.summary["pnl"]["unrealised"] == 0
    assert s.summary["pnl"]["adverse_selection"] == 0
    assert s.summary["pnl"]["net"] == Decimal("-0.35")


def test_a_way_out_filled_before_it_and_reported_after_ends_the_suspension(random_market):
    s = Script(random_market, *SLOW_REPORTS, "book.holding_s=30")
    split = CorporateAction(symbol="S00", ts_ns=s.ns(AT), kind="split", numerator=4)
    s.market.instruments = s.market.instruments.with_actions([split])
    s.steady(0, AT).signal(3.05, 1).trade(7.55, 199_900, 5000, -1).trade(39.55, 200_300, 5000, 1)
    s.steady(AT, 60, *NEW).signal(50.05, 1).run()
    assert s.seconds(s.executions) == [7.55, 39.55]
    assert s.executions["price"].tolist() == [200_000, 200_200]
    assert s.summary["suspended"] == []
    assert s.summary["refusals"] == {"CORPORATE_ACTION": 1}
    assert s.summary["pnl"]["unrealised"] == 0
    assert s.summary["won"] == 1
    assert [Intent(v["intent"]) for v in s.verdicts] == [Intent.ENTER_LONG, Intent.EXIT, Intent.FLATTEN, Intent.ENTER_LONG]


def test_adverse_selection_is_marked_before_it(script):
    """Left 5 s before the action, so that the mark of 10 s after the last fill would be a quarter of the price."""
    s = script("book.flat_before_close_s=10").run()
    # bought at 3 s and sold at 35 s, the mid at 20.01 before and after
    assert s.seconds(s.executions) == [3.0, 35.0]
    assert s.summary["pnl"]["adverse_selection"] == 0
