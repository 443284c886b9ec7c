"""The compiled scan: one account's orders in one symbol against that symbol's ticks, up to the first slice with an event.

Events happen in the order of their time. At one time: orders end by expiry, then ticks in tape order (a symbol's prints before its
quotes), then arrivals by order number, then cancels. So an order that arrives at t takes from the quote as of t, and only ticks
after t can fill it while it rests; no tick before its arrival ever does.
An event is a report; where the caller says so, only one that is more than an acknowledgement: those are noted in passing then.
A tick's time is `max(ts_ns, slice * W)`: on a tape that is its ts_ns; a row that joined a later slice counts from that slice's start.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from operators.execution.fill_kernels import accept, end, order_meets_print, order_meets_quote, report
from operators.execution.layout import NEVER, PHASE_DEAD, PHASE_IN_FLIGHT, PHASE_RESTING, PHASE_STOP, PHASE_TRIGGERED, PHASE_WAITING
from operators.execution.market_kernels import ask_venue, enter_session, session_of, show, valid_quote
from schemas.orders import REDUCE_ONLY, UNKNOWN_QUEUE, Reason, ReportKind, TimeInForce
from schemas.ranges import FILLS, IN_SESSION
from schemas.ticks import QUOTE, TRADE

DONE = 0
OUT_FULL = 1
REPORTS_PER_STEP = 160
"""Most reports that one order can give rise to at one event: 8 parts of 16 pieces, and what goes before and after them."""

_EXPIRY = 0
_ARRIVAL = 1
_CANCEL = 2
_DAY = int(TimeInForce.DAY)
_GTD = int(TimeInForce.GTD)
_ACK = int(ReportKind.ACK)
_CANCELLED = int(ReportKind.CANCELLED)
_CANCEL_REJECTED = int(ReportKind.CANCEL_REJECTED)
_REJECTED = int(ReportKind.REJECTED)
_EXPIRED = int(ReportKind.EXPIRED)
_CANCEL_REQUESTED = int(Reason.CANCEL_REQUESTED)
_CANCEL_TOO_LATE = int(Reason.CANCEL_TOO_LATE)
_CANCEL_UNKNOWN = int(Reason.CANCEL_UNKNOWN_ORDER)
_EXPIRED_GTD = int(Reason.EXPIRED_GTD)
_EXPIRED_SESSION_END = int(Reason.EXPIRED_SESSION_END)
_SESSION_CLOSED = int(Reason.SESSION_CLOSED)
_NOT_SHORTABLE = int(Reason.SIDE_NOT_SHORTABLE)
_NOTHING_TO_REDUCE = int(Reason.REDUCE_ONLY_NOTHING_TO_REDUCE)
_EXPIRY_PAST = int(Reason.EXPIRY_PAST)
_EXPIRED_ACTION = int(Reason.EXPIRED_CORPORATE_ACTION)
_ACTION_SINCE = int(Reason.CORPORATE_ACTION_SINCE)


@njit(cache=True)
def scan(
    ticks: Any,
    slices: Any,
    gate: Any,
    first: int,
    until: int,
    orders: Any,
    market: Any,
    acks_stop: bool,
    sessions: Any,
    p: Any,
    cdf: Any,
    quantile: Any,
    out: Any,
) -> tuple[int, int, int, bool]:
    """Advances orders and market over the slices before `until`, starting at tick `first`; stops after the first slice with an event.

    `ticks`, `slices`, `gate`: of one symbol; `orders` VENUE_ORDER (m,), `market` MARKET (1,), `p` PARAMETERS (1,), `sessions` int64
    (k, 3), `out` EXECUTION_REPORT: all but the ticks are changed. Once no order is left the market stands still at that event.
    `acks_stop`: whether an acknowledgement is an event.
    Returns (status, reports written, slice of the event or -1, whether anything can still happen to an order). With OUT_FULL
    everything must be started over with more room.
    """
    m = market[0]
    q = p[0]
    n = 0
    event_slice = -1
    end_ns = until * q.slice_ns
    room = out.size - REPORTS_PER_STEP * orders.size
    key, j, what, alive = next_timed(orders)
    low, high, keen, touching = watched(orders, m)
    i = first
    while alive:
        t = end_ns
        if i < ticks.size and slices[i] < until:
            t = max(ticks[i].ts_ns, slices[i] * q.slice_ns)
        if n > room:
            return OUT_FULL, n, event_slice, alive
        before = n
        if key <= 2 * t and key < 2 * end_ns:
            t = key // 2
            s = t // q.slice_ns
            if 0 <= event_slice < s:
                break
            n = timed(orders, j, what, m, sessions, t, s, out, n, q, cdf, quantile)
            key, j, what, alive = next_timed(orders)
            low, high, keen, touching = watched(orders, m)
        else:
            if t == end_ns:
                break
            s = slices[i]
            if 0 <= event_slice < s:
                break
            x = ticks[i]
            if not quiet(x, gate[i], m, t, low, high, keen, touching, q.sized):
                n = tick(x, gate[i], orders, m, sessions, t, s, out, n, q, cdf, quantile)
                low, high, keen, touching = watched(orders, m)
                if n > before:
                    key, j, what, alive = next_timed(orders)
            i += 1
        if n > before and (acks_stop or more_than_acks(out, before, n)):
            event_slice = s
    return DONE, n, event_slice, alive


@njit(cache=True)
def more_than_acks(out: Any, begin: int, end: int) -> bool:
    """Whether one of the reports at places [begin, end) of `out` is not an acknowledgement."""
    more = False
    for i in range(begin, end):
        more = more or out[i].kind != _ACK
    return more


@njit(cache=True)
def next_timed(orders: Any) -> tuple[int, int, int, bool]:
    """The next event that no tick makes: (2 * time, plus 1 unless it is an expiry; row; what), and whether anything can still happen."""
    best = 2 * NEVER
    row = 0
    kind = _EXPIRY
    alive = False
    for j in range(orders.size):
        o = orders[j]
        if o.phase != PHASE_DEAD:
            alive = True
            if o.phase == PHASE_IN_FLIGHT:
                if 2 * o.arrival_ns + 1 < best:
                    best, row, kind = 2 * o.arrival_ns + 1, j, _ARRIVAL
                continue
            if 2 * o.expires_ns < best:
                best, row, kind = 2 * o.expires_ns, j, _EXPIRY
        if o.cancel_ns < NEVER:
            alive = True
            if 2 * o.cancel_ns + 1 < best:
                best, row, kind = 2 * o.cancel_ns + 1, j, _CANCEL
    return best, row, kind, alive


@njit(cache=True)
def watched(orders: Any, m: Any) -> tuple[int, int, bool, bool]:
    """What the orders wait for, so that most ticks need not meet them: (low, high, keen, touching).

    Prints and touches above `low` and below `high` concern no resting order and no stop. keen: an order takes from the next valid
    quote, or rests at or beyond the opposite touch. touching: an order rests at the touch or better.
    """
    low = -NEVER
    high = NEVER
    keen = False
    touching = False
    for j in range(orders.size):
        o = orders[j]
        if o.phase == PHASE_RESTING:
            touching = touching or o.at_touch != 0
            if o.side > 0:
                low = max(low, o.price)
                keen = keen or o.price >= m.ask
            else:
                high = min(high, o.price)
                keen = keen or o.price <= m.bid
        elif o.phase == PHASE_STOP:
            if o.side < 0:
                low = max(low, o.stop_price)
            else:
                high = min(high, o.stop_price)
        elif o.phase == PHASE_WAITING or o.phase == PHASE_TRIGGERED:
            keen = True
    return low, high, keen, touching


@njit(cache=True)
def quiet(x: Any, gate: int, m: Any, t: int, low: int, high: int, keen: bool, touching: bool, sized: int) -> bool:
    """Whether the tick moves no order. A quiet quote has become the market on return; a quiet print has no effect at all."""
    if x.kind == TRADE:
        return gate & FILLS == 0 or (low < x.price < high and t < m.session_close)
    if x.kind != QUOTE:
        return True
    if keen or t >= m.session_close or not valid_quote(gate, x.price, x.ask, x.size, x.ask_size, sized):
        return False
    at = ask_venue(x)
    same = m.valid != 0 and x.price == m.bid and x.ask == m.ask and x.venue == m.bid_venue and at == m.ask_venue
    if not same and (touching or x.price <= low or x.ask >= high):
        return False
    m.quote_ns = t
    m.seq = x.seq
    show(m, x.price, x.ask, x.size, x.ask_size, x.venue, at)
    return True


@njit(cache=True)
def timed(orders: Any, j: int, what: int, m: Any, sessions: Any, t: int, s: int, out: Any, n: int, q: Any, cdf: Any, quantile: Any) -> int:
    """An order arrives, expires or is cancelled."""
    o = orders[j]
    if what == _EXPIRY:
        reason = _EXPIRED_ACTION
        if o.time_in_force == _DAY:
            reason = _EXPIRED_SESSION_END
        elif o.time_in_force == _GTD:
            reason = _EXPIRED_GTD
        return end(o, _EXPIRED, t, s, reason, out, n, q)
    if what == _CANCEL:
        o.cancel_ns = NEVER
        if o.phase != PHASE_DEAD:
            return end(o, _CANCELLED, t, s, _CANCEL_REQUESTED, out, n, q)
        reason = o.reason if o.reason == _CANCEL_UNKNOWN else _CANCEL_TOO_LATE
        return report(o, _CANCEL_REJECTED, t, s, 0, 0, UNKNOWN_QUEUE, 0, reason, out, n, q)
    if o.reason != 0:
        return end(o, _REJECTED, t, s, o.reason, out, n, q)
    place = session_of(sessions, t)
    if place < 0:
        return end(o, _REJECTED, t, s, _SESSION_CLOSED, out, n, q)
    if o.expires_ns <= t:
        return end(o, _REJECTED, t, s, _EXPIRY_PAST if o.time_in_force == _GTD else _ACTION_SINCE, out, n, q)
    if o.reduces:
        room = max(-o.side * m.position, 0)
        if o.flags & REDUCE_ONLY:
            if room == 0:
                return end(o, _REJECTED, t, s, _NOTHING_TO_REDUCE, out, n, q)
        elif o.leaves > room:
            return end(o, _REJECTED, t, s, _NOT_SHORTABLE, out, n, q)
    if o.time_in_force == _DAY:
        o.expires_ns = min(sessions[place, 1], NEVER)
    if t >= m.session_close:
        enter_session(orders, m, sessions[place, 1])
    return accept(o, m, m.valid != 0, t, s, out, n, q, cdf, quantile)


@njit(cache=True)
def tick(x: Any, gate: int, orders: Any, m: Any, sessions: Any, t: int, s: int, out: Any, n: int, q: Any, cdf: Any, quantile: Any) -> int:
    """One row of the symbol: a quote moves the market and meets every order, a lit regular print meets every order."""
    if x.kind == QUOTE:
        m.quote_ns = t
        m.seq = x.seq
        m.valid = 0
        if gate & IN_SESSION == 0:
            return n
        if t >= m.session_close:
            enter_session(orders, m, sessions[max(session_of(sessions, t), 0), 1])
        if not valid_quote(gate, x.price, x.ask, x.size, x.ask_size, q.sized):
            return n
        show(m, x.price, x.ask, x.size, x.ask_size, x.venue, ask_venue(x))
        for j in range(orders.size):
            n = order_meets_quote(orders[j], m, t, s, out, n, q, cdf, quantile)
        return n
    if x.kind != TRADE or gate & FILLS == 0:
        return n
    if t >= m.session_close:
        enter_session(orders, m, sessions[max(session_of(sessions, t), 0), 1])
    aggressor = int(x.side)
    if aggressor == 0 and m.known:
        middle2 = m.bid + m.ask
        aggressor = 1 if 2 * x.price > middle2 else (-1 if 2 * x.price < middle2 else 0)
    start = m.position
    used = 0
    for j in range(orders.size):
        n = order_meets_print(orders[j], m, x.price, x.size, used, aggressor, x.venue, t, s, out, n, q, cdf, quantile)
        used += abs(m.position - start)
        start = m.position
    return n
