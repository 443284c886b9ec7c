"""A venue's filters, checked before an order is sent: price, lot, notional, percent price, position (Binance's rules, all exact).

Source: Binance spot API documentation, filters; cases in spec/trading-cases.md 3.5. All bounds are inclusive; a bound or step of 0
switches that part off. Amounts are integers in the instrument's fixed point, notional = price * quantity in the product of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from schemas.instruments import Instrument
from schemas.orders import Reason
from schemas.tables import OrderType, Side

# Members looked up once: at each use that costs ten times what a name does (Enum's __getattr__).
_LIMIT: Final = OrderType.LIMIT
_MARKET: Final = OrderType.MARKET
_STOP: Final = OrderType.STOP
_NONE: Final = Reason.NONE


@dataclass(frozen=True, slots=True)
class PercentBand:
    """Limits of a price as multiples of the reference price: 0.7 and 1.3, say."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class VenueFilters:
    """What a venue accepts of one instrument.

    `market_*`: bounds for market orders where they differ (0: as for others). `notional_min_applies_to_market`, and `max`: whether a
    market order's notional at the reference price is checked. `buy_band`, `sell_band`: percent price by side.
    """

    price_min: int = 0
    price_max: int = 0
    tick_size: int = 0
    quantity_min: int = 0
    quantity_max: int = 0
    lot_size: int = 0
    market_quantity_max: int = 0
    notional_min: int = 0
    notional_max: int = 0
    notional_min_applies_to_market: bool = False
    notional_max_applies_to_market: bool = False
    buy_band: PercentBand | None = None
    sell_band: PercentBand | None = None
    position_max: int = 0

    @classmethod
    def of(cls, instrument: Instrument) -> VenueFilters:
        """What follows from the instrument alone: one tick and one lot at least, its largest price and size."""
        return cls(
            price_min=instrument.tick_size,
            price_max=instrument.price_max,
            tick_size=instrument.tick_size,
            quantity_min=instrument.lot_size,
            quantity_max=instrument.size_max,
            lot_size=instrument.lot_size,
        )

    def check(self, kind: int, side: int, quantity: int, price: int, stop_price: int, reference_price: int, held: int = 0) -> Reason:
        """The first filter that the order fails, or Reason.NONE.

        `kind`: tables.OrderType; `price` of a limit, `stop_price` of a stop, else 0; `reference_price`: the venue's average or last
        price, 0 unknown (percent price and a market order's notional are then not checked); `held`: position plus open purchases.
        """
        reason = self._quantity(kind, quantity)
        if reason is _NONE and kind == _LIMIT:
            reason = self._price(price, Reason.PRICE_MISSING)
        if reason is _NONE and kind == _STOP:
            reason = self._price(stop_price, Reason.STOP_PRICE_MISSING)
        if reason is _NONE and kind == _LIMIT and reference_price:
            band = self.buy_band if side == Side.BUY else self.sell_band
            if band is not None and not band.low * reference_price <= price <= band.high * reference_price:
                reason = Reason.PRICE_OUTSIDE_PERCENT_BAND
        if reason is _NONE:
            reason = self._notional(kind, quantity, price or reference_price)
        if reason is _NONE and side == Side.BUY and 0 < self.position_max < held + quantity:
            reason = Reason.POSITION_ABOVE_MAXIMUM
        return reason

    def _quantity(self, kind: int, quantity: int) -> Reason:
        most = self.market_quantity_max if kind == _MARKET and self.market_quantity_max else self.quantity_max
        if quantity <= 0 or quantity < self.quantity_min:
            return Reason.QUANTITY_BELOW_MINIMUM
        if 0 < most < quantity:
            return Reason.QUANTITY_ABOVE_MAXIMUM
        if self.lot_size and quantity % self.lot_size:
            return Reason.QUANTITY_OFF_LOT
        return _NONE

    def _price(self, price: int, missing: Reason) -> Reason:
        if price <= 0:
            return missing
        if price < self.price_min:
            return Reason.PRICE_BELOW_MINIMUM
        if 0 < self.price_max < price:
            return Reason.PRICE_ABOVE_MAXIMUM
        if self.tick_size and price % self.tick_size:
            return Reason.PRICE_OFF_TICK
        return _NONE

    def _notional(self, kind: int, quantity: int, price: int) -> Reason:
        market = kind == _MARKET
        if price == 0:
            return _NONE
        if price * quantity < self.notional_min and (not market or self.notional_min_applies_to_market):
            return Reason.NOTIONAL_BELOW_MINIMUM
        if 0 < self.notional_max < price * quantity and (not market or self.notional_max_applies_to_market):
            return Reason.NOTIONAL_ABOVE_MAXIMUM
        return _NONE
