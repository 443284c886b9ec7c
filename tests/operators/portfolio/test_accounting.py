"""Accounting against the reference cases of spec/trading-cases.md 3.1, and its invariants."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.portfolio import (
    MoneyOverflowError,
    apply_fill,
    average_cost_e10,
    flat_position,
    open_cost,
    realised,
    row_money,
    unrealised2,
)

PRICE_EXPONENT = 5
SIZE_EXPONENT = 5
B, S = 1, -1


class Fill(NamedTuple):
    side: int
    quantity: str
    price: str
    fee: str = "0"
    base_fee: str = "0"


def e(value: str | Decimal, exponent: int) -> int:
    scaled = Decimal(value).scaleb(exponent)
    assert scaled == int(scaled), f"{value} is no multiple of 1e-{exponent}"
    return int(scaled)


def book(fills, position=None):
    """Books the fills; returns the position, realised of each fill, and of each closed trip, as decimals."""
    p = position or flat_position()
    realised_each, trips = [], []
    for f in fills:
        notional = e(Decimal(f.quantity) * Decimal(f.price), 10)
        got = apply_fill(p, f.side, notional, e(f.quantity, SIZE_EXPONENT), e(f.fee, 10), e(f.base_fee, SIZE_EXPONENT))
        realised_each.append(money(got.realised))
        if got.closed_trip is not None:
            trips.append(money(got.closed_trip))
    return p, realised_each, trips


def money(e10: int) -> Decimal:
    return Decimal(e10).scaleb(-10)


def quantity(p) -> Decimal:
    return Decimal(p["quantity"]).scaleb(-SIZE_EXPONENT)


def average(p) -> Decimal:
    return money(average_cost_e10(p, SIZE_EXPONENT))


def unrealised(p, mark: str) -> Decimal:
    return money(unrealised2(p, 2 * e(mark, PRICE_EXPONENT), 1)) / 2


NT_CASES = {
    # name: (fills, quantity, average, realised, (mark, unrealised))
    "N1": ([Fill(B, "100000", "1.00001", "2")], "100000", "1.00001", "-2", ("1.00050", "49")),  # 100000 * 0.00049
    "N2": (
        [Fill(S, "50000", "1.00001", "2"), Fill(S, "50000", "1.00002", "2")],
        "-100000",
        "1.000015",  # (1.00001 + 1.00002) / 2
        "-4",
        ("1.00050", "-48.5"),  # -100000 * 0.000485
    ),
    "N3": ([Fill(B, "150000", "1.00001", "3"), Fill(S, "150000", "1.00011")], "0", "0", "12", None),  # 150000 * 0.0001 - 3
    "N4": (
        [Fill(S, "100000", "1", "2"), Fill(B, "50000", "1.00001", "2"), Fill(B, "50000", "1.00003", "2")],
        "0",
        "0",
        "-8",  # -0.5 - 1.5 - 6
        None,
    ),
    "N5": (
        [Fill(B, "100000", "1", "2"), Fill(B, "100000", "1.00001", "2"), Fill(S, "200000", "1.00010", "4")],
        "0",
        "0",
        "11",  # 200000 * (1.0001 - 1.000005) - 8
        None,
    ),
}


@pytest.mark.parametrize("name", NT_CASES)
def test_reference_position(name):
    fills, want_quantity, want_average, want_realised, marked = NT_CASES[name]
    p, _, _ = book(fills)
    assert quantity(p) == Decimal(want_quantity)
    assert average(p) == Decimal(want_average)
    assert money(realised(p)) == Decimal(want_realised)
    if marked:
        assert unrealised(p, marked[0]) == Decimal(marked[1])


def bps(side, size, price, rate_bps):
    return Fill(side, size, price, str(Decimal(size) * Decimal(price) * Decimal(rate_bps) / 10_000))


N6 = [bps(B, "12", "100", "1"), bps(B, "17", "99", "1"), bps(S, "9", "101", "1"), bps(S, "4", "105", "1"), bps(B, "3", "103", "1")]
N7 = [
    bps(B, "12", "10000", "10"),
    bps(B, "17", "9999", "10"),
    bps(S, "9", "10001", "10"),
    bps(B, "3", "10003", "10"),
    bps(S, "4", "10005", "10"),
]


def test_n6_average_cost_and_realised_after_each_fill():
    p = flat_position()
    totals, averages = [], []
    for f in N6:
        book([f], p)
        totals.append(money(realised(p)))
        averages.append(average(p))
    # -(1200 + 1683) * 1e-4; then 9 * (101 - 2883/29) - 0.0909; 4 * (105 - 2883/29) - 0.0420; - 0.0309
    for got, want in zip(totals[1:], ["-0.2883", "13.89666207", "36.19948966", "36.16858966"], strict=True):
        assert abs(got - Decimal(want)) <= Decimal("0.00000001")
    assert abs(averages[1] - Decimal("99.41379310344827")) <= Decimal("1e-10")
    assert averages[2] == averages[3] == averages[1]
    assert quantity(p) == 19
    assert abs(averages[4] - Decimal("99.98003629764065")) <= Decimal("1e-10")


def test_n7_average_cost_and_realised_after_each_fill():
    p = flat_position()
    totals, averages = [], []
    for f in N7:
        book([f], p)
        totals.append(money(realised(p)))
        averages.append(average(p))
    for got, want in zip(totals[1:], ["-289.983", "-365.71613793", "-395.72513793", "-415.27137481"], strict=True):
        assert abs(got - Decimal(want)) <= Decimal("0.00000001")
    assert abs(averages[1] - Decimal("9999.413793103447")) <= Decimal("1e-10")
    assert abs(averages[4] - Decimal("9999.88155922039")) <= Decimal("1e-10")


def test_n8_flip_splits_the_fee_pro_rata_so_that_legs_add_up_to_cash():
    fills = [Fill(B, "100000", "0.75", "1.50"), Fill(S, "150000", "0.75020", "2.25"), Fill(B, "50000", "0.75030", "0.75")]
    p = flat_position()
    _, _, trips = book(fills[:2], p)
    assert trips == [Decimal("17.00")]  # 100000 * 0.0002 - 1.50 - 2.25 * 2/3
    assert money(p["trip"]) == Decimal("-0.75")  # 2.25 / 3, the fresh leg's opening fee
    _, _, trips = book(fills[2:], p)
    assert trips == [Decimal("-6.50")]  # -0.75 - 50000 * 0.0001 - 0.75
    assert money(realised(p)) == money(p["cash"]) == Decimal("10.50")


def test_n9_cycles_are_independent_and_add_up():
    def cycle(side, size, first, second):
        return [
            Fill(x, size, price, str(Decimal(size) * Decimal(price) * Decimal("0.00002"))) for x, price in ((side, first), (-side, second))
        ]

    fills = cycle(B, "100000", "0.70000", "0.70010") + cycle(B, "150000", "0.70020", "0.70015") + cycle(S, "200000", "0.70025", "0.70017")
    p, _, trips = book(fills)
    assert [round(t, 2) for t in trips] == [Decimal("7.20"), Decimal("-11.70"), Decimal("10.40")]
    assert sum(trips) == money(realised(p)) == money(p["cash"])


def test_n11_n12_n13_fee_in_the_base_asset_changes_the_quantity():
    n11 = [Fill(B, "1.0", "2000", base_fee="0.001")]
    p, _, _ = book(n11)
    assert quantity(p) == Decimal("0.999")
    book([Fill(S, "0.999", "2000", "50")], p)
    assert quantity(p) == 0
    assert money(realised(p)) == Decimal("-52")  # 1998 - 50 - 2000
    p = flat_position()
    sizes = []
    for size in ("0.0035", "0.0035", "0.0030"):
        book([Fill(B, size, "100", base_fee="0.00001")], p)
        sizes.append(quantity(p))
    assert sizes == [Decimal("0.00349"), Decimal("0.00698"), Decimal("0.00997")]


def test_n12_base_fee_on_the_closing_sale_leaves_a_short_remainder():
    p = flat_position()
    apply_fill(p, B, 2000 * 10**10, 1_000_000, 0, 1000)
    apply_fill(p, S, 1998 * 10**10, 999_000, 0, 999)
    assert p["quantity"] == -999  # 0.000999 at exponent 6
    assert money(p["cash"]) == Decimal(-2)
    assert realised(p) - open_cost(p) == p["cash"]


def test_n14_base_fee_is_not_forgotten_profit_equals_cash():
    p, _, trips = book([Fill(B, "1.0", "2000", base_fee="0.001"), Fill(S, "0.999", "2100", "2")])
    assert quantity(p) == 0
    assert trips == [Decimal("95.9")]  # 2097.9 - 2 - 2000
    assert money(p["cash"]) == Decimal("95.9")


BARTER_CASES = {
    # name: (fills, quantity, average, realised, closed trips)
    "B0": ([Fill(B, "1", "100", "10"), Fill(B, "1", "120", "10")], "2", "110", "-20", []),
    "B1": ([Fill(B, "2", "100", "10"), Fill(S, "0.5", "150", "5")], "1.5", "100", "10", []),  # 0.5 * 50 - 15
    "B2": ([Fill(B, "1", "100", "10"), Fill(S, "1", "150", "10")], "0", "0", "30", ["30"]),
    "B3": ([Fill(B, "1", "100", "10"), Fill(S, "2", "150", "20")], "-1", "150", "20", ["30"]),  # fresh short: 20 - 30 = -10
    "B4": ([Fill(S, "1", "100", "10"), Fill(S, "1", "80", "10")], "-2", "90", "-20", []),
    "B5": ([Fill(S, "2", "100", "10"), Fill(B, "0.5", "80", "5")], "-1.5", "100", "-5", []),  # 0.5 * 20 - 15
    "B6": ([Fill(S, "1", "100", "10"), Fill(B, "1", "80", "10")], "0", "0", "0", ["0"]),
    "B7": ([Fill(S, "1", "100", "10"), Fill(B, "2", "80", "20")], "1", "80", "-10", ["0"]),
    "L1a": ([Fill(B, "100", "50"), Fill(S, "100", "100", "1")], "0", "0", "4999", ["4999"]),
    "L1b": ([Fill(B, "100", "50"), Fill(S, "200", "100", "1")], "-100", "100", "4999", ["4999.5"]),
}


@pytest.mark.parametrize("name", BARTER_CASES)
def test_reference_position_barter_and_lean(name):
    fills, want_quantity, want_average, want_realised, want_trips = BARTER_CASES[name]
    p, _, trips = book(fills)
    assert quantity(p) == Decimal(want_quantity)
    assert average(p) == Decimal(want_average)
    assert money(realised(p)) == Decimal(want_realised)
    assert trips == [Decimal(t) for t in want_trips]
    if name.startswith("L1"):
        assert money(p["gross"]) == 5000  # only the closed part; fees are kept apart


@pytest.mark.parametrize(
    ("first", "second", "want"),
    [
        (("100", "2"), ("200", "2"), Fraction(150)),
        (("100", "2"), ("200", "4"), Fraction(1000, 6)),
        (("100", "20"), ("200", "1"), Fraction(2200, 21)),
        (None, ("200", "4"), Fraction(200)),
        (("100", "10"), None, Fraction(100)),
        (None, None, Fraction(0)),
    ],
)
def test_b8_average_of_two_purchases(first, second, want):
    p, _, _ = book([Fill(B, size, price) for price, size in filter(None, (first, second))])
    assert abs(Fraction(average_cost_e10(p, SIZE_EXPONENT), 10**10) - want) <= Fraction(1, 2 * 10**10)


def test_a_fill_that_is_none_is_refused():
    for side, notional, size, base_fee in ((0, 1, 1, 0), (B, 1, 0, 0), (B, -1, 1, 0), (B, 1, 1, 1)):
        with pytest.raises(ValueError, match="a fill needs"):
            apply_fill(flat_position(), side, notional, size, 0, base_fee)


def test_an_amount_beyond_64_bits_is_an_error_with_the_number():
    assert row_money(2**63 - 1, "equity") == 2**63 - 1
    with pytest.raises(MoneyOverflowError, match="equity of 9223372036854775808"):
        row_money(2**63, "equity")


fill_lists = st.lists(
    st.tuples(st.sampled_from([B, S]), st.integers(1, 10**7), st.integers(1, 10**9), st.integers(-(10**9), 10**10)), min_size=1, max_size=30
)


def fold(fills):
    p = flat_position()
    for side, size, price, fee in fills:
        apply_fill(p, side, size * price, size, fee)
    return p


@given(fill_lists, st.integers(1, 10**9))
def test_cash_plus_position_is_realised_plus_unrealised(fills, mark2):
    p = flat_position()
    for side, size, price, fee in fills:
        apply_fill(p, side, size * price, size, fee)
        assert 2 * p["cash"] + p["quantity"] * mark2 == 2 * realised(p) + unrealised2(p, mark2, 1)


@given(fill_lists)
def test_cash_and_quantity_are_the_plain_sums(fills):
    p = fold(fills)
    assert p["quantity"] == sum(s * q for s, q, _, _ in fills)
    assert p["cash"] == -sum(s * q * x + f for s, q, x, f in fills)
    assert p["fees"] == sum(f for _, _, _, f in fills)


@given(fill_lists)
def test_mirrored_fills_have_mirrored_gross_profit_within_rounding(fills):
    p, mirror = fold(fills), fold([(-s, q, x, f) for s, q, x, f in fills])
    assert mirror["quantity"] == -p["quantity"]
    assert mirror["gross"] == -p["gross"]
    assert mirror["fees"] == p["fees"]


@given(fill_lists, st.data())
def test_splitting_any_fill_changes_nothing(fills, data):
    split = []
    for side, size, price, fee in fills:
        left = size
        while left:
            part = data.draw(st.integers(1, left)) if len(split) < 60 else left
            split.append((side, part, price, fee if part == left else 0))
            left -= part
    whole, parts = fold(fills), fold(split)
    assert {k: v for k, v in parts.items() if k != "trip"} == {k: v for k, v in whole.items() if k != "trip"}


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**9)), min_size=1, max_size=20), st.data())
def test_average_lies_between_the_prices_and_reductions_leave_it(buys, data):
    p = fold([(B, q, x, 0) for q, x in buys])
    before = average_cost_e10(p, 0)
    assert min(x for _, x in buys) <= before <= max(x for _, x in buys)
    held = p["quantity"]
    while p["quantity"] > 1 and data.draw(st.booleans()):
        size = data.draw(st.integers(1, p["quantity"] - 1))
        apply_fill(p, S, size * 7, size, 0)
        assert average_cost_e10(p, 0) == before
    assert p["quantity"] <= held


@given(fill_lists)
def test_flat_after_everything_is_sold_realises_all_cash(fills):
    p = fold(fills)
    if p["quantity"]:
        side = -1 if p["quantity"] > 0 else 1
        apply_fill(p, side, abs(p["quantity"]) * 12_345, abs(p["quantity"]), 678)
    assert realised(p) == p["cash"]
    assert open_cost(p) == 0
