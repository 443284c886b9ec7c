"""Compiled rules of the market that an account's orders see: which quotes count, sessions, the last quote of a time without reading."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from operators.execution.layout import NEVER, PHASE_RESTING
from schemas.orders import UNKNOWN_QUEUE
from schemas.ranges import CROSSED, IN_SESSION, LOCKED
from schemas.ticks import ASK_VENUE_SHIFT, QUOTE


@njit(cache=True)
def first_tick(slices: Any, near: int, start: int) -> int:
    """Place of the first tick of slice `start` or later, found by steps that double from `near`, a place not after it."""
    step = 1
    while near + step <= slices.size and slices[near + step - 1] < start:
        near += step
        step *= 2
    end = min(near + step, slices.size)
    return near + int(np.searchsorted(slices[near:end], start))


@njit(cache=True)
def valid_quote(gate: int, bid: int, ask: int, bid_size: int, ask_size: int, sized: int) -> bool:
    """A quote that may fill: in session, neither locked nor crossed, with sizes where the source has them."""
    if gate & IN_SESSION == 0 or gate & (LOCKED | CROSSED) != 0 or bid <= 0 or ask <= bid:
        return False
    return sized == 0 or (bid_size > 0 and ask_size > 0)


@njit(cache=True)
def ask_venue(x: Any) -> int:
    """Letter of the exchange that shows a quote's ask: its own where the tick names one, else the bid's."""
    letter: Any = np.uint8(x.conditions >> np.uint32(ASK_VENUE_SHIFT))
    return letter if letter != 0 else x.venue  # type: ignore[no-any-return]


@njit(cache=True)
def show(m: Any, bid: int, ask: int, bid_size: int, ask_size: int, bid_at: int, ask_at: int) -> None:
    """Makes a valid quote the market. A side that is only shown again, by the same exchange, keeps what was taken of it."""
    if bid != m.bid or bid_size != m.bid_size or bid_at != m.bid_venue:
        m.taken_bid = 0
    if ask != m.ask or ask_size != m.ask_size or ask_at != m.ask_venue:
        m.taken_ask = 0
    m.bid = bid
    m.ask = ask
    m.bid_size = bid_size
    m.ask_size = ask_size
    m.bid_venue = bid_at
    m.ask_venue = ask_at
    m.known = 1
    m.valid = 1


@njit(cache=True)
def enter_session(orders: Any, m: Any, close: int) -> None:
    """A new session: the market is unknown again and every order that rested over the close is at the back, at an unknown place."""
    m.session_close = min(close, NEVER)
    m.known = 0
    m.valid = 0
    m.taken_bid = 0
    m.taken_ask = 0
    for j in range(orders.size):
        if orders[j].phase == PHASE_RESTING:
            orders[j].queue_ahead = UNKNOWN_QUEUE
            orders[j].queue_venue = 0
            orders[j].at_touch = 0


@njit(cache=True)
def session_of(sessions: Any, t: int) -> int:
    """Row of the session that contains t, -1 outside of all."""
    for k in range(sessions.shape[0]):
        if sessions[k, 0] <= t < sessions[k, 1]:
            return k
    return -1


@njit(cache=True)
def action_after(sessions: Any, t: int) -> int:
    """The first corporate action after t that a session comes before (`sessions` as in Rules), NEVER without one."""
    for k in range(sessions.shape[0]):
        if sessions[k, 2] > t:
            return sessions[k, 2]  # type: ignore[no-any-return]
    return NEVER


@njit(cache=True)
def last_quote_before(ticks: Any, stop: int) -> int:
    """Place of the last quote row before place `stop`, -1 if there is none."""
    for i in range(stop - 1, -1, -1):
        if ticks[i].kind == QUOTE:
            return i
    return -1


@njit(cache=True)
def see_last_quote(
    ticks: Any, slices: Any, gate: Any, near: int, at: int, last: Any, orders: Any, market: Any, sessions: Any, p: Any
) -> None:
    """Takes over the last quote before slice `at`, or the one noted in `last` (LAST_QUOTE (1,)), after a time without reading.

    `near`: a place not after the first tick of slice `at`.

    If that is still the quote at which the market stands, everything stays; what was taken of a side, as long as that side shows
    the same in the same session.
    """
    m = market[0]
    i = last_quote_before(ticks, first_tick(slices, near, at))
    if i >= 0:
        x = ticks[i]
        t, seq, flags, bid_at, ask_at = max(x.ts_ns, slices[i] * p[0].slice_ns), np.int64(x.seq), gate[i], x.venue, ask_venue(x)
        bid, ask, bid_size, ask_size = x.price, x.ask, x.size, x.ask_size
    elif last[0].seen:
        w = last[0]
        t, seq, flags, bid_at, ask_at = w.ts_ns, w.seq, w.gate, w.bid_venue, w.ask_venue
        bid, ask, bid_size, ask_size = w.bid, w.ask, w.bid_size, w.ask_size
    else:
        return
    if m.seq == seq:
        return
    place = session_of(sessions, t)
    close = min(sessions[place, 1], NEVER) if place >= 0 else -NEVER
    if close != m.session_close:
        enter_session(orders, m, close)
    m.quote_ns = t
    m.seq = seq
    m.known = 0
    m.valid = 0
    if place >= 0 and valid_quote(flags, bid, ask, bid_size, ask_size, p[0].sized):
        show(m, bid, ask, bid_size, ask_size, bid_at, ask_at)


@njit(cache=True)
def note_last_quotes(ticks: Any, slices: Any, gate: Any, slice_ns: int, symbols: int, seen: Any, quotes: Any) -> None:
    """Writes the last quote row of each symbol into `quotes` (LAST_QUOTE, by symbol id), walking back until all `symbols` were found.

    `seen`: uint8 (instruments,), all 0 on entry and on return.
    """
    found = 0
    i = ticks.size - 1
    while i >= 0 and found < symbols:
        x = ticks[i]
        if x.kind == QUOTE and seen[x.symbol] == 0:
            seen[x.symbol] = 1
            found += 1
            w = quotes[x.symbol]
            w.ts_ns = max(x.ts_ns, slices[i] * slice_ns)
            w.seq = x.seq
            w.bid = x.price
            w.ask = x.ask
            w.bid_size = x.size
            w.ask_size = x.ask_size
            w.bid_venue = x.venue
            w.ask_venue = ask_venue(x)
            w.gate = gate[i]
            w.seen = 1
        i -= 1
    for k in range(seen.size):
        seen[k] = 0
