"""The compiled scan: marks and equity over a range of slices, stopping at the first slice in which the book has to decide.

What is decided stays in readable Python (book.py). The scan walks quotes and signals merged by slice and, slice by slice,

1. closes seconds of event time that are over: if money changed in one, an equity row for it (the second of the range's last
   slice stays open: a decision there may still change it);
2. takes the slice's valid quotes as marks and moves the value of positions with them;
3. if a held symbol's mark changed, evaluates the account: peak, day, drawdown;
4. stops where a signal would act, or where the drawdown may have reached the kill switch.

Stopping too often is harmless: a decision in a slice in which nothing is due changes nothing.

`market` int64 (instruments, 5): last valid quote, columns BID, ASK, BID_SIZE, ASK_SIZE, QUOTE_TS (0 where none).
`weight` int64 (instruments,): quantity held times the notional scale, so that weight * (bid + ask) is twice its value.
`stance` int8 (instruments,): IDLE, 1 or -1 for long or short or on the way there, BUSY where no signal acts, SUSPENDED where what is held
is valued at the last quote before a corporate action and no quote after it counts.
`money` int64 (MONEY,): amounts doubled (twice 1e-10), as in operators/risk.
`seconds` int64 (m, 6): equity rows to be: slice, equity2, base2, exposure2, peak2 - equity2, peak2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from schemas.ranges import CROSSED, IN_SESSION

BID, ASK, BID_SIZE, ASK_SIZE, QUOTE_TS = range(5)

BASE2, VALUE2, EXPOSURE2, PEAK2, DAY, DAY2, LAST2, LAST_BASE2, LAST_EXPOSURE2, PENDING, SECOND, WORST2, WORST_PEAK2, OVERFLOW = range(14)
MONEY = 14

IDLE, BUSY, SUSPENDED = 0, 2, 3

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
LARGEST = 9.0e18

NOTHING, DECIDE, FULL, TOO_LARGE = range(4)


@njit(cache=True)
def merge(slices: Any, lo: int, place: Any, order: Any) -> None:
    """Stable order of rows by slice, by counting: `slices` int64 (n,) >= `lo`, result in `order` int64 (n,).

    `place` int64 (largest slice - lo + 2,), all 0: work space.
    """
    for i in range(slices.size):
        place[slices[i] - lo + 1] += 1
    for k in range(1, place.size):
        place[k] += place[k - 1]
    for i in range(slices.size):
        k = slices[i] - lo
        order[place[k]] = i
        place[k] += 1


@njit(cache=True)
def close_second(money: Any, before: int, slice_ns: int, seconds: Any, made: int) -> int:
    """Adds the row of the pending second if its last slice is before `before`; returns the number of rows."""
    if money[PENDING] == 0:
        return made
    last = (money[SECOND] + 1) * SECOND_NS // slice_ns - 1
    if last >= before:
        return made
    seconds[made, 0] = last
    seconds[made, 1] = money[LAST2]
    seconds[made, 2] = money[LAST_BASE2]
    seconds[made, 3] = money[LAST_EXPOSURE2]
    seconds[made, 4] = money[PEAK2] - money[LAST2]
    seconds[made, 5] = money[PEAK2]
    money[PENDING] = 0
    return made + 1


@njit(cache=True)
def evaluate(money: Any, k: int, slice_ns: int) -> None:
    """Equity at the end of slice `k`: rolls the day (UTC), notes a change, moves the peak and the worst drawdown."""
    end = (k + 1) * slice_ns
    day = (end - 1) // DAY_NS
    if day != money[DAY]:
        money[DAY] = day
        money[DAY2] = money[LAST2]
    equity2 = money[BASE2] + money[VALUE2]
    size = abs(float(money[BASE2])) + abs(float(money[VALUE2]))
    if size > LARGEST or float(money[EXPOSURE2]) > LARGEST:
        money[OVERFLOW] = 1
        return
    if equity2 == money[LAST2] and money[BASE2] == money[LAST_BASE2] and money[EXPOSURE2] == money[LAST_EXPOSURE2]:
        return
    money[LAST2] = equity2
    money[LAST_BASE2] = money[BASE2]
    money[LAST_EXPOSURE2] = money[EXPOSURE2]
    money[PENDING] = 1
    money[SECOND] = (end - 1) // SECOND_NS
    if equity2 > money[PEAK2]:
        money[PEAK2] = equity2
    fallen = money[PEAK2] - equity2
    if float(fallen) / float(money[PEAK2]) > float(money[WORST2]) / float(money[WORST_PEAK2]):
        money[WORST2] = fallen
        money[WORST_PEAK2] = money[PEAK2]


@njit(cache=True)
def revalue(market: Any, weight: Any, money: Any) -> None:
    """Value and exposure of all positions from scratch, after a fill changed a weight."""
    value = np.int64(0)
    exposure = np.int64(0)
    size = 0.0
    for i in range(weight.size):
        if weight[i] != 0:
            mark2 = market[i, BID] + market[i, ASK]
            size += abs(float(weight[i])) * float(mark2)
            value += weight[i] * mark2
            exposure += abs(weight[i]) * mark2
    money[VALUE2] = value
    money[EXPOSURE2] = exposure
    if size > LARGEST:
        money[OVERFLOW] = 1


@njit(cache=True)
def scan(
    lo: int,
    hi: int,
    quotes: Any,
    quote_order: Any,
    signal_slices: Any,
    signal_symbols: Any,
    actions: Any,
    place: Any,
    market: Any,
    weight: Any,
    stance: Any,
    money: Any,
    slice_ns: int,
    kill_share: float,
    seconds: Any,
    made: int,
    event: int,
    mids2: Any,
) -> tuple[int, int, int]:
    """Scans slices [lo, hi); `place` int64 (2,) is where in quotes and signals it stands and moves on.

    `quotes` SLICE_QUOTE with their `quote_order`; signals as columns already in order: slice, symbol, action. Before it takes in slice
    `event` it notes bid + ask of each instrument in `mids2` int64 (instruments,).

    Returns (slice, why, rows made): DECIDE: it stopped after taking in that slice; FULL: `seconds` is full, it stopped before
    that slice; TOO_LARGE: an amount does not fit; NOTHING: the slice is `hi`, all before it is done.
    """
    qi = place[0]
    si = place[1]
    n_quotes = quote_order.size
    n_signals = signal_slices.size
    while True:
        k = hi
        if qi < n_quotes:
            k = min(k, quotes[quote_order[qi]].slice)
        if si < n_signals:
            k = min(k, signal_slices[si])
        if lo <= event <= k:
            for i in range(mids2.size):
                mids2[i] = market[i, BID] + market[i, ASK]
            event = lo - 1
        if money[PENDING] != 0 and made == seconds.shape[0]:
            place[0] = qi
            place[1] = si
            return max(k, lo), FULL, made
        made = close_second(money, min(k, hi - 1), slice_ns, seconds, made)
        if k >= hi:
            break
        moved = False
        while qi < n_quotes:
            q = quotes[quote_order[qi]]
            if q.slice != k:
                break
            qi += 1
            bid = q.bid
            ask = q.ask
            if (q.gate & IN_SESSION) == 0 or (q.gate & CROSSED) != 0 or bid <= 0 or ask < bid:
                continue
            s = q.symbol
            w = weight[s]
            if w != 0:
                if stance[s] == SUSPENDED:
                    continue
                step = bid + ask - market[s, BID] - market[s, ASK]
                if step != 0:
                    if abs(float(w)) * float(bid + ask) > LARGEST:
                        money[OVERFLOW] = 1
                    money[VALUE2] += w * step
                    money[EXPOSURE2] += abs(w) * step
                    moved = True
            market[s, BID] = bid
            market[s, ASK] = ask
            market[s, BID_SIZE] = q.bid_size
            market[s, ASK_SIZE] = q.ask_size
            market[s, QUOTE_TS] = q.ts_ns
        stop = False
        if moved:
            evaluate(money, k, slice_ns)
            if float(money[PEAK2] - money[LAST2]) >= kill_share * float(money[PEAK2]):
                stop = True
        while si < n_signals:
            if signal_slices[si] != k:
                break
            held = stance[signal_symbols[si]]
            if held == IDLE:
                stop = stop or actions[si] != 0
            elif held < BUSY:
                stop = stop or actions[si] != held
            si += 1
        if stop or money[OVERFLOW] != 0:
            place[0] = qi
            place[1] = si
            return k, (TOO_LARGE if money[OVERFLOW] != 0 else DECIDE), made
    place[0] = qi
    place[1] = si
    return hi, NOTHING, made
