"""What the book knows beforehand about each instrument: scales, fees, sessions, corporate actions. Immutable."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from operators.orders import VenueFilters
from operators.portfolio import FeeMeter
from operators.risk import Listing
from schemas.instruments import InstrumentList

SECOND_NS: Final = 1_000_000_000
FOREVER_NS: Final = 2**61
"""A time after every other."""


class Market:
    """One instrument. `listing` is what risk asks for; `price_tick` the price step in fixed point."""

    def __init__(self, instruments: InstrumentList, symbol: int, currency: str) -> None:
        instrument = instruments.instruments[symbol]
        self.symbol = symbol
        self.name = instrument.symbol
        self.currency = instrument.currency
        self.price_tick = instrument.tick_size
        self.fees = FeeMeter(instrument)
        self.filters = VenueFilters.of(instrument)
        self.listing = Listing(
            tradeable=instrument.tradeable and instrument.quoted,
            same_currency=instrument.currency == currency,
            shortable=instrument.shortable,
            lot=instrument.lot_size,
            scale=instrument.notional_scale,
            size_exponent=instrument.size_exponent,
        )
        sessions = instruments.session_array(symbol).tolist()
        self._opens = [o for o, _ in sessions]
        self._closes = [c for _, c in sessions]
        self._actions = [a.ts_ns for a in instruments.actions_of(symbol)]
        before = {bisect_right(self._closes, a) - 1 for a in self._actions} - {-1}
        self._last_closes = sorted(self._closes[i] for i in before)

    def session(self, now_ns: int) -> tuple[int, int]:
        """(open, close) of the session that `now_ns` lies in, else (next open or FOREVER_NS, its close or FOREVER_NS)."""
        i = bisect_right(self._opens, now_ns) - 1
        if i >= 0 and now_ns < self._closes[i]:
            return self._opens[i], self._closes[i]
        if i + 1 < len(self._opens):
            return self._opens[i + 1], self._closes[i + 1]
        return FOREVER_NS, FOREVER_NS

    @property
    def actions(self) -> tuple[int, ...]:
        """Times of the symbol's corporate actions, ascending."""
        return tuple(self._actions)

    def acted(self, since_ns: int, now_ns: int) -> bool:
        """Whether a corporate action took effect after `since_ns` and by `now_ns`."""
        return bisect_right(self._actions, since_ns) != bisect_right(self._actions, now_ns)

    def last_close(self, now_ns: int) -> int:
        """The first close after `now_ns` that no session follows before a corporate action, FOREVER_NS without one."""
        i = bisect_right(self._last_closes, now_ns)
        return self._last_closes[i] if i < len(self._last_closes) else FOREVER_NS

    def passive(self, side: int, bid: int, ask: int) -> int:
        """The own touch, on the price tick: what a purchase bids, what a sale asks."""
        return bid - bid % self.price_tick if side > 0 else ask + -ask % self.price_tick

    def stop_at(self, side: int, price: int, distance: int) -> int:
        """The stop of a position on `side` entered at `price`, on the price tick and no nearer than `distance`."""
        stop = price - side * distance
        return stop - stop % self.price_tick if side > 0 else stop + -stop % self.price_tick
