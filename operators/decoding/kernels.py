"""Compiled scan of the decoding stage: actions with hysteresis, last quotes and statistics of slices."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np
from numba import njit

from schemas.ranges import CROSSED, DECIDES, IN_SESSION, LOCKED
from schemas.ticks import QUOTE

_MAY_DECIDE = IN_SESSION | DECIDES
_E6_LIMIT = 9.0e12


@njit(nogil=True, cache=True)
def confidence_of(size, curve):
    """Share of hits at a score of this size: linear between the knots of `curve` (2, P), constant beyond the last."""
    last = curve.shape[1] - 1
    if size >= curve[0, last]:
        return curve[1, last]
    low = 0
    high = last
    while high - low > 1:
        middle = (low + high) >> 1
        if size >= curve[0, middle]:
            low = middle
        else:
            high = middle
    part = (size - curve[0, low]) / (curve[0, high] - curve[0, low])
    return curve[1, low] + part * (curve[1, high] - curve[1, low])


@njit(nogil=True, cache=True)
def in_millionths(x):
    """x * 1e6 rounded half up, within what int64 holds."""
    return np.int64(math.floor(min(max(x * 1.0e6, -_E6_LIMIT), _E6_LIMIT) + 0.5))


@njit(nogil=True, cache=True)
def next_action(action, score, enter, leave):
    """The action after a score, from the action before it: enter past `enter`, leave past `leave` on the other side."""
    side = 1 if score > 0.0 else -1 if score < 0.0 else 0
    size = abs(score)
    if side == 0 or side == action:
        return action
    if size >= enter:
        return side
    if action != 0 and size >= leave:
        return 0
    return action


@njit(nogil=True, cache=True)
def decode(
    ticks, slices, gate, use, score, input_spikes, hidden_spikes, local, tradeable, enter, leave, curves, session_of, sessions,
    min_interval_ns, model, dead_slices, slice_ns, action, changed_ns, quote_ok, session, signal_n, statistics_n,
    signals, quotes, statistics, place, touched,
):  # fmt: skip
    """One range, tick by tick. Returns how many signals, quotes and statistics were written to the last arrays but two.

    Per symbol of the shard: tradeable, enter, leave (sizes of score), curves (S, 2, P), session_of (S + 1,) bounds of its rows in
    `sessions` (m, 2); state: action, changed_ns, quote_ok, session (row in use), signal_n; statistics_n (1,). `dead_slices`:
    slices of the dead letters, ascending. Work space: place (S,) row in `quotes` or -1, touched (S,).
    """
    n_signals = 0
    n_quotes = 0
    n_stats = 0
    n_dead = 0
    count = ticks.size
    i = 0
    while i < count or n_dead < dead_slices.size:
        here = np.int64(2**62)
        if i < count:
            here = slices[i]
        if n_dead < dead_slices.size:
            here = min(here, dead_slices[n_dead])
        row = statistics[n_stats]
        n_stats += 1
        row.n = statistics_n[0]
        statistics_n[0] += 1
        row.slice = here
        row.ts_ns = (here + 1) * slice_ns
        begin = i
        late = 0
        max_late = np.int64(0)
        spikes_in = 0
        spikes_hidden = 0
        n_touched = 0
        while i < count and slices[i] == here:
            tick = ticks[i]
            s = local[tick.symbol]
            spikes_in += input_spikes[i]
            spikes_hidden += hidden_spikes[i]
            if tick.late_ns > 0:
                late += 1
                max_late = max(max_late, tick.late_ns)
            g = gate[i]
            if tick.kind == QUOTE and g & IN_SESSION:
                quote_ok[s] = not g & (LOCKED | CROSSED)
                if not g & CROSSED:
                    if place[s] < 0:
                        k = n_touched
                        while k > 0 and touched[k - 1] > s:
                            touched[k] = touched[k - 1]
                            k -= 1
                        touched[k] = s
                        n_touched += 1
                    place[s] = i
            if use[i] and g & _MAY_DECIDE == _MAY_DECIDE and tradeable[s]:
                ts = tick.ts_ns
                before = action[s]
                after = before
                if ts >= sessions[session[s], 1]:
                    while session[s] + 1 < session_of[s + 1] and ts >= sessions[session[s], 1]:
                        session[s] += 1
                    after = 0
                    quote_ok[s] = tick.kind == QUOTE and quote_ok[s]
                if quote_ok[s] and ts - changed_ns[s] >= min_interval_ns:
                    after = next_action(after, score[i], enter[s], leave[s])
                if after != before:
                    action[s] = after
                    changed_ns[s] = ts
                    signal = signals[n_signals]
                    n_signals += 1
                    signal.n = signal_n[s]
                    signal_n[s] += 1
                    signal.slice = here
                    signal.ts_ns = ts
                    signal.score_e6 = in_millionths(score[i])
                    signal.confidence_e6 = in_millionths(confidence_of(abs(np.float64(score[i])), curves[s]))
                    signal.model = model
                    signal.symbol = tick.symbol
                    signal.action = after
            i += 1
        for k in range(n_touched):
            s = touched[k]
            tick = ticks[place[s]]
            quote = quotes[n_quotes]
            n_quotes += 1
            quote.slice = here
            quote.ts_ns = tick.ts_ns
            quote.bid = tick.price
            quote.ask = tick.ask
            quote.bid_size = tick.size
            quote.ask_size = tick.ask_size
            quote.symbol = tick.symbol
            quote.gate = gate[place[s]]
            quote.venue = tick.venue
            place[s] = -1
        dead = 0
        while n_dead < dead_slices.size and dead_slices[n_dead] == here:
            dead += 1
            n_dead += 1
        row.ticks = i - begin
        row.dead = dead
        row.late = late
        row.max_late_ns = max_late
        row.input_spikes = spikes_in
        row.hidden_spikes = spikes_hidden
    return n_signals, n_quotes, n_stats
