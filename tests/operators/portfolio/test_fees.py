"""Fees: reference amounts by hand, and that splitting a fill changes nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.portfolio import FeeMeter, no_fees
from schemas.instruments import FeeSchedule, Instrument
from schemas.tables import Liquidity

BROKER = FeeSchedule(
    name="per-share",
    kind="per_share",
    per_share=Decimal("0.005"),
    minimum_per_order=Decimal(1),
    maximum_fraction=Decimal("0.01"),
    sec_fee_rate=Decimal("0.0000174"),
    taf_per_share=Decimal("0.000119"),
)
CRYPTO = FeeSchedule(name="tier", kind="basis_points", maker_bps=Decimal(2), taker_bps=Decimal(4))


def meter(fees, price_exponent=4, size_exponent=0):
    return FeeMeter(
        Instrument(symbol="X", price_exponent=price_exponent, size_exponent=size_exponent, tick_size=100, lot_size=1, fees=fees)
    )


def amount(value: str) -> int:
    return int(Decimal(value).scaleb(10))


CASES = [
    # schedule, side, shares, notional, liquidity, fee
    (BROKER, 1, 1000, "50000", Liquidity.TAKER, "5"),  # 1000 * 0.005
    (BROKER, 1, 10, "1900", Liquidity.TAKER, "1"),  # minimum
    (BROKER, 1, 10, "50", Liquidity.MAKER, "0.5"),  # 1% of 50 wins over the minimum
    (BROKER, -1, 1000, "50000", Liquidity.MAKER, "5.989"),  # 5 + 50000 * 0.0000174 + 1000 * 0.000119
    (CRYPTO, 1, 3, "17491.25", Liquidity.MAKER, "3.49825"),
    (CRYPTO, -1, 3, "17491.25", Liquidity.TAKER, "6.9965"),
    (FeeSchedule(name="none", kind="none"), -1, 3, "17491.25", Liquidity.TAKER, "0"),
    (FeeSchedule(name="rebate", kind="basis_points", maker_bps=Decimal(-1)), 1, 1, "100", Liquidity.MAKER, "-0.01"),
]


@pytest.mark.parametrize(("schedule", "side", "shares", "notional", "liquidity", "fee"), CASES)
def test_fee_of_a_whole_order(schedule, side, shares, notional, liquidity, fee):
    assert meter(schedule).whole(side, shares, amount(notional), liquidity) == amount(fee)


def test_the_minimum_is_paid_once_per_order_not_per_fill():
    m, tally = meter(BROKER), no_fees()
    paid = [m.charge(tally, 1, 100, amount("5000"), Liquidity.TAKER) for _ in range(4)]
    assert paid == [amount("1"), 0, amount("0.5"), amount("0.5")]  # max(1, 0.5), max(1, 1), 1.5, 2


def test_half_a_unit_is_rounded_up():
    m = meter(FeeSchedule(name="h", kind="basis_points", taker_bps=Decimal(1)))
    assert m.whole(1, 1, 5_000, Liquidity.TAKER) == 1  # 0.5 units
    assert m.whole(1, 1, 4_999, Liquidity.TAKER) == 0


def test_shares_of_a_fractional_instrument_are_whole_units():
    m = meter(FeeSchedule(name="s", kind="per_share", per_share=Decimal("0.01")), price_exponent=2, size_exponent=3)
    assert m.whole(1, 2500, amount("1000"), Liquidity.TAKER) == amount("0.025")  # 2.5 units


@given(
    st.sampled_from([BROKER, CRYPTO]),
    st.sampled_from([1, -1]),
    st.lists(st.tuples(st.integers(1, 10**4), st.integers(1, 10**7)), min_size=1, max_size=8),
    st.integers(2, 5),
)
def test_splitting_fills_changes_nothing(schedule, side, fills, parts):
    m, whole, split = meter(schedule), no_fees(), no_fees()
    paid = sum(m.charge(whole, side, q * parts, q * parts * x, Liquidity.MAKER) for q, x in fills)
    paid_in_parts = sum(m.charge(split, side, q, q * x, Liquidity.MAKER) for q, x in fills for _ in range(parts))
    assert paid == paid_in_parts
    assert whole == split
