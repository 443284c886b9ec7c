# mypy: disable-error-code="no-any-return"
"""The exact recursion over what nobody sees, given what one symbol's rows and the leader's quotes show.

State: the joint distribution of regime and pressure (3 x 5), carried forward between milliseconds with the chains' rates and the
chance that nothing happened, and at each millisecond with rows multiplied by the likelihood of what they show: that something
happened, the direction of a change of the mid, else the sign of lit trades and the lean of each update of the sizes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from operators.sources.simulator.chance_kernels import effective_rate, lead_at, logistic, move_chance, next_change_up, soft
from operators.sources.simulator.layout import Array, Rows
from operators.sources.simulator.model import LEVELS, OFF_EXCHANGE
from schemas.exact import exp64
from schemas.ticks import QUOTE, TRADE

REGIMES = 3


@njit(nogil=True, cache=True)
def _start(post: Array) -> None:
    for r in range(REGIMES):
        for i in range(LEVELS):
            post[r, i] = (1.0, 4.0, 6.0, 4.0, 1.0)[i] / 48.0


@njit(nogil=True, cache=True)
def _forward(post: Array, scratch: Array, dt_ms: float, nu: float, stay_ms: Array) -> None:
    """Chapman-Kolmogorov in Euler steps of at most 200 ms."""
    steps = 1 + int(dt_ms / 200.0)
    dt = dt_ms / steps
    for _ in range(steps):
        for r in range(REGIMES):
            for i in range(LEVELS):
                m = i - 2
                flow = -4.0 * nu * post[r, i]
                if i > 0:
                    flow += nu * (3 - m) * post[r, i - 1]
                if i < LEVELS - 1:
                    flow += nu * (3 + m) * post[r, i + 1]
                flow -= post[r, i] / stay_ms[r]
                for other in range(REGIMES):
                    if other != r:
                        flow += 0.5 * post[other, i] / stay_ms[other]
                scratch[r, i] = post[r, i] + dt * flow
        for r in range(REGIMES):
            for i in range(LEVELS):
                post[r, i] = scratch[r, i]


@njit(nogil=True, cache=True)
def filter_symbol(
    ticks: Rows,
    p_row: Rows,
    common_row: Rows,
    by_regime: Array,
    stay_ms: Array,
    lead_ms: Array,
    lead_up: Array,
    delay_ms: float,
    known_regime: Array,
    evidence: Array,
    start_ms: float,
    p_up: Array,
) -> int:
    """Chance that the next change of the mid is up, at the last row of each millisecond of one symbol in one session.

    `ticks`: the symbol's rows in the session. `lead_ms`, `lead_up`: the leader's changes. `delay_ms`: prediction for the next change
    after that delay. `known_regime`: int64 (n,), or empty; where given, the regime is no longer hidden (a bound). `evidence`: bool (5,):
    activity, direction of changes, trade signs, lean of the sizes; False leaves it out; the last one False forgets everything before
    each millisecond. Fills `p_up` (nan on rows that are not the last of their millisecond); returns the rows filled.
    """
    p = p_row[0]
    common = common_row[0]
    n = ticks.size
    post = np.zeros((REGIMES, LEVELS))
    scratch = np.zeros((REGIMES, LEVELS))
    u = np.zeros((LEVELS, 2))
    _start(post)
    h = p.mu * p.branching / (1.0 - p.branching)
    t = start_ms
    lead = 0.0
    lead_t = t
    taken = 0
    seen = 0
    back = 0.0
    back_t = t
    bid = 0
    ask = 0
    bid_size = 0
    ask_size = 0
    filled = 0
    i = 0
    while i < n:
        ts_ns = ticks[i].ts_ns
        end = i
        trades = False
        while end < n and ticks[end].ts_ns == ts_ns:
            trades = trades or ticks[end].kind == TRADE
            end += 1
        now = ts_ns / 1e6
        dt = now - t
        if bid > 0 and dt > 0.0:
            _forward(post, scratch, dt, p.nu, stay_ms)
            h *= exp64(-dt / p.tau_h_ms)
            if evidence[0]:
                for r in range(REGIMES):
                    base = by_regime[0, r] * p.mu
                    w = exp64(-base * dt) * (base + h)
                    for k in range(LEVELS):
                        post[r, k] *= w
            h += p.branching / p.tau_h_ms
        t = now
        if not evidence[4]:
            _start(post)
            lead = 0.0
            back = 0.0
            taken = seen
        while taken < lead_ms.size and lead_ms[taken] + p.lag_ms <= now:
            arrived = lead_ms[taken] + p.lag_ms
            lead = lead * exp64(-(arrived - lead_t) / common.tau_lead_ms) + lead_up[taken]
            lead_t = arrived
            taken += 1
        seen = max(seen, taken)
        while seen < lead_ms.size and lead_ms[seen] <= now:
            seen += 1
        last_bid = bid
        last_ask = ask
        for k in range(i, end):
            if ticks[k].kind == QUOTE:
                bid = ticks[k].price
                ask = ticks[k].ask
        before = last_bid + last_ask
        changed = last_bid > 0 and bid + ask != before
        if changed:
            sign = 1.0 if bid + ask > before else -1.0
            present = lead * exp64(-(now - lead_t) / common.tau_lead_ms)
            echo = soft(back * exp64(-(now - back_t) / common.tau_back_ms))
            if evidence[1]:
                for r in range(REGIMES):
                    rest = p.lead * soft(present) - by_regime[3, r] * echo
                    for k in range(LEVELS):
                        post[r, k] *= logistic(sign * common.edge * (by_regime[2, r] * (k - 2) + rest))
            back = back * exp64(-(now - back_t) / common.tau_back_ms) + sign
            back_t = now
        if last_bid > 0 and (not changed or not evidence[4]):
            for row in range(i, end):
                tick = ticks[row]
                if tick.kind == TRADE:
                    if evidence[2] and tick.side != 0 and tick.venue != OFF_EXCHANGE:
                        for k in range(LEVELS):
                            w = logistic(tick.side * p.kappa * (k - 2))
                            for r in range(REGIMES):
                                post[r, k] *= w
                elif evidence[3] and not trades:
                    delta = (tick.size - bid_size) - (tick.ask_size - ask_size)
                    if delta != 0:
                        sign = 1.0 if delta > 0 else -1.0
                        imbalance = (bid_size - ask_size) / (bid_size + ask_size)
                        for r in range(REGIMES):
                            for k in range(LEVELS):
                                post[r, k] *= logistic(sign * (p.theta * by_regime[1, r] * (k - 2) - p.rho * imbalance))
                if tick.kind == QUOTE:
                    bid_size = tick.size
                    ask_size = tick.ask_size
        for row in range(i, end):
            if ticks[row].kind == QUOTE:
                bid_size = ticks[row].size
                ask_size = ticks[row].ask_size
        if known_regime.size > 0 and known_regime[end - 1] < REGIMES:
            for r in range(REGIMES):
                for k in range(LEVELS):
                    if r != known_regime[end - 1]:
                        post[r, k] = 1e-12 * post[r, k]
        total = 0.0
        for r in range(REGIMES):
            for k in range(LEVELS):
                total += post[r, k]
        for r in range(REGIMES):
            for k in range(LEVELS):
                post[r, k] /= total
        if bid > 0:
            spread = (ask - bid) // 100
            chance = move_chance(p, spread, False)
            result = 0.0
            for r in range(REGIMES):
                base = by_regime[0, r] * p.mu
                rate = effective_rate(chance, base + h, base / (1.0 - p.branching), p.tau_h_ms)
                target = now + delay_ms + 0.7 / rate
                later = lead_at(lead, lead_t, taken, target, p.lag_ms, common.tau_lead_ms, lead_ms, lead_up, seen)
                echo = soft(back * exp64(-(target - back_t) / common.tau_back_ms))
                rest = common.edge * (p.lead * soft(later) - by_regime[3, r] * echo)
                for k in range(LEVELS):
                    result += post[r, k] * next_change_up(k - 2, rate, p.nu, common.edge * by_regime[2, r], rest, u)
            p_up[end - 1] = result
            filled += 1
        i = end
    return filled
