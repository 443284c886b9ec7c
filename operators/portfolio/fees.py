"""Fees of an order's fills under a FeeSchedule, exact and cumulative: how an order's fills are split changes nothing.

Per share (a broker's tiered or fixed plan): max(minimum_per_order, per_share * shares), at most maximum_fraction * notional,
which wins over the minimum; on sales the SEC fee on notional and the TAF per share come on top. Basis points: maker and taker
rates on the notional filled each way. The total so far is rounded half up to 1e-10, a fill pays the difference.

Tally, what an order has been charged for:

| field | unit | meaning |
| --- | --- | --- |
| shares | fixed point | filled |
| maker, taker | 1e-10 | notional filled as maker, as taker |
| charged | 1e-10 | fees so far |
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, TypedDict

from operators.portfolio.accounting import round_half_up
from schemas.instruments import Instrument
from schemas.tables import MONEY_EXPONENT, Liquidity

# Members looked up once: at each use that costs ten times what a name does (Enum's __getattr__).
_MAKER: Final = Liquidity.MAKER


class FeeTally(TypedDict):
    shares: int
    maker: int
    taker: int
    charged: int


def no_fees() -> FeeTally:
    """The tally of an order without fills."""
    return {"shares": 0, "maker": 0, "taker": 0, "charged": 0}


class FeeMeter:
    """An instrument's fee schedule as integers over one denominator. Immutable."""

    def __init__(self, instrument: Instrument) -> None:
        f = instrument.fees
        self.kind = f.kind
        bps = (f.maker_bps.scaleb(-4), f.taker_bps.scaleb(-4))
        share = Decimal(1).scaleb(MONEY_EXPONENT - instrument.size_exponent)
        rates = (f.maximum_fraction, f.sec_fee_rate, *bps, f.per_share * share, f.taf_per_share * share)
        minimum = f.minimum_per_order.scaleb(MONEY_EXPONENT)
        places = max(-min(0, _exponent(x)) for x in (*rates, minimum))
        self.denominator = 10**places
        whole = [int(x.scaleb(places)) for x in rates]
        self.maximum, self.sec, self.maker, self.taker, self.per_share, self.taf = whole
        self.minimum = int(minimum.scaleb(places))

    def charge(self, tally: FeeTally, side: int, quantity: int, notional: int, liquidity: int) -> int:
        """The fee in 1e-10 of one more fill of the order; `tally` is brought up to date in place."""
        tally["shares"] += quantity
        tally["maker" if liquidity == _MAKER else "taker"] += notional
        total = round_half_up(self._total(side, tally["shares"], tally["maker"], tally["taker"]), self.denominator)
        fee = total - tally["charged"]
        tally["charged"] = total
        return fee

    def whole(self, side: int, quantity: int, notional: int, liquidity: int) -> int:
        """The fee in 1e-10 of an order that fills at once."""
        maker = notional if liquidity == _MAKER else 0
        return round_half_up(self._total(side, quantity, maker, notional - maker), self.denominator)

    def _total(self, side: int, shares: int, maker: int, taker: int) -> int:
        if self.kind == "none":
            return 0
        if self.kind == "basis_points":
            return maker * self.maker + taker * self.taker
        notional = maker + taker
        total = min(max(self.minimum, self.per_share * shares), self.maximum * notional)
        if side < 0:
            total += self.sec * notional + self.taf * shares
        return total


def _exponent(x: Decimal) -> int:
    exponent = x.normalize().as_tuple().exponent
    if not isinstance(exponent, int):
        msg = f"a fee rate must be a finite number, given {x}"
        raise TypeError(msg)
    return exponent
