"""Compiled entrance of the venue: a request becomes an order's row, or the row of a cancel, among the rows of its symbol.

`orders` VENUE_ORDER (room,) of one account and symbol, of which the first `n` rows are in use, by arrival; `p` PARAMETERS (1,).
"""

# mypy: no-warn-return-any

from __future__ import annotations

from struct import Struct
from typing import Any, Final

import numpy as np
from numba import njit

from operators.execution.latency import CANCEL, ORDER, latency_ns, uniform_of
from operators.execution.layout import NEVER, PHASE_DEAD, PHASE_IN_FLIGHT
from operators.execution.market_kernels import action_after
from schemas.orders import ORDER_REQUEST, REDUCE_ONLY, UNKNOWN_QUEUE, Operation, Reason, TimeInForce
from schemas.tables import OrderType, Side

UNKNOWN_EXEC_N: Final = 2**32 - 1
"""`exec_n` of the report that a cancelled order is not known (any more)."""

REQUEST: Final = np.dtype([(name, "u1", (6,)) if name == "pad" else (name, ORDER_REQUEST[name].str) for name in ORDER_REQUEST.names or ()])
"""ORDER_REQUEST with a padding that compiled code can type: `np.frombuffer(requests.tobytes(), REQUEST)`."""

REQUEST_HEAD: Final = Struct("<2q32xI5xB6x")
"""(order_n, sent_ts_ns, symbol, account) of an ORDER_REQUEST record."""

_CANCEL = int(Operation.CANCEL)
_GTD = int(TimeInForce.GTD)
_FIRST_TIME = int(min(TimeInForce))
_LAST_TIME = int(max(TimeInForce))
_IOC = int(TimeInForce.IOC)
_FOK = int(TimeInForce.FOK)
_MARKET = int(OrderType.MARKET)
_LIMIT = int(OrderType.LIMIT)
_STOP = int(OrderType.STOP)
_BUY = int(Side.BUY)
_SELL = int(Side.SELL)
_NONE = int(Reason.NONE)
_CANCEL_UNKNOWN = int(Reason.CANCEL_UNKNOWN_ORDER)
_SYMBOL_NOT_TRADEABLE = int(Reason.SYMBOL_NOT_TRADEABLE)
_SYMBOL_NOT_QUOTED = int(Reason.SYMBOL_NOT_QUOTED)
_TYPE_UNKNOWN = int(Reason.TYPE_UNKNOWN)
_SIDE_UNKNOWN = int(Reason.SIDE_UNKNOWN)
_TIME_UNKNOWN = int(Reason.TIME_IN_FORCE_UNKNOWN)
_QUANTITY_BELOW = int(Reason.QUANTITY_BELOW_MINIMUM)
_QUANTITY_ABOVE = int(Reason.QUANTITY_ABOVE_MAXIMUM)
_QUANTITY_OFF_LOT = int(Reason.QUANTITY_OFF_LOT)
_PRICE_MISSING = int(Reason.PRICE_MISSING)
_STOP_PRICE_MISSING = int(Reason.STOP_PRICE_MISSING)
_PRICE_ABOVE = int(Reason.PRICE_ABOVE_MAXIMUM)
_PRICE_OFF_TICK = int(Reason.PRICE_OFF_TICK)


@njit(cache=True)
def refusal(r: Any, q: Any) -> int:
    """The first thing that is wrong with a new order itself (ORDER_REQUEST record), or Reason.NONE; refused so on arrival.

    An instrument that is not tradeable or shows no quotes takes no orders; quantities are whole lots up to `size_max`, prices whole
    ticks up to `price_max`; a stop ends at a time or a close, so it is never IOC or FOK.
    """
    if not q.tradeable:
        return _SYMBOL_NOT_TRADEABLE
    if not q.quoted:
        return _SYMBOL_NOT_QUOTED
    if r.type not in (_MARKET, _LIMIT, _STOP):
        return _TYPE_UNKNOWN
    if r.side not in (_BUY, _SELL):
        return _SIDE_UNKNOWN
    tif = r.time_in_force
    if tif < _FIRST_TIME or tif > _LAST_TIME or (r.type == _STOP and (tif in (_IOC, _FOK))):
        return _TIME_UNKNOWN
    if r.quantity <= 0:
        return _QUANTITY_BELOW
    if r.quantity > q.size_max:
        return _QUANTITY_ABOVE
    if r.quantity % q.lot_size != 0:
        return _QUANTITY_OFF_LOT
    if r.type == _MARKET:
        return _NONE
    needed = r.stop_price if r.type == _STOP else r.price
    if needed <= 0:
        return _STOP_PRICE_MISSING if r.type == _STOP else _PRICE_MISSING
    if needed > q.price_max:
        return _PRICE_ABOVE
    if needed % q.tick_size != 0:
        return _PRICE_OFF_TICK
    return _NONE


@njit(cache=True)
def forget(orders: Any, n: int, at: int) -> int:
    """Drops the rows of orders whose end the book has seen by slice `at`, so that it sends no cancel for them any more."""
    kept = 0
    for j in range(n):
        o = orders[j]
        if o.phase != PHASE_DEAD or o.cancel_ns < NEVER or o.final_visible + 1 >= at:
            if kept != j:
                orders[kept] = o
            kept += 1
    return kept


@njit(cache=True)
def any_alive(orders: Any, n: int) -> bool:
    """Whether anything can still happen to one of the orders."""
    alive = False
    for j in range(n):
        alive = alive or orders[j].phase != PHASE_DEAD or orders[j].cancel_ns < NEVER
    return alive


@njit(cache=True)
def room_for(orders: Any, n: int, arrival_ns: int) -> int:
    """Moves later arrivals one row on and returns the place that is free then."""
    j = n
    while j > 0 and orders[j - 1].arrival_ns > arrival_ns:
        orders[j] = orders[j - 1]
        j -= 1
    return j


@njit(cache=True)
def enter(requests: Any, i: int, at: int, next_order: Any, orders: Any, n: int, sessions: Any, p: Any) -> tuple[int, bool]:
    """Takes request `i` (of REQUEST records), sent in slice `at`: (rows in use, whether it changed anything). Needs room for one more row.

    `next_order` int64 (accounts,): a new order whose number is below its account's is ignored; `sessions` int64 (k, 3), as in Rules.
    """
    r = requests[i]
    q = p[0]
    cancel = r.op == _CANCEL
    if not cancel and r.order_n < next_order[r.account]:
        return n, False
    n = forget(orders, n, at)
    if cancel:
        arrival = r.sent_ts_ns + latency_ns(uniform_of(q.seed, CANCEL, r.account, r.order_n, 0), q.cancel_mu, q.cancel_sigma, q.scale)
        for j in range(n):
            o = orders[j]
            if o.order_n == r.order_n:
                if o.cancel_ns != NEVER or o.reason == _CANCEL_UNKNOWN:
                    return n, False
                o.cancel_ns = max(arrival, o.arrival_ns)
                return n, True
        blank(orders, room_for(orders, n, arrival), r, arrival)
        return n + 1, True
    next_order[r.account] = r.order_n + 1
    arrival = r.sent_ts_ns + latency_ns(uniform_of(q.seed, ORDER, r.account, r.order_n, 0), q.order_mu, q.order_sigma, q.scale)
    j = room_for(orders, n, arrival)
    blank(orders, j, r, arrival)
    o = orders[j]
    o.cancel_ns = NEVER
    o.expires_ns = min(r.expires_ts_ns if r.time_in_force == _GTD else NEVER, action_after(sessions, r.sent_ts_ns))
    o.leaves = r.quantity
    o.price = r.price
    o.stop_price = r.stop_price
    o.queue_ahead = UNKNOWN_QUEUE
    o.exec_n = 0
    o.type = r.type
    o.time_in_force = r.time_in_force
    o.flags = r.flags
    o.phase = PHASE_IN_FLIGHT
    o.reason = refusal(r, q)
    o.reduces = 1 if r.flags & REDUCE_ONLY != 0 or (r.side == _SELL and not q.shortable) else 0
    return n + 1, True


@njit(cache=True)
def blank(orders: Any, j: int, r: Any, arrival_ns: int) -> None:
    """Writes row `j` as that of a cancel for an order that is not known: dead, and its refusal due on arrival."""
    o = orders[j]
    o.order_n = r.order_n
    o.arrival_ns = arrival_ns
    o.cancel_ns = arrival_ns
    o.expires_ns = NEVER
    o.known_ns = 0
    o.final_visible = NEVER
    o.trigger_ns = 0
    o.leaves = 0
    o.price = 0
    o.stop_price = 0
    o.queue_ahead = 0
    o.exec_n = UNKNOWN_EXEC_N
    o.symbol = r.symbol
    o.side = r.side
    o.type = 0
    o.time_in_force = 0
    o.flags = 0
    o.account = r.account
    o.phase = PHASE_DEAD
    o.reason = _CANCEL_UNKNOWN
    o.queue_venue = 0
    o.at_touch = 0
    o.reduces = 0
    o.pad = 0
