"""What the venue refuses about an order itself, before it looks at the market."""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.instruments import Instrument
from schemas.orders import Reason, TimeInForce
from schemas.tables import OrderType, Side

_MARKET: Final = int(OrderType.MARKET)
_STOP: Final = int(OrderType.STOP)
_TYPES: Final = frozenset(map(int, OrderType))
_SIDES: Final = frozenset(map(int, Side))
_TIMES: Final = frozenset(map(int, TimeInForce))
_AT_ONCE: Final = frozenset({int(TimeInForce.IOC), int(TimeInForce.FOK)})


def refusal(request: np.void, instrument: Instrument) -> Reason:
    """The first thing that is wrong with a new order (ORDER_REQUEST record), or Reason.NONE.

    An instrument that is not tradeable or shows no quotes takes no orders; quantities are whole lots up to `size_max`, prices whole
    ticks up to `price_max`; a stop ends at a time or a close, so it is never IOC or FOK.
    """
    kind, quantity, tif = int(request["type"]), int(request["quantity"]), int(request["time_in_force"])
    if not instrument.tradeable:
        return Reason.SYMBOL_NOT_TRADEABLE
    if not instrument.quoted:
        return Reason.SYMBOL_NOT_QUOTED
    if kind not in _TYPES:
        return Reason.TYPE_UNKNOWN
    if int(request["side"]) not in _SIDES:
        return Reason.SIDE_UNKNOWN
    if tif not in _TIMES or (kind == _STOP and tif in _AT_ONCE):
        return Reason.TIME_IN_FORCE_UNKNOWN
    if quantity <= 0:
        return Reason.QUANTITY_BELOW_MINIMUM
    if quantity > instrument.size_max:
        return Reason.QUANTITY_ABOVE_MAXIMUM
    if quantity % instrument.lot_size:
        return Reason.QUANTITY_OFF_LOT
    if kind == _MARKET:
        return Reason.NONE
    needed = int(request["stop_price"] if kind == _STOP else request["price"])
    if needed <= 0:
        return Reason.STOP_PRICE_MISSING if kind == _STOP else Reason.PRICE_MISSING
    if needed > instrument.price_max:
        return Reason.PRICE_ABOVE_MAXIMUM
    if needed % instrument.tick_size:
        return Reason.PRICE_OFF_TICK
    return Reason.NONE
