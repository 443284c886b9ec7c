"""Rules at their boundaries (spec/trading-cases.md 3.9), the numbers a refusal carries, and the order of the rules."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.risk import RULES, Entry, Listing, Mode, RiskRule, check_entry, largest_position, risk_limits, rules_table
from schemas.settings.sections import RiskSettings

SETTINGS = RiskSettings()
LIMITS = risk_limits(SETTINGS)
E10 = 10**10
# price exponent 4, size exponent 0: scale 1e6; one share at 100.00 is 100 * 1e10
SHARE = Listing(tradeable=True, same_currency=True, shortable=True, lot=1, scale=10**6, size_exponent=0)
# fine units: price exponent 2, size exponent 8, scale 1, so that a quantity can pass a limit by a hair
COIN = Listing(tradeable=True, same_currency=True, shortable=True, lot=1, scale=1, size_exponent=8)
EQUITY2 = 2 * 100_000 * E10


def entry(**changes):
    base = Entry(
        side=1,
        quantity=10,
        price=1_000_000,
        stop=990_000,
        quoted=True,
        held=0,
        others2=0,
        equity2=EQUITY2,
        peak2=EQUITY2,
        day2=EQUITY2,
        mode=Mode.NORMAL,
        open_orders=0,
        session_left_ns=3_600 * 10**9,
        session_next_ns=0,
        close_margin_ns=300 * 10**9,
        expected_e10=1,
        strict=True,
    )
    return base._replace(**changes)


def test_an_ordinary_entry_passes_with_its_expected_value_and_the_largest_size():
    got = check_entry(LIMITS, SHARE, entry(expected_e10=25 * 10**8))
    assert got == (True, RiskRule.EXPECTED_VALUE, 25_000_000, 0, 20)  # 0.25; 2% of 100,000 is 20 shares at 100


def test_a_position_of_exactly_two_percent_passes_and_a_hair_more_fails():
    # 1.0 coin at 2000.00 is 2% of 100,000; 1.00000005 coins are 2.0000001%
    at_limit = check_entry(LIMITS, COIN, entry(price=200_000, stop=199_000, quantity=100_000_000))
    above = check_entry(LIMITS, COIN, entry(price=200_000, stop=199_000, quantity=100_000_005))
    assert at_limit.approved
    assert above == (False, RiskRule.MAX_POSITION, 2_000_001, 2_000_000, 100_000_000)
    one_unit_above = check_entry(LIMITS, COIN, entry(price=200_000, stop=199_000, quantity=100_000_001))
    assert one_unit_above == (False, RiskRule.MAX_POSITION, 2_000_001, 2_000_000, 100_000_000)  # 0.0200000002, rounded up


def test_what_is_held_or_in_flight_counts():
    assert check_entry(LIMITS, SHARE, entry(quantity=15, held=5)).approved
    got = check_entry(LIMITS, SHARE, entry(quantity=16, held=5))
    assert got == (False, RiskRule.MAX_POSITION, 2_100_000, 2_000_000, 15)


def test_gross_exposure_counts_all_positions_and_names_the_largest_size():
    others2 = 2 * 49_000 * E10
    assert check_entry(LIMITS, SHARE, entry(quantity=10, others2=others2)).approved  # 49,000 + 1,000 = 50%
    got = check_entry(LIMITS, SHARE, entry(quantity=11, others2=others2))
    assert got == (False, RiskRule.MAX_GROSS, 50_100_000, 50_000_000, 10)


REFUSALS = {
    "paused": ({"mode": Mode.PAUSED}, RiskRule.MODE, 1, 0),
    "emergency": ({"mode": Mode.EMERGENCY}, RiskRule.MODE, 3, 0),
    "outside the session": ({"session_left_ns": 0, "session_next_ns": 90 * 10**9}, RiskRule.SESSION_CLOSED, 90, 0),
    "five minutes to the close": ({"session_left_ns": 300 * 10**9}, RiskRule.CLOSE_TOO_NEAR, 300, 300),
    "no quote": ({"quoted": False}, RiskRule.QUOTE_MISSING, 0, 0),
    "no stop": ({"stop": 0}, RiskRule.STOP_MISSING, 0, 0),
    "stop on the winning side": ({"stop": 1_010_000}, RiskRule.STOP_MISSING, 0, 0),
    "stop at the price": ({"stop": 1_000_000}, RiskRule.STOP_MISSING, 0, 0),
    "short with a stop below": ({"side": -1}, RiskRule.STOP_MISSING, 0, 0),
    "drawdown of 15%": ({"equity2": 2 * 85_000 * E10, "day2": 2 * 85_000 * E10}, RiskRule.DRAWDOWN, 0.15, 0.15),
    "day's loss of 2%": ({"equity2": 2 * 98_000 * E10}, RiskRule.DAILY_LOSS, 0.02, 0.02),
    "sixty-fifth order": ({"open_orders": 64}, RiskRule.OPEN_ORDERS, 65, 64),
    "less than a lot": ({"quantity": 0, "price": 30_000_000, "stop": 29_000_000}, RiskRule.QUANTITY_BELOW_LOT, 0, 1),  # 2,000 / 3,000
    "nothing to expect": ({"expected_e10": 0}, RiskRule.EXPECTED_VALUE, 0, 0),
    "less than nothing to expect": ({"expected_e10": -5 * E10}, RiskRule.EXPECTED_VALUE, -5, 0),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_says_rule_value_and_limit(name):
    changes, rule, value, limit = REFUSALS[name]
    got = check_entry(LIMITS, SHARE, entry(**changes))
    assert (got.approved, got.rule) == (False, rule)
    assert got.value_e8 == pytest.approx(value * 1e8)
    assert got.limit_e8 == pytest.approx(limit * 1e8)
    assert got.largest_passing == 0


def test_just_inside_each_limit_passes():
    for changes in (
        {"session_left_ns": 300 * 10**9 + 1},
        {"equity2": 2 * 85_000 * E10 + 1, "day2": 2 * 85_000 * E10 + 1, "quantity": 1},
        {"equity2": 2 * 98_000 * E10 + 1},
        {"open_orders": 63},
        {"stop": 999_999},
        {"side": -1, "stop": 1_000_001},
    ):
        assert check_entry(LIMITS, SHARE, entry(**changes)).approved, changes


def test_instruments_that_may_not_be_traded():
    assert check_entry(LIMITS, SHARE._replace(tradeable=False), entry()).rule == RiskRule.SYMBOL_NOT_TRADEABLE
    assert check_entry(LIMITS, SHARE._replace(same_currency=False), entry()).rule == RiskRule.OTHER_CURRENCY
    no_short = SHARE._replace(shortable=False)
    assert check_entry(LIMITS, no_short, entry()).approved
    assert check_entry(LIMITS, no_short, entry(side=-1, stop=1_010_000)).rule == RiskRule.SIDE_NOT_SHORTABLE


def test_research_records_a_negative_expected_value_and_lets_it_pass():
    got = check_entry(LIMITS, SHARE, entry(expected_e10=-5 * E10, strict=False))
    assert got[:4] == (True, RiskRule.EXPECTED_VALUE, -5 * 10**8, 0)


def test_an_account_without_equity_gets_nothing():
    assert largest_position(LIMITS.position, -1, 100, SHARE) == 0
    got = check_entry(LIMITS, SHARE, entry(equity2=-1, peak2=EQUITY2))
    assert not got.approved


@given(
    price=st.integers(1, 10**9),
    lot=st.sampled_from([1, 7, 100]),
    equity=st.integers(1, 10**9),
    held=st.integers(0, 10**4),
    others=st.integers(0, 10**9),
    fraction=st.decimals("0.0001", "1", places=6),
)
def test_the_largest_passing_size_passes_and_a_lot_more_does_not(price, lot, equity, held, others, fraction):
    limits = risk_limits(RiskSettings(max_position_fraction=fraction))
    listing = SHARE._replace(lot=lot)
    held -= held % lot
    e = entry(price=price, stop=price * 2, side=-1, equity2=2 * equity * E10, peak2=2 * equity * E10, day2=2 * equity * E10)
    e = e._replace(held=held, others2=2 * others * E10, quantity=10**13 - 10**13 % lot)
    largest = check_entry(limits, listing, e).largest_passing
    assert largest % lot == 0
    assert not check_entry(limits, listing, e._replace(quantity=largest + lot)).approved
    if largest:
        assert check_entry(limits, listing, e._replace(quantity=largest)).approved


def test_every_rule_has_its_line_in_the_documentation():
    assert set(RULES) == set(RiskRule)
    table = rules_table()
    assert all(f"| {rule.name} | {int(rule)} |" in table for rule in RiskRule)
    assert len({int(r) for r in RiskRule}) == len(RULES)


def test_a_check_takes_less_than_ten_microseconds():
    e = entry()
    times = []
    for _ in range(20_000):
        t = time.perf_counter_ns()
        check_entry(LIMITS, SHARE, e)
        times.append(time.perf_counter_ns() - t)
    assert sorted(times)[len(times) // 2] < 10_000


def test_limits_are_exact_fractions_of_the_settings():
    limits = risk_limits(RiskSettings(max_position_fraction=Decimal("0.02"), max_drawdown=Decimal("0.15")))
    assert limits.position == (1, 50, 2_000_000)
    assert limits.drawdown == (3, 20, 15_000_000)
