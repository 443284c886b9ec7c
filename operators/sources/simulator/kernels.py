"""Compiled generator of the simulator: every symbol from its state up to a time, rows into the caller's buffers.

Times are market milliseconds: phases (pre-market, session) laid end to end. An event takes the first free whole millisecond, so that
two events of a symbol never share one; rows of one event do, trades first. Random numbers are a function of (seed, symbol, how
many were drawn), and nothing is committed that would happen at `until_ms` or later, so windows do not change the outcome.
Only +, -, *, / and schemas/exact.py, in a fixed order: the same bits on every CPU.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from operators.sources.simulator.chance_kernels import effective_rate, lead_at, logistic, move_chance, next_change_up, soft
from operators.sources.simulator.event_kernels import (
    PRIMARY,
    change_event,
    draw,
    fresh_queue,
    lots,
    put_quote,
    put_trade,
    quote_event,
    trade_event,
)
from operators.sources.simulator.layout import FLIP_STREAM, REGIME_STREAM, ROWS_PER_EVENT, Array, Record, Rows
from operators.sources.simulator.model import CLOSING_PRINT, LEVELS, OPENING_PRINT
from schemas.exact import exp64, log64, uniform64


@njit(nogil=True, cache=True)
def direction_log_odds(s: Record, p: Record, common: Record, by_regime: Array, regime: int, lead: float) -> float:
    return common.edge * (
        by_regime[2, regime] * s.level
        + p.lead * soft(lead)
        - by_regime[3, regime] * soft(s.back * exp64(-(s.t - s.back_t) / common.tau_back_ms))
    )


@njit(nogil=True, cache=True)
def flip_pressure(seed: int, j: int, s: Record, p: Record) -> None:
    while s.next_flip <= s.t:
        u = uniform64(seed, FLIP_STREAM + j, 2 * s.flips)
        s.level += 1 if u < 0.25 * (2 - s.level) else -1
        s.next_flip -= log64(uniform64(seed, FLIP_STREAM + j, 2 * s.flips + 1)) / (4.0 * p.nu)
        s.flips += 1


@njit(nogil=True, cache=True)
def begin(seed: int, states: Rows, params: Rows) -> None:
    """States before the first phase."""
    for j in range(states.size):
        s = states[j]
        p = params[j]
        s.bid = p.start_ticks
        s.spread = 1
        s.venue = PRIMARY
        s.last_ms = -1
        for k in range(4):
            s.level += 1 if uniform64(seed, FLIP_STREAM + j, 2 * k) < 0.5 else 0
        s.level -= 2
        s.flips = 4
        s.next_flip = -log64(uniform64(seed, FLIP_STREAM + j, 7)) / (4.0 * p.nu)


@njit(nogil=True, cache=True)
def open_phase(
    seed: int, start_ms: int, start_ns: int, pre: bool, states: Rows, params: Rows, common: Record, lead_count: Array, out: Rows
) -> int:
    """A phase begins: the session with an auction print and narrow quotes, the pre-market after a jump with wide ones."""
    n = 0
    for j in range(states.size):
        s = states[j]
        p = params[j]
        s.t = float(start_ms)
        s.last_ms = start_ms
        s.h = p.mu * p.branching / (1.0 - p.branching)
        if pre:
            s.h *= 0.05
            s.bid = max(1000, s.bid + int(40.0 * (draw(seed, j, s) - 0.5)))
            s.spread = int(common.pre_market_spread)
        else:
            s.bid += (s.spread - int(p.rest)) // 2
            s.spread = int(p.rest)
        s.back = 0.0
        s.lead = 0.0
        s.lead_next = lead_count[0]
        s.bid_lots = fresh_queue(seed, j, s, p.queue)
        s.ask_lots = fresh_queue(seed, j, s, p.queue)
        if not pre:
            size = lots(seed, j, s, 400.0 * p.trade_lots)
            n = put_trade(seed, j, s, common, out, n, start_ns, s.bid, size, 0, PRIMARY, OPENING_PRINT, 0)
        n = put_quote(seed, j, s, common, out, n, start_ns)
    return n


@njit(nogil=True, cache=True)
def close_session(seed: int, end_ns: int, states: Rows, params: Rows, common: Record, out: Rows) -> int:
    """The closing auction's print of each symbol, at the close."""
    n = 0
    for j in range(states.size):
        s = states[j]
        size = lots(seed, j, s, 600.0 * params[j].trade_lots)
        n = put_trade(seed, j, s, common, out, n, end_ns, s.bid, size, 0, PRIMARY, CLOSING_PRINT, 0)
    return n


@njit(nogil=True, cache=True)
def put_truth(
    s: Record,
    p: Record,
    j: int,
    phi: float,
    pre: bool,
    common: Record,
    by_regime: Array,
    regime: int,
    lead_ms: Array,
    lead_up: Array,
    lead_count: Array,
    out: Rows,
    truth: Rows,
    first: int,
    n: int,
    u: Array,
) -> None:
    """The truth after an event, for each of its rows."""
    mean = phi * by_regime[0, regime] * p.mu / (1.0 - p.branching)
    now = phi * by_regime[0, regime] * p.mu + s.h
    rate = effective_rate(move_chance(p, s.spread, pre), now, mean, p.tau_h_ms)
    wait = 0.7 / rate
    later = lead_at(s.lead, s.lead_t, s.lead_next, s.t + wait, p.lag_ms, common.tau_lead_ms, lead_ms, lead_up, lead_count)
    back = s.back * exp64(-(s.t + wait - s.back_t) / common.tau_back_ms)
    rest = common.edge * (p.lead * soft(later) - by_regime[3, regime] * soft(back))
    up = next_change_up(s.level, rate, p.nu, common.edge * by_regime[2, regime], rest, u)
    for k in range(first, n):
        t = truth[k]
        t.ts_ns = out[k].ts_ns
        t.seq = out[k].seq
        t.symbol = j
        t.regime = regime
        t.pressure = s.level
        t.lead = later
        t.p_up = up


@njit(nogil=True, cache=True)
def advance(
    seed: int,
    origin_ms: int,
    origin_ns: int,
    until_ms: int,
    phi: float,
    pre: bool,
    states: Rows,
    params: Rows,
    common_row: Rows,
    by_regime: Array,
    switch_ms: Array,
    switch_regime: Array,
    lead_ms: Array,
    lead_up: Array,
    lead_count: Array,
    out: Rows,
    truth: Rows,
    n: int,
) -> int:
    """Every symbol's events before `until_ms`, symbol by symbol, into `out` and `truth` from row n on.

    `by_regime`: float64 (4, 3): activity, lean, flow, back. `lead_ms`, `lead_up`: ring of the leader's (symbol 0) changes, of which
    `lead_count[0]` have been written. Returns the rows written so far, or -1 when the buffers are too small: then the states are spoilt.
    """
    common = common_row[0]
    busiest = max(by_regime[0, 0], by_regime[0, 1], by_regime[0, 2])
    ring = lead_ms.size
    u = np.zeros((LEVELS, 2))
    for j in range(states.size):
        s = states[j]
        p = params[j]
        while s.last_ms + 1 < until_ms:
            bound = phi * busiest * p.mu + s.h
            dt = -log64(uniform64(seed, j, s.drawn + 1)) / bound
            if s.t + dt >= until_ms:
                break
            accept = uniform64(seed, j, s.drawn + 2) * bound
            s.drawn += 2
            s.t += dt
            s.h *= exp64(-dt / p.tau_h_ms)
            while switch_ms[s.regime_at + 1] <= s.t:
                s.regime_at += 1
            regime = switch_regime[s.regime_at]
            if accept > phi * by_regime[0, regime] * p.mu + s.h:
                continue
            at_ms = max(int(s.t), s.last_ms + 1)
            s.t = max(s.t, float(at_ms))
            s.last_ms = at_ms
            s.h += p.branching / p.tau_h_ms
            ts_ns = origin_ns + (at_ms - origin_ms) * 1_000_000
            flip_pressure(seed, j, s, p)
            while s.lead_next < lead_count[0] and lead_ms[s.lead_next % ring] + p.lag_ms <= s.t:
                arrived = lead_ms[s.lead_next % ring] + p.lag_ms
                s.lead = s.lead * exp64(-(arrived - s.lead_t) / common.tau_lead_ms) + lead_up[s.lead_next % ring]
                s.lead_t = arrived
                s.lead_next += 1
            first = n
            if n + ROWS_PER_EVENT > out.size:
                return -1
            if draw(seed, j, s) < move_chance(p, s.spread, pre):
                lead = s.lead * exp64(-(s.t - s.lead_t) / common.tau_lead_ms)
                up = draw(seed, j, s) < logistic(direction_log_odds(s, p, common, by_regime, regime, lead))
                if s.bid < 300:
                    up = True
                n = change_event(seed, j, s, p, common, pre, up, out, n, ts_ns)
                sign = 1.0 if up else -1.0
                s.back = s.back * exp64(-(s.t - s.back_t) / common.tau_back_ms) + sign
                s.back_t = s.t
                if j == 0:
                    lead_ms[lead_count[0] % ring] = s.t
                    lead_up[lead_count[0] % ring] = sign
                    lead_count[0] += 1
            elif draw(seed, j, s) < p.trade:
                n = trade_event(seed, j, s, p, common, pre, out, n, ts_ns)
            else:
                n = quote_event(seed, j, s, p, common, by_regime[1, regime], out, n, ts_ns)
            known = lead_count[0]
            while known > s.lead_next and lead_ms[(known - 1) % ring] > s.t:
                known -= 1
            put_truth(s, p, j, phi, pre, common, by_regime, regime, lead_ms, lead_up, known, out, truth, first, n, u)
    return n


@njit(nogil=True, cache=True)
def regime_path(seed: int, stay_ms: Array, until_ms: float) -> tuple[Array, Array]:
    """Market ms at which regimes begin and which, from 0 to past `until_ms`; the last entry lies beyond every time asked for."""
    n = 2
    t = 0.0
    regime = 0
    k = 0
    while t <= until_ms:
        t -= stay_ms[regime] * log64(uniform64(seed, REGIME_STREAM, 2 * k))
        regime = (regime + 1 + (1 if uniform64(seed, REGIME_STREAM, 2 * k + 1) < 0.5 else 0)) % 3
        k += 1
        n += 1
    at = np.empty(n, np.float64)
    which = np.empty(n, np.int64)
    at[0] = 0.0
    which[0] = 0
    for i in range(k):
        at[i + 1] = at[i] - stay_ms[which[i]] * log64(uniform64(seed, REGIME_STREAM, 2 * i))
        which[i + 1] = (which[i] + 1 + (1 if uniform64(seed, REGIME_STREAM, 2 * i + 1) < 0.5 else 0)) % 3
    at[n - 1] = math.inf
    which[n - 1] = which[n - 2]
    return at, which
