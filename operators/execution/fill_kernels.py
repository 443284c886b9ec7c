"""Compiled rules of fills: reports, taking, joining a queue, what a quote and a print do to an order (spec/realism.md section 4).

All functions change the records that they are given (`order`: VENUE_ORDER, `market`: MARKET) and write EXECUTION_REPORT records
to `out` from place `n`; they return the next free place. `p` is a PARAMETERS record, `cdf` and `quantile` the tables of
splitting.py. `t` is the event's time in ns, `s` its slice. Prices and sizes are fixed point.
"""

# mypy: no-warn-return-any

from __future__ import annotations

from typing import Any

from numba import njit

from operators.execution.latency import PIECES, RATIO, REPORT, latency_ns, uniform_of
from operators.execution.layout import (
    MAX_LEVELS,
    PHASE_DEAD,
    PHASE_RESTING,
    PHASE_STOP,
    PHASE_TRIGGERED,
    PHASE_WAITING,
    RULE_QUEUE,
    RULE_TOUCH,
    RULE_TRADE_THROUGH,
)
from operators.execution.splitting import pieces_at, ratio_at
from schemas.orders import POST_ONLY, UNKNOWN_QUEUE, Reason, ReportKind, TimeInForce
from schemas.tables import Liquidity, OrderType

_ACK = int(ReportKind.ACK)
_FILL = int(ReportKind.FILL)
_CANCELLED = int(ReportKind.CANCELLED)
_CANCEL_REJECTED = int(ReportKind.CANCEL_REJECTED)
_REJECTED = int(ReportKind.REJECTED)
_EXPIRED = int(ReportKind.EXPIRED)
_TRIGGERED = int(ReportKind.TRIGGERED)
_IOC = int(TimeInForce.IOC)
_FOK = int(TimeInForce.FOK)
_LIMIT = int(OrderType.LIMIT)
_STOP = int(OrderType.STOP)
_MAKER = int(Liquidity.MAKER)
_TAKER = int(Liquidity.TAKER)
_ACCEPTED = int(Reason.VENUE_ACCEPTED)
_STOP_TRIGGERED = int(Reason.STOP_TRIGGERED)
_FILL_MAKER = int(Reason.FILL_MAKER)
_FILL_TAKER = int(Reason.FILL_TAKER)
_IOC_REMAINDER = int(Reason.EXPIRED_IOC_REMAINDER)
_FOK_UNFILLED = int(Reason.EXPIRED_FOK_UNFILLED)
_NOTHING_TO_REDUCE = int(Reason.EXPIRED_NOTHING_TO_REDUCE)
_POST_ONLY_WOULD_TAKE = int(Reason.POST_ONLY_WOULD_TAKE)


@njit(cache=True)
def report(
    order: Any, kind: int, t: int, s: int, quantity: int, price: int, queue: int, liquidity: int, reason: int, out: Any, n: int, p: Any
) -> int:
    """Writes one report, with the time at which the book learns of it; a final kind ends the order (leaves 0, phase DEAD)."""
    if kind in (_CANCELLED, _REJECTED, _EXPIRED):
        order.leaves = 0
        order.phase = PHASE_DEAD
    u = uniform_of(p.seed, REPORT, order.account, order.order_n, order.exec_n)
    known = t + latency_ns(u, p.report_mu, p.report_sigma, p.scale)
    if known < order.known_ns:
        known = order.known_ns
    visible = known // p.slice_ns
    if visible < s + 1:
        visible = s + 1
    r = out[n]
    r.ts_ns = t
    r.known_ts_ns = known
    r.slice = s
    r.visible = visible
    r.order_n = order.order_n
    r.quantity = quantity
    r.price = price
    r.leaves = order.leaves
    r.queue_ahead = queue
    r.symbol = order.symbol
    r.exec_n = order.exec_n
    r.kind = kind
    r.side = order.side
    r.liquidity = liquidity
    r.reason = reason
    r.account = order.account
    r.pad[0] = r.pad[1] = r.pad[2] = 0
    order.known_ns = known
    order.exec_n += 1
    if order.phase == PHASE_DEAD:
        order.final_visible = visible
    return n + 1


@njit(cache=True)
def reducible(order: Any, market: Any) -> int:
    """How much the order may fill without going past a flat position."""
    return max(-order.side * market.position, 0)


@njit(cache=True)
def fill(
    order: Any,
    market: Any,
    most: int,
    price: int,
    t: int,
    s: int,
    liquidity: int,
    queue: int,
    out: Any,
    n: int,
    p: Any,
    cdf: Any,
    quantile: Any,
) -> int:
    """Fills at most `most` at `price`, in whole lots, split into reports; ends the order when nothing is left of it."""
    quantity = min(most, order.leaves)
    if order.reduces:
        quantity = min(quantity, reducible(order, market))
    lot = p.lot_size
    left = quantity // lot * lot
    if left > 0:
        reason = _FILL_MAKER if liquidity == _MAKER else _FILL_TAKER
        pieces = pieces_at(cdf, uniform_of(p.seed, PIECES, order.account, order.order_n, order.exec_n))
        while left > 0:
            part = left
            if pieces > 1 and left > lot:
                ratio = ratio_at(quantile, uniform_of(p.seed, RATIO, order.account, order.order_n, order.exec_n))
                part = min(max(int(left * ratio) // lot * lot, lot), left)
            pieces -= 1
            left -= part
            order.leaves -= part
            market.position += order.side * part
            if order.leaves == 0:
                order.phase = PHASE_DEAD
            n = report(order, _FILL, t, s, part, price, queue, liquidity, reason, out, n, p)
    if order.phase != PHASE_DEAD and order.reduces and reducible(order, market) == 0:
        n = end(order, _EXPIRED, t, s, _NOTHING_TO_REDUCE, out, n, p)
    return n


@njit(cache=True)
def end(order: Any, kind: int, t: int, s: int, reason: int, out: Any, n: int, p: Any) -> int:
    """Ends the order: `kind` is CANCELLED, EXPIRED or REJECTED."""
    return report(order, kind, t, s, 0, 0, UNKNOWN_QUEUE, 0, reason, out, n, p)


@njit(cache=True)
def shown_to_take(order: Any, market: Any, p: Any) -> int:
    """What of the opposite side's shown size the order may still take at the touch; everything where the source has no sizes."""
    if not p.sized:
        return order.leaves
    if order.side > 0:
        return max(market.ask_size - market.taken_ask, 0)
    return max(market.bid_size - market.taken_bid, 0)


@njit(cache=True)
def note_taken(order: Any, market: Any, quantity: int) -> None:
    """Remembers that the account took `quantity` of the opposite side, so that a size that is only shown again is not taken twice."""
    if order.side > 0:
        market.taken_ask += quantity
    else:
        market.taken_bid += quantity


@njit(cache=True)
def take_shown(order: Any, market: Any, t: int, s: int, out: Any, n: int, p: Any, cdf: Any, quantile: Any) -> int:
    """Takes at the opposite touch, up to what it shows."""
    price = market.ask if order.side > 0 else market.bid
    before = market.position
    n = fill(order, market, shown_to_take(order, market, p), price, t, s, _TAKER, 0, out, n, p, cdf, quantile)
    if p.sized:
        note_taken(order, market, abs(market.position - before))
    return n


@njit(cache=True)
def take_market(order: Any, market: Any, t: int, s: int, out: Any, n: int, p: Any, cdf: Any, quantile: Any) -> int:
    """A market order takes what is shown, and beyond it `slippage_ticks` more per shown size already taken.

    With c taken of a shown size q, the next lot pays level c // q. At most MAX_LEVELS parts; the last one pays the deepest level.
    """
    touch = market.ask if order.side > 0 else market.bid
    size = market.ask_size if order.side > 0 else market.bid_size
    step = order.side * p.slippage_ticks * p.tick_size
    if step == 0 or not p.sized:
        return fill(order, market, order.leaves, touch, t, s, _TAKER, 0, out, n, p, cdf, quantile)
    for part in range(MAX_LEVELS):
        taken = market.taken_ask if order.side > 0 else market.taken_bid
        level = taken // size
        most = (level + 1) * size - taken
        if part == MAX_LEVELS - 1:
            most = order.leaves
            level = (taken + order.leaves - 1) // size
        price = max(touch + level * step, p.tick_size)
        before = market.position
        first = n
        n = fill(order, market, most, price, t, s, _TAKER, 0, out, n, p, cdf, quantile)
        note_taken(order, market, abs(market.position - before))
        if order.phase == PHASE_DEAD:
            break
        if n == first:
            note_taken(order, market, most)
    return n


@njit(cache=True)
def join_queue(order: Any, market: Any) -> None:
    """A limit starts to rest: behind the shown size at the touch, alone if it is better, at an unknown place if it is deeper."""
    order.phase = PHASE_RESTING
    order.queue_ahead = UNKNOWN_QUEUE
    order.queue_venue = 0
    order.at_touch = 0
    if market.known:
        note_touch(order, market)


@njit(cache=True)
def exchange_shown(order: Any, market: Any) -> int:
    """Letter of the exchange that shows the touch of the order's own side."""
    return market.bid_venue if order.side > 0 else market.ask_venue


@njit(cache=True)
def note_touch(order: Any, market: Any) -> None:
    """Sets a resting order's place in the queue against the last valid quote.

    At its price: the first time, or when another exchange is shown on its side, it goes to the back (the shown size); on the touch's return
    from a better price at most the shown size can still be ahead. The touch worse than its price: nobody is ahead.
    """
    touch = market.bid if order.side > 0 else market.ask
    size = market.bid_size if order.side > 0 else market.ask_size
    shown_at = exchange_shown(order, market)
    better = order.side * (touch - order.price)
    if better > 0:
        order.at_touch = 0
        return
    if better < 0:
        order.queue_ahead = 0
        if order.queue_venue == 0:
            order.queue_venue = shown_at
    elif order.queue_ahead == UNKNOWN_QUEUE or order.queue_venue != shown_at:
        order.queue_ahead = size
        order.queue_venue = shown_at
    elif not order.at_touch:
        order.queue_ahead = min(order.queue_ahead, size)
    order.at_touch = 1


@njit(cache=True)
def marketable(order: Any, market: Any) -> bool:
    """Whether the limit may take from the last valid quote."""
    return market.ask <= order.price if order.side > 0 else market.bid >= order.price


@njit(cache=True)
def take_or_join(order: Any, market: Any, t: int, s: int, out: Any, n: int, p: Any, cdf: Any, quantile: Any) -> int:
    """What an order that has arrived does at a valid quote, by type and time in force."""
    whole = order.time_in_force == _FOK
    at_once = whole or order.time_in_force == _IOC
    if order.type == _LIMIT or at_once:
        may_take = order.type != _LIMIT or marketable(order, market)
        if may_take and (not whole or shown_to_take(order, market, p) >= order.leaves):
            n = take_shown(order, market, t, s, out, n, p, cdf, quantile)
        if order.phase != PHASE_DEAD:
            if at_once:
                n = end(order, _EXPIRED, t, s, _FOK_UNFILLED if whole else _IOC_REMAINDER, out, n, p)
            else:
                join_queue(order, market)
        return n
    return take_market(order, market, t, s, out, n, p, cdf, quantile)


@njit(cache=True)
def accept(order: Any, market: Any, fresh: bool, t: int, s: int, out: Any, n: int, p: Any, cdf: Any, quantile: Any) -> int:
    """An order that nothing speaks against arrives; `fresh`: the last quote is valid and of this session."""
    post_only = order.type == _LIMIT and order.flags & POST_ONLY != 0
    whole = order.time_in_force == _FOK
    at_once = whole or order.time_in_force == _IOC
    takes = order.type == _LIMIT and fresh and marketable(order, market)
    if post_only and takes:
        return end(order, _REJECTED, t, s, _POST_ONLY_WOULD_TAKE, out, n, p)
    rests = order.type == _LIMIT and not at_once and not takes and (post_only or fresh)
    if rests:
        join_queue(order, market)
    n = report(order, _ACK, t, s, 0, 0, order.queue_ahead, 0, _ACCEPTED, out, n, p)
    if rests:
        return n
    if order.type == _STOP:
        order.phase = PHASE_STOP
        if fresh:
            n = trigger(order, market.bid if order.side < 0 else market.ask, t, s, out, n, p)
        return n
    if fresh:
        return take_or_join(order, market, t, s, out, n, p, cdf, quantile)
    if at_once:
        return end(order, _EXPIRED, t, s, _FOK_UNFILLED if whole else _IOC_REMAINDER, out, n, p)
    order.phase = PHASE_WAITING
    return n


@njit(cache=True)
def trigger(order: Any, price: int, t: int, s: int, out: Any, n: int, p: Any) -> int:
    """Triggers a stop if `price` is at its stop price or through it: a sale's from above, a purchase's from below."""
    if order.side * (price - order.stop_price) < 0:
        return n
    order.phase = PHASE_TRIGGERED
    order.trigger_ns = t
    return report(order, _TRIGGERED, t, s, 0, price, UNKNOWN_QUEUE, 0, _STOP_TRIGGERED, out, n, p)


@njit(cache=True)
def order_meets_quote(order: Any, market: Any, t: int, s: int, out: Any, n: int, p: Any, cdf: Any, quantile: Any) -> int:
    """What a new valid quote does to an order at the venue."""
    if order.phase == PHASE_WAITING:
        return take_or_join(order, market, t, s, out, n, p, cdf, quantile)
    if order.phase == PHASE_TRIGGERED:
        if t > order.trigger_ns:
            n = take_market(order, market, t, s, out, n, p, cdf, quantile)
        return n
    if order.phase == PHASE_STOP:
        return trigger(order, market.bid if order.side < 0 else market.ask, t, s, out, n, p)
    if order.phase != PHASE_RESTING:
        return n
    through = order.side * (order.price - (market.ask if order.side > 0 else market.bid))
    if (through > 0 and p.rule != RULE_TRADE_THROUGH) or (through == 0 and p.rule == RULE_TOUCH):
        before = market.position
        most = shown_to_take(order, market, p)
        if most > 0:
            n = fill(order, market, most, order.price, t, s, _MAKER, order.queue_ahead, out, n, p, cdf, quantile)
            if p.sized:
                note_taken(order, market, abs(market.position - before))
    if order.phase == PHASE_RESTING:
        note_touch(order, market)
    return n


@njit(cache=True)
def order_meets_print(
    order: Any,
    market: Any,
    price: int,
    size: int,
    used: int,
    aggressor: int,
    venue: int,
    t: int,
    s: int,
    out: Any,
    n: int,
    p: Any,
    cdf: Any,
    quantile: Any,
) -> int:
    """What a lit regular print does to an order at the venue; `used`: what the account's other orders got of this print."""
    if order.phase == PHASE_STOP:
        return trigger(order, price, t, s, out, n, p)
    if order.phase != PHASE_RESTING:
        return n
    through = order.side * (order.price - price)
    queue = order.queue_ahead
    if through > 0 or (through == 0 and p.rule == RULE_TOUCH):
        n = fill(order, market, size - used, order.price, t, s, _MAKER, queue, out, n, p, cdf, quantile)
        if through > 0:
            order.queue_ahead = 0
    elif (
        through == 0
        and p.rule == RULE_QUEUE
        and queue != UNKNOWN_QUEUE
        and aggressor == -order.side
        and venue == exchange_shown(order, market)
    ):
        order.queue_ahead = max(queue - size, 0)
        if size - queue - used > 0:
            n = fill(order, market, size - queue - used, order.price, t, s, _MAKER, queue, out, n, p, cdf, quantile)
    return n
