"""Instruments: what overflows is refused; the registry's entries."""

from __future__ import annotations

from decimal import Decimal

import pytest

from schemas import registry
from schemas.errors import InstrumentError
from schemas.instruments import Instrument, InstrumentList


def instrument(**fields: object) -> Instrument:
    return Instrument.model_validate({"symbol": "X", "price_exponent": 2, "size_exponent": 0, "tick_size": 1, "lot_size": 1, **fields})


def test_the_defaults_fit_into_64_bits_and_one_more_does_not() -> None:
    x = instrument()
    assert x.price_max * x.size_max < 2**63 <= x.price_max * (x.size_max + 1)
    with pytest.raises(InstrumentError, match=r"X: a price of 10000000000 times a size of \d+ overflows 64 bits; use coarser fixed point"):
        instrument(size_max=x.size_max + 1)


def test_product_of_largest_price_and_size_may_be_two_to_the_63_less_one_at_most() -> None:
    assert instrument(price_max=2**31, size_max=2**31).size_max == 2**31
    with pytest.raises(InstrumentError, match="overflows"):
        instrument(price_max=2**32, size_max=2**31)


def test_exponents_beyond_those_of_money_are_refused() -> None:
    assert instrument(price_exponent=2, size_exponent=8).notional_scale == 1
    with pytest.raises(InstrumentError, match="add up to more than 10"):
        instrument(price_exponent=3, size_exponent=8)


def test_the_refusal_holds_for_instruments_that_come_from_a_file() -> None:
    tree = InstrumentList(instruments=(instrument(),)).model_dump(mode="json")
    tree["instruments"][0]["size_max"] = 2**53
    with pytest.raises(InstrumentError, match="overflows"):
        InstrumentList.model_validate(tree)


@pytest.mark.parametrize("name", ["BTCUSDT", "ETHUSDT"])
def test_spot_and_perpetual_of_one_name_are_two_instruments(name: str) -> None:
    spot, perpetual = registry.binance(name, "SPOT"), registry.binance(name, "UM")
    assert (spot.symbol, perpetual.symbol) == (f"{name}.SPOT", f"{name}.UM")
    assert not spot.shortable
    assert perpetual.shortable
    assert spot.currency == perpetual.currency == "USDT"
    assert (spot.fees.maker_bps, spot.fees.taker_bps) == (10, 10)
    assert (perpetual.fees.maker_bps, perpetual.fees.taker_bps) == (2, 5)
    assert spot.price(spot.price_max) >= 1_000_000


def test_inverse_contracts_are_observed_never_traded() -> None:
    coin = registry.binance("BTCUSD_PERP", "CM")
    assert not coin.tradeable
    assert coin.currency == "USD"


def test_a_stock_without_quotes_is_not_tradeable() -> None:
    spy, ibm = registry.us_equity("SPY", quoted=False, leader=None), registry.us_equity("IBM", quoted=True, leader="SPY")
    assert (spy.quoted, spy.tradeable, ibm.tradeable, ibm.leader) == (False, False, True, "SPY")
    assert (ibm.price(1_836_300), ibm.tick_size, ibm.lot_size) == (Decimal("183.6300"), 100, 1)


def test_special_us_prints_fill_no_order_and_ordinary_ones_do() -> None:
    table = registry.US_EQUITY_CONDITIONS
    for flag in (0x40, 0x80, 0x2000, 0x200, 0x40000, 0x100000, 0x1000000):
        assert table.no_fill & flag
        assert table.no_features & flag
    for flag in (0x1, 0x20, 0x20000000):
        assert not table.no_fill & flag
    assert table.off_exchange == "D"
    assert table.no_volume == 0


def test_fees_of_october_2013() -> None:
    f = registry.FEE_SCHEDULES["ibkr_fixed_us_2013"]
    assert (f.per_share, f.minimum_per_order, f.maximum_fraction) == (Decimal("0.005"), 1, Decimal("0.01"))
    assert (f.sec_fee_rate * 1_000_000, f.taf_per_share) == (Decimal("17.4"), Decimal("0.000119"))


def test_forex_pairs_are_named_by_broker_and_unsized() -> None:
    pair = registry.forex_pair("EURUSD", "FXCM")
    assert (pair.symbol, pair.currency, pair.price_exponent, pair.sized) == ("EURUSD.FXCM", "USD", 5, False)
    assert registry.forex_pair("USDJPY", "OANDA").price_exponent == 3


def test_measured_instruments_leave_room_or_say_what_to_do() -> None:
    x = registry.measured("X", 2, 3, 12_345, 1_000)
    assert (x.price_max, x.size_max) == (123_450, (2**63 - 1) // 123_450 if (2**63 - 1) // 123_450 < 2**53 else 2**53)
    with pytest.raises(InstrumentError, match="7 decimals of price and 4 of size"):
        registry.measured("X", 7, 4, 1, 1)
    with pytest.raises(InstrumentError, match="overflow 64 bits"):
        registry.measured("X", 2, 8, 10**15, 10**15)


def test_an_unknown_binance_symbol_needs_its_digits() -> None:
    with pytest.raises(InstrumentError, match=r"no instrument 'DOGEUSDT.SPOT'"):
        registry.binance("DOGEUSDT", "SPOT")
    assert registry.binance("DOGEUSDT", "SPOT", (5, 0, 1, 1)).price_exponent == 5
