"""Venue filters: the cases of spec/trading-cases.md 3.5 and the field reports below them, in fixed point."""

from __future__ import annotations

from decimal import Decimal

import pytest

from operators.orders import PercentBand, VenueFilters
from schemas.instruments import Instrument
from schemas.orders import Reason
from schemas.tables import OrderType, Side

LIMIT, MARKET, STOP = OrderType.LIMIT, OrderType.MARKET, OrderType.STOP


def fixed(x, exponent):
    value = Decimal(x).scaleb(exponent)
    assert value == int(value), f"{x} does not fit exponent {exponent}"
    return int(value)


def price(x):
    return fixed(x, 7)


def size(x):
    return fixed(x, 8)


def check(filters, x, kind=LIMIT, side=Side.BUY, quantity="1", reference="0", held="0"):
    stop = price(x) if kind == STOP else 0
    return filters.check(kind, side, size(quantity), price(x) if kind == LIMIT else 0, stop, price(reference), size(held))


PRICE = VenueFilters(price_min=price("0.000001"), price_max=price("100000"), tick_size=price("0.000001"))
NO_TICK = VenueFilters(price_min=price("0.000001"), price_max=price("100000"))
LOT = VenueFilters(quantity_min=size("0.001"), quantity_max=size("100000"), lot_size=size("0.001"))


@pytest.mark.parametrize(
    ("filters", "x", "reason"),
    [
        (PRICE, "0.000001", Reason.NONE),
        (PRICE, "0.123456", Reason.NONE),
        (PRICE, "100000", Reason.NONE),
        (PRICE, "0.0000005", Reason.PRICE_BELOW_MINIMUM),
        (PRICE, "0.0000015", Reason.PRICE_OFF_TICK),
        (PRICE, "100000.000001", Reason.PRICE_ABOVE_MAXIMUM),
        (PRICE, "0", Reason.PRICE_MISSING),
        (NO_TICK, "0.0000015", Reason.NONE),
        (NO_TICK, "100000.000001", Reason.PRICE_ABOVE_MAXIMUM),
        (VenueFilters(), "0.0000001", Reason.NONE),
    ],
)
def test_price_filter(filters, x, reason):
    assert check(filters, x) == reason
    if x != "0":
        assert check(filters, x, kind=STOP) == reason
    assert check(filters, x, kind=MARKET) == Reason.NONE


@pytest.mark.parametrize(
    ("quantity", "reason"),
    [
        ("0.001", Reason.NONE),
        ("100000", Reason.NONE),
        ("0.3", Reason.NONE),  # 0.3 % 0.001 is not 0 in binary floats
        ("0.0005", Reason.QUANTITY_BELOW_MINIMUM),
        ("0.0015", Reason.QUANTITY_OFF_LOT),
        ("100000.001", Reason.QUANTITY_ABOVE_MAXIMUM),
        ("0", Reason.QUANTITY_BELOW_MINIMUM),
    ],
)
def test_lot_filter(quantity, reason):
    for kind in OrderType:
        assert check(LOT, "1", kind=kind, quantity=quantity) == reason


def test_market_orders_may_have_a_smaller_maximum():
    filters = VenueFilters(quantity_max=size("100"), market_quantity_max=size("10"))
    assert check(filters, "1", quantity="11") == Reason.NONE
    assert check(filters, "1", kind=MARKET, quantity="11") == Reason.QUANTITY_ABOVE_MAXIMUM


def notional(low, high, **flags):
    return VenueFilters(notional_min=int(Decimal(low).scaleb(15)), notional_max=int(Decimal(high).scaleb(15)), **flags)


@pytest.mark.parametrize(
    ("quantity", "x", "reason"),
    [
        ("0.1", "100", Reason.NONE),  # 10.00
        ("100", "100", Reason.NONE),  # 10000
        ("0.99999999", "10", Reason.NOTIONAL_BELOW_MINIMUM),  # 9.9999999
        ("100.00000001", "100", Reason.NOTIONAL_ABOVE_MAXIMUM),  # 10000.000001
    ],
)
def test_notional_filter(quantity, x, reason):
    assert check(notional("10", "10000"), x, quantity=quantity) == reason


def test_notional_of_market_orders_counts_only_where_it_applies():
    assert check(notional("10", "10000"), "0", kind=MARKET, quantity="1", reference="1") == Reason.NONE
    strict = notional("10", "10000", notional_min_applies_to_market=True, notional_max_applies_to_market=True)
    assert check(strict, "0", kind=MARKET, quantity="1", reference="1") == Reason.NOTIONAL_BELOW_MINIMUM
    assert check(strict, "0", kind=MARKET, quantity="10", reference="1") == Reason.NONE
    assert check(strict, "0", kind=MARKET, quantity="1", reference="10001") == Reason.NOTIONAL_ABOVE_MAXIMUM
    assert check(strict, "0", kind=MARKET, quantity="1") == Reason.NONE  # no reference price is known


BOTH = PercentBand(Decimal("0.7"), Decimal("1.3"))
BY_SIDE = VenueFilters(buy_band=PercentBand(Decimal("0.2"), Decimal("1.2")), sell_band=PercentBand(Decimal("0.8"), Decimal(5)))


@pytest.mark.parametrize(
    ("filters", "side", "x", "passes"),
    [
        *[
            (VenueFilters(buy_band=BOTH, sell_band=BOTH), side, x, ok)
            for side in Side
            for x, ok in (("70", 1), ("130", 1), ("69.99", 0), ("130.01", 0))
        ],
        *[(BY_SIDE, Side.BUY, x, ok) for x, ok in (("20", 1), ("120", 1), ("19.99", 0), ("120.01", 0))],
        *[(BY_SIDE, Side.SELL, x, ok) for x, ok in (("80", 1), ("500", 1), ("79.99", 0), ("500.01", 0))],
    ],
)
def test_percent_price(filters, side, x, passes):
    assert check(filters, x, side=side, reference="100") == (Reason.NONE if passes else Reason.PRICE_OUTSIDE_PERCENT_BAND)
    assert check(filters, x, side=side) == Reason.NONE


def test_maximum_position_counts_open_purchases():
    filters = VenueFilters(position_max=size("10"))
    # free 4, locked 3, open purchases 2
    assert check(filters, "1", quantity="1", held="9") == Reason.NONE
    assert check(filters, "1", quantity="1.001", held="9") == Reason.POSITION_ABOVE_MAXIMUM
    assert check(filters, "1", side=Side.SELL, quantity="5", held="9") == Reason.NONE


def test_field_reports():
    # binance-java-api #331; BinanceDotNet #70: floor and fraction fail, only 17 passes
    step = VenueFilters(lot_size=size("0.000001"))
    assert check(step, "1", quantity="0.04749053") == Reason.QUANTITY_OFF_LOT
    small = VenueFilters(lot_size=size("1"), notional_min=int(Decimal("0.001").scaleb(15 + 1)))
    got = {q: small.check(LIMIT, Side.BUY, size(q), fixed("0.00005924", 8), 0, 0) for q in ("16.88", "16", "17")}
    assert got == {"16.88": Reason.QUANTITY_OFF_LOT, "16": Reason.NOTIONAL_BELOW_MINIMUM, "17": Reason.NONE}


def test_filters_of_an_instrument():
    f = VenueFilters.of(
        Instrument(symbol="A", price_exponent=4, size_exponent=0, tick_size=100, lot_size=10, price_max=50_000, size_max=990)
    )
    assert [f.check(LIMIT, Side.BUY, 10, p, 0, 0) for p in (100, 50_000)] == [Reason.NONE] * 2
    assert f.check(LIMIT, Side.BUY, 10, 50_100, 0, 0) == Reason.PRICE_ABOVE_MAXIMUM
    assert f.check(LIMIT, Side.BUY, 10, 150, 0, 0) == Reason.PRICE_OFF_TICK
    assert f.check(LIMIT, Side.BUY, 15, 100, 0, 0) == Reason.QUANTITY_OFF_LOT
    assert f.check(LIMIT, Side.BUY, 1000, 100, 0, 0) == Reason.QUANTITY_ABOVE_MAXIMUM
