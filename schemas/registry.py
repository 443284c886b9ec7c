"""Known instruments, fee schedules and trade-condition tables: a versioned registry (REGISTRY_VERSION in schemas/instruments.py).

Importers ask here first. What is not here gets its exponents from the data (`measured`). The numbers below are facts of the venues
at the time of the recorded data; a change of any of them raises REGISTRY_VERSION.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

from schemas.errors import InstrumentError
from schemas.instruments import ConditionTable, FeeSchedule, Instrument
from schemas.tables import MONEY_EXPONENT

Market = Literal["SPOT", "UM", "CM"]

IBKR_FIXED_US_2013: Final = FeeSchedule(
    name="ibkr_fixed_us_2013",
    kind="per_share",
    per_share=Decimal("0.005"),
    minimum_per_order=Decimal("1.00"),
    maximum_fraction=Decimal("0.01"),
    sec_fee_rate=Decimal("0.0000174"),
    taf_per_share=Decimal("0.000119"),
)
"""Interactive Brokers, US stocks, fixed plan: 0.005 USD a share, at least 1 USD an order, at most 1% of its value, exchange fees
included. On sales the SEC's Section 31 fee, 17.40 USD a million (25 May 2013 to 17 March 2014), and FINRA's trading activity fee,
0.000119 USD a share (since 1 July 2012). The latter's cap of 5.95 USD a trade, reached at 50,000 shares, is not modelled."""

BINANCE_SPOT_REGULAR: Final = FeeSchedule(name="binance_spot_regular", kind="basis_points", maker_bps=Decimal(10), taker_bps=Decimal(10))
"""Binance spot, regular user without a BNB discount: 0.1% either way (August 2024)."""

BINANCE_FUTURES_REGULAR: Final = FeeSchedule(
    name="binance_futures_regular", kind="basis_points", maker_bps=Decimal(2), taker_bps=Decimal(5)
)
"""Binance USD-M and COIN-M futures, regular user: maker 0.02%, taker 0.05% (August 2024)."""

FOREX_SPREAD_ONLY: Final = FeeSchedule(name="forex_spread_only", kind="none")
"""Retail forex accounts whose broker is paid by the spread that the recorded quotes contain."""

FEE_SCHEDULES: Final = {f.name: f for f in (IBKR_FIXED_US_2013, BINANCE_SPOT_REGULAR, BINANCE_FUTURES_REGULAR, FOREX_SPREAD_ONLY)}

_US_SPECIAL: Final = (
    0x2  # cash settlement
    | 0x4  # next-day settlement
    | 0x8  # settlement at the seller's choice
    | 0x40  # opening auction
    | 0x80  # closing auction
    | 0x200  # price derived from another product
    | 0x800  # sold, reported late
    | 0x2000  # extended hours
    | 0x4000  # out of sequence
    | 0x40000  # special, see spec/realism.md section 2
    | 0x100000  # special
    | 0x1000000  # special
)

US_EQUITY_CONDITIONS: Final = ConditionTable(name="us_equity_lean", no_fill=_US_SPECIAL, no_features=_US_SPECIAL, off_exchange="D")
"""Trade conditions of LEAN's US equity ticks (hexadecimal flags). The same prints that fill no order feed no features: an auction
print of a million shares is no trade of the book. All of them are part of the consolidated volume, so `no_volume` is empty.
0x1 is regular, 0x20 an intermarket sweep, 0x20000000 exempt from the trade-through rule: these are ordinary. Exchange D is the trade
reporting facility."""

LOBSTER_HIDDEN: Final = 1
LOBSTER_CROSS: Final = 2
LOBSTER_CONDITIONS: Final = ConditionTable(name="lobster", no_fill=LOBSTER_HIDDEN | LOBSTER_CROSS, no_features=LOBSTER_CROSS)
"""Ours, for LOBSTER event types: 1 an execution against a hidden order (type 5), 2 an auction print (type 6)."""

CONDITION_TABLES: Final = {t.name: t for t in (US_EQUITY_CONDITIONS, LOBSTER_CONDITIONS)}

_BINANCE_DIGITS: Final[dict[str, tuple[int, int, int, int]]] = {
    "BTCUSDT.SPOT": (2, 6, 1, 10),
    "ETHUSDT.SPOT": (2, 6, 1, 100),
    "BTCUSDT.UM": (2, 3, 10, 1),
    "ETHUSDT.UM": (2, 3, 1, 1),
    "BTCUSD_PERP.CM": (1, 0, 1, 1),
    "ETHUSD_PERP.CM": (2, 0, 1, 1),
}
"""Price exponent, size exponent, tick size, lot size. Spot sizes go to 1e-6 because old orders in the book are finer than the lot."""

_INT64_MAX: Final = 2**63 - 1


def us_equity(symbol: str, *, quoted: bool, leader: str | None, fees: FeeSchedule = IBKR_FIXED_US_2013) -> Instrument:
    """A US stock with prices in 1e-4 USD, a cent as its tick, one share as its lot. Without quotes it may be observed, never traded."""
    return Instrument(
        symbol=symbol,
        price_exponent=4,
        size_exponent=0,
        tick_size=100,
        lot_size=1,
        venue="US",
        calendar="us_equity",
        conditions=US_EQUITY_CONDITIONS,
        fees=fees,
        quoted=quoted,
        tradeable=quoted,
        leader=leader,
    )


def lobster_equity(symbol: str) -> Instrument:
    """A stock on NASDAQ's book alone, as LOBSTER reconstructs it."""
    return us_equity(symbol, quoted=True, leader=None).model_copy(update={"venue": "NASDAQ", "conditions": LOBSTER_CONDITIONS})


def forex_pair(pair: str, broker: str) -> Instrument:
    """A currency pair as one broker quotes it, named PAIR.BROKER: two brokers' quotes are two books. Prices in 1e-5, or 1e-3 for yen."""
    exponent = 3 if pair.endswith("JPY") else 5
    return Instrument(
        symbol=f"{pair}.{broker}",
        price_exponent=exponent,
        size_exponent=0,
        tick_size=1,
        lot_size=1000,
        currency=pair[3:],
        venue=broker,
        calendar="forex",
        fees=FOREX_SPREAD_ONLY,
        sized=False,
    )


def binance_name(symbol: str, market: Market) -> str:
    """BTCUSDT trades on spot and as a USD-M perpetual: the market is part of the name, `BTCUSDT.SPOT`, `BTCUSDT.UM`, `BTCUSD_PERP.CM`."""
    return f"{symbol}.{market}"


def is_known(name: str) -> bool:
    """Whether the registry has the digits of a Binance symbol."""
    return name in _BINANCE_DIGITS


def binance(symbol: str, market: Market, digits: tuple[int, int, int, int] | None = None, leader: str | None = None) -> Instrument:
    """A Binance symbol; `digits` (price exponent, size exponent, tick size, lot size) where the registry does not know it.

    COIN-M contracts are inverse (a contract is a fixed amount of USD, settled in the coin): P&L in price times size would be
    wrong, so they are observed, never traded. Spot is not shortable.
    """
    name = binance_name(symbol, market)
    known = _BINANCE_DIGITS.get(name, digits)
    if known is None:
        msg = f"no instrument {name!r} in the registry and no digits given"
        raise InstrumentError(msg)
    price_exponent, size_exponent, tick_size, lot_size = known
    price_max = 10 ** (price_exponent + 6)
    return Instrument(
        symbol=name,
        price_exponent=price_exponent,
        size_exponent=size_exponent,
        tick_size=tick_size,
        lot_size=lot_size,
        currency=_currency(symbol),
        venue=f"BINANCE_{market}",
        fees=BINANCE_SPOT_REGULAR if market == "SPOT" else BINANCE_FUTURES_REGULAR,
        shortable=market != "SPOT",
        tradeable=market != "CM",
        leader=leader,
        price_max=price_max,
        size_max=min(2**53, _INT64_MAX // price_max),
    )


def _currency(symbol: str) -> str:
    pair = symbol.split("_")[0]
    quotes = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "EUR", "TRY", "BTC", "ETH", "BNB")
    return next((q for q in quotes if pair.endswith(q)), "USD")


def measured(symbol: str, price_digits: int, size_digits: int, largest_price: int, largest_size: int, **fields: object) -> Instrument:
    """An instrument that only its data describe: decimals seen, and the largest price and size in that fixed point.

    Room is left for prices ten times the largest; sizes take the rest of 64 bits. Raises InstrumentError where the numbers seen
    do not fit, with what to do.
    """
    if price_digits + size_digits > MONEY_EXPONENT:
        msg = (
            f"{symbol}: {price_digits} decimals of price and {size_digits} of size are more than the {MONEY_EXPONENT} that money has; "
            "state coarser ones (price_exponent, size_exponent): finer rows are then refused"
        )
        raise InstrumentError(msg)
    price_max = min(2**53, 10 * max(1, abs(largest_price)))
    size_max = min(2**53, _INT64_MAX // price_max)
    if abs(largest_price) > price_max or abs(largest_size) > size_max:
        msg = f"{symbol}: {largest_price} and size {largest_size} in fixed point overflow 64 bits when multiplied; state coarser exponents"
        raise InstrumentError(msg)
    given: dict[str, object] = {
        "symbol": symbol,
        "price_exponent": price_digits,
        "size_exponent": size_digits,
        "tick_size": 1,
        "lot_size": 1,
        "price_max": price_max,
        "size_max": size_max,
    }
    return Instrument.model_validate({**given, **fields})
