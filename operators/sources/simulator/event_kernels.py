# mypy: disable-error-code="no-any-return"
"""What an event does to the touch, and the rows that show it: prints, updates of the sizes, changes of the mid."""

from __future__ import annotations

import numpy as np
from numba import njit

from operators.sources.simulator.chance_kernels import logistic
from operators.sources.simulator.layout import ROWS_PER_EVENT, Record, Rows
from operators.sources.simulator.model import EXTENDED_HOURS, LOT, ODD_CONDITION, OFF_EXCHANGE, SPECIAL_PRINT, TICK_SIZE
from schemas.exact import log64, uniform64
from schemas.ticks import QUOTE, TRADE

PRIMARY = ord("N")
_VENUES = np.frombuffer(b"NNNNNNQQQPKZ", np.uint8).astype(np.int64)
_OTHERS = np.frombuffer(b"QZPKYBJN", np.uint8).astype(np.int64)


@njit(nogil=True, cache=True)
def draw(seed: int, j: int, s: Record) -> float:
    s.drawn += 1
    return uniform64(seed, j, s.drawn)


@njit(nogil=True, cache=True)
def lots(seed: int, j: int, s: Record, mean: float) -> int:
    """At least one lot, exponential beyond it; `mean` from 1."""
    u = draw(seed, j, s)
    return 1 + (int(-log64(u) * (mean - 1.0) + 0.5) if mean > 1.0 else 0)


@njit(nogil=True, cache=True)
def fresh_queue(seed: int, j: int, s: Record, scale: float) -> int:
    """Lots behind a used-up or improved price."""
    return 1 + int(scale * (0.35 + 0.65 * -log64(draw(seed, j, s))))


@njit(nogil=True, cache=True)
def put_trade(
    seed: int,
    j: int,
    s: Record,
    common: Record,
    out: Rows,
    n: int,
    ts_ns: int,
    price_ticks: int,
    size_lots: int,
    side: int,
    venue: int,
    conditions: int,
    late_ns: int,
) -> int:
    row = out[n]
    row.ts_ns = ts_ns
    row.late_ns = late_ns
    row.seq = s.seq
    row.price = price_ticks * TICK_SIZE
    row.size = size_lots * LOT
    row.ask = 0
    row.ask_size = 0
    row.symbol = j
    row.conditions = conditions
    row.gap = 0
    row.kind = TRADE
    row.side = side
    row.venue = venue
    row.flags = 0
    if draw(seed, j, s) < common.gap_share:
        row.gap = 1 + int(-20.0 * log64(draw(seed, j, s)))
    s.seq += 1
    return n + 1


@njit(nogil=True, cache=True)
def put_quote(seed: int, j: int, s: Record, common: Record, out: Rows, n: int, ts_ns: int) -> int:
    row = out[n]
    row.ts_ns = ts_ns
    row.late_ns = 0
    row.seq = s.seq
    row.price = s.bid * TICK_SIZE
    row.size = s.bid_lots * LOT
    row.ask = (s.bid + s.spread) * TICK_SIZE
    row.ask_size = s.ask_lots * LOT
    row.symbol = j
    row.conditions = 0
    row.gap = 0
    row.kind = QUOTE
    row.side = 0
    row.venue = s.venue
    row.flags = 0
    if draw(seed, j, s) < common.gap_share:
        row.gap = 1 + int(-20.0 * log64(draw(seed, j, s)))
    s.seq += 1
    return n + 1


@njit(nogil=True, cache=True)
def trade_event(seed: int, j: int, s: Record, p: Record, common: Record, pre: bool, out: Rows, n: int, ts_ns: int) -> int:
    """One print outside a sweep; on the shown exchange it uses up part of the queue, and a quote says so."""
    side = 1 if draw(seed, j, s) < logistic(p.kappa * s.level) else -1
    size = lots(seed, j, s, p.trade_lots)
    conditions = EXTENDED_HOURS if pre else 0
    if draw(seed, j, s) < common.special_share:
        conditions |= SPECIAL_PRINT
    if draw(seed, j, s) < common.off_exchange:
        late_ns = 0
        if draw(seed, j, s) < common.late_share:
            late_ns = 1_000_000 * (1 + int(-common.late_mean_ms * log64(draw(seed, j, s))))
        price = s.bid + (s.spread + (1 if side > 0 else 0)) // 2
        return put_trade(seed, j, s, common, out, n, ts_ns, price, size, 0, OFF_EXCHANGE, conditions, late_ns)
    price = s.bid + s.spread if side > 0 else s.bid
    queue = s.ask_lots if side > 0 else s.bid_lots
    if draw(seed, j, s) < common.shown_share and queue > 1:
        size = min(size, queue - 1)
        n = put_trade(seed, j, s, common, out, n, ts_ns, price, size, side, s.venue, conditions, 0)
        if side > 0:
            s.ask_lots -= size
        else:
            s.bid_lots -= size
        return put_quote(seed, j, s, common, out, n, ts_ns)
    venue = _OTHERS[int(draw(seed, j, s) * _OTHERS.size)]
    if venue == s.venue:
        venue = 66 if s.venue != 66 else 81
    if draw(seed, j, s) < 0.4:
        conditions |= ODD_CONDITION
    return put_trade(seed, j, s, common, out, n, ts_ns, price, size, side, venue, conditions, 0)


@njit(nogil=True, cache=True)
def quote_event(seed: int, j: int, s: Record, p: Record, common: Record, lean: float, out: Rows, n: int, ts_ns: int) -> int:
    """One or more updates of the shown sizes in one millisecond, each leaning to the bid or to the ask."""
    limit = n + ROWS_PER_EVENT - 4
    while True:
        imbalance = (s.bid_lots - s.ask_lots) / (s.bid_lots + s.ask_lots)
        to_bid = draw(seed, j, s) < logistic(p.theta * lean * s.level - p.rho * imbalance)
        excess = (s.bid_lots + s.ask_lots) / (2.0 * p.queue) - 1.0
        add = draw(seed, j, s) < min(0.95, max(0.05, 0.5 - 0.4 * excess))
        size = lots(seed, j, s, p.queue_step)
        shrinking = s.ask_lots if to_bid else s.bid_lots
        if not add and shrinking <= 1:
            add = True
        if add:
            if to_bid:
                s.bid_lots += size
            else:
                s.ask_lots += size
        elif to_bid:
            s.ask_lots -= min(size, shrinking - 1)
        else:
            s.bid_lots -= min(size, shrinking - 1)
        if draw(seed, j, s) < p.reroute:
            s.venue = _VENUES[int(draw(seed, j, s) * _VENUES.size)]
        n = put_quote(seed, j, s, common, out, n, ts_ns)
        if n >= limit or draw(seed, j, s) >= p.again:
            return n


@njit(nogil=True, cache=True)
def sweep_trades(seed: int, j: int, s: Record, p: Record, common: Record, pre: bool, up: bool, out: Rows, n: int, ts_ns: int) -> int:
    """Prints on the shown exchange that use up one side, at its price."""
    left = s.ask_lots if up else s.bid_lots
    price = s.bid + s.spread if up else s.bid
    prints = 1 + int(3.0 * draw(seed, j, s))
    cap = int(20.0 * p.trade_lots)
    conditions = EXTENDED_HOURS if pre else 0
    while prints > 0 and left > 0:
        size = min(cap, (left + prints - 1) // prints)
        n = put_trade(seed, j, s, common, out, n, ts_ns, price, size, 1 if up else -1, s.venue, conditions, 0)
        left -= size
        prints -= 1
    return n


@njit(nogil=True, cache=True)
def change_event(seed: int, j: int, s: Record, p: Record, common: Record, pre: bool, up: bool, out: Rows, n: int, ts_ns: int) -> int:
    """The mid goes up or down: a side steps up, locks, or is used up (module docstring of model.py)."""
    spread = s.spread
    step = 1 + int(-4.0 * log64(draw(seed, j, s))) if pre else 1
    u = draw(seed, j, s)
    improve = False
    both = False
    if spread == 0:
        s.spread = 1
        if up:
            s.ask_lots = fresh_queue(seed, j, s, p.queue)
        else:
            s.bid -= 1
            s.bid_lots = fresh_queue(seed, j, s, p.queue)
        return put_quote(seed, j, s, common, out, n, ts_ns)
    if spread == 1:
        improve = not pre and u < p.lock
        both = not improve and u < p.lock + p.full
    else:
        rest = common.pre_market_spread if pre else p.rest
        slope = 0.02 if pre else p.slope
        improve = u < min(0.97, max(0.03, 0.5 + slope * (spread - rest)))
        if not pre and draw(seed, j, s) < p.full:
            step = 2
    if improve:
        step = min(step, max(1, spread - 1))
        s.spread -= step
        if up:
            s.bid += step
            s.bid_lots = fresh_queue(seed, j, s, 0.75 * p.queue)
        else:
            s.ask_lots = fresh_queue(seed, j, s, 0.75 * p.queue)
        return put_quote(seed, j, s, common, out, n, ts_ns)
    if draw(seed, j, s) < p.sweep:
        n = sweep_trades(seed, j, s, p, common, pre, up, out, n, ts_ns)
    s.spread += step
    if up:
        s.ask_lots = fresh_queue(seed, j, s, p.queue)
    else:
        s.bid -= step
        s.bid_lots = fresh_queue(seed, j, s, p.queue)
    if both:
        s.spread -= step
        if up:
            s.bid += step
            s.bid_lots = fresh_queue(seed, j, s, 0.75 * p.queue)
        else:
            s.ask_lots = fresh_queue(seed, j, s, 0.75 * p.queue)
    return put_quote(seed, j, s, common, out, n, ts_ns)
